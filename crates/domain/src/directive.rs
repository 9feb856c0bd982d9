//! What can be done about a run whose health is in doubt, and what has been done so far.
//!
//! A [`Directive`] is one thing to do between two optimizer steps. What it leaves behind in the settings of a run is kept in
//! [`Adjustments`], beside the configuration and never in it: a run's file says what was asked for, its checkpoints what became of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing to do about a run, between two optimizer steps. Written as in a run's file: `rewind`, or `scale_lr: {by: 0.5}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directive {
    /// Say so, and go on.
    Report,
    /// Take the step back that was just taken. It is counted, and teaches nothing.
    SkipStep,
    /// Multiply the learning rate. Floor and ceiling are learning rates.
    ScaleLr(Scaling),
    /// Multiply the weight of the KL term. A weight of 0 rises to the floor.
    ScaleKl(Scaling),
    /// Set the weight of the KL term; above 0 it is switched on.
    SetKl {
        /// The weight, per nat. At least 0.
        to: f64,
    },
    /// Multiply the temperature of later rounds' replies.
    ScaleTemperature(Scaling),
    /// Allow one step less between the policy that samples and the one that learns, down to 0.
    TightenStaleness,
    /// Go back to the newest checkpoint that was healthy when it was saved, and on from there with other random numbers.
    Rewind,
    /// Measure the policy on held-out scenarios before the next step.
    Evaluate,
    /// Wait before the next step.
    Pause {
        /// How long.
        seconds: f64,
    },
    /// End the run here, with its state saved and its policy measured.
    Stop {
        /// Why, in words.
        reason: String,
    },
}

/// A factor and its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// The factor. Above 0.
    pub by: f64,
    /// Not below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Not above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<f64>,
}

impl Scaling {
    /// `value`, scaled. Bounds hold it back and never turn it round: a value that is beyond a bound already stays where it is.
    #[must_use]
    pub fn of(&self, value: f64) -> f64 {
        let bounded = (value * self.by).max(self.floor.unwrap_or(0.0)).min(self.ceiling.unwrap_or(f64::INFINITY));
        if self.by < 1.0 { bounded.min(value) } else { bounded.max(value) }
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Report => write!(f, "say so"),
            Self::SkipStep => write!(f, "take the step back"),
            Self::ScaleLr(scaling) => write!(f, "multiply the learning rate {scaling}"),
            Self::ScaleKl(scaling) => write!(f, "multiply the weight of the KL term {scaling}"),
            Self::SetKl { to } => write!(f, "set the weight of the KL term to {to}"),
            Self::ScaleTemperature(scaling) => write!(f, "multiply the temperature {scaling}"),
            Self::TightenStaleness => write!(f, "allow a step of staleness less"),
            Self::Rewind => write!(f, "go back to the newest healthy checkpoint"),
            Self::Evaluate => write!(f, "evaluate the policy"),
            Self::Pause { seconds } => write!(f, "wait for {seconds} s"),
            Self::Stop { reason } => write!(f, "stop: {reason}"),
        }
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {}", self.by)?;
        self.floor.map_or(Ok(()), |floor| write!(f, ", not below {floor}"))?;
        self.ceiling.map_or(Ok(()), |ceiling| write!(f, ", not above {ceiling}"))
    }
}

/// What a health rule decided at a step, on what grounds, and what that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ruling {
    /// The rule's name.
    pub rule: String,
    /// The step, from 1.
    pub step: u64,
    /// Its condition, as written.
    pub when: String,
    /// What the signals in it said; `None` where that was not known.
    pub evidence: BTreeMap<String, Option<f64>>,
    /// What was done, in order.
    pub actions: Vec<Action>,
}

/// A directive as carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The directive.
    #[serde(rename = "do")]
    pub directive: Directive,
    /// The setting that it changed, if it changed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// A setting before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub setting: String,
    /// What it was.
    pub before: f64,
    /// What it is now.
    pub after: f64,
}

impl Ruling {
    /// Whether anything was done beside saying so.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.actions.iter().any(|action| action.directive != Directive::Report)
    }

    /// Why, in words: the condition, and what its signals said.
    #[must_use]
    pub fn grounds(&self) -> String {
        let value = |value: &Option<f64>| value.map_or_else(|| "not known".to_owned(), |value| format!("{value:.4}"));
        let said: Vec<String> = self.evidence.iter().map(|(name, found)| format!("{name} {}", value(found))).collect();
        if said.is_empty() { self.when.clone() } else { format!("{} ({})", self.when, said.join(", ")) }
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.rule)?;
        for (at, Action { directive, change }) in self.actions.iter().enumerate() {
            write!(f, "{} {directive}", if at == 0 { "" } else { ";" })?;
            if let Some(Change { setting, before, after }) = change {
                write!(f, " ({setting} {before} -> {after})")?;
            }
        }
        Ok(())
    }
}

/// How a run's settings differ from those it was begun with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adjustments {
    /// What the scheduled learning rate is multiplied by.
    pub lr_scale: f64,
    /// The weight of the KL term, if it is not the configured one.
    pub kl_coef: Option<f64>,
    /// The temperature of training episodes, if it is not the configured one.
    pub temperature: Option<f32>,
    /// The staleness that is allowed, in steps, if it is not the configured one.
    pub max_staleness: Option<u64>,
}

impl Default for Adjustments {
    fn default() -> Self {
        Self { lr_scale: 1.0, kl_coef: None, temperature: None, max_staleness: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_a_value_back_and_never_turn_it_round() {
        let halve = Scaling { by: 0.5, floor: Some(0.1), ceiling: None };
        assert_eq!((halve.of(1.0), halve.of(0.15), halve.of(0.05)), (0.5, 0.1, 0.05));
        let double = Scaling { by: 2.0, floor: Some(0.01), ceiling: Some(0.5) };
        assert_eq!((double.of(0.1), double.of(0.0), double.of(0.4), double.of(0.9)), (0.2, 0.01, 0.5, 0.9));
    }

    #[test]
    fn a_directive_reads_as_it_is_written() {
        for text in [
            r#""report""#,
            r#""rewind""#,
            r#"{"scale_lr":{"by":0.5,"floor":1e-7}}"#,
            r#"{"set_kl":{"to":0.05}}"#,
            r#"{"pause":{"seconds":30.0}}"#,
            r#"{"stop":{"reason":"enough"}}"#,
        ] {
            let directive: Directive = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&directive).unwrap(), text);
        }
        assert!(serde_json::from_str::<Directive>(r#"{"scale_lr":{"times":0.5}}"#).is_err());
    }

    #[test]
    fn a_ruling_says_what_was_done_and_why() {
        let halve = Directive::ScaleLr(Scaling { by: 0.5, floor: Some(1e-7), ceiling: None });
        let change = Change { setting: "learning_rate".into(), before: 0.001, after: 0.0005 };
        let ruling = Ruling {
            rule: "kl_drift".into(),
            step: 3,
            when: "kl > 0.2".into(),
            evidence: BTreeMap::from([("kl".into(), Some(0.25)), ("entropy".into(), None)]),
            actions: vec![
                Action { directive: halve, change: Some(change) },
                Action { directive: Directive::Rewind, change: None },
            ],
        };
        assert_eq!(
            ruling.to_string(),
            "kl_drift: multiply the learning rate by 0.5, not below 0.0000001 (learning_rate 0.001 -> 0.0005); \
             go back to the newest healthy checkpoint"
        );
        assert_eq!(ruling.grounds(), "kl > 0.2 (entropy not known, kl 0.2500)");
        let read: Ruling = serde_json::from_str(&serde_json::to_string(&ruling).unwrap()).unwrap();
        assert!(ruling.acts() && read == ruling);
    }

    #[test]
    fn nothing_adjusted_is_what_an_empty_record_says() {
        assert_eq!(serde_json::from_str::<Adjustments>("{}").unwrap(), Adjustments::default());
    }
}
