//! When something is done: a condition that has to last, hysteresis, a cool-down, and a most.

use serde::{Deserialize, Serialize};
use stateset_domain::Directive;

use super::expression::{Condition, Known};

/// What to do when.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name, as in events.
    pub name: String,
    /// When.
    pub when: Condition,
    /// Steps in a row for which that has to hold. At least 1.
    pub hold: u64,
    /// What to do then.
    pub directives: Vec<Directive>,
    /// Whether that is done, or only recommended.
    pub acts: bool,
    /// Steps after firing in which the rule does not fire again.
    pub cooldown: u64,
    /// When the rule may fire again; without it, once `when` no longer holds.
    pub clear: Option<Condition>,
    /// How often it fires, at most.
    pub max: u32,
    /// When a policy is in doubt before the rule fires, so that a run never goes back to it; without it, once `when` holds.
    pub doubt: Option<Condition>,
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Steps in a row for which its condition has held.
    pub(super) held: u64,
    /// Steps in a row for which the policy has been in doubt.
    #[serde(default)]
    pub(super) doubted: u64,
    /// The step since which it has held long enough.
    pub(super) since: Option<u64>,
    /// It has fired, and its condition has held ever since.
    spent: bool,
    /// How often it has fired.
    fired: u32,
    /// The look at which it fired last.
    last: Option<u64>,
}

/// What a rule makes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Its condition does not hold, or not for long enough.
    Quiet,
    /// It holds, and is dealt with, or was told before.
    Lasting,
    /// It is time to act.
    Fires,
    /// It would be, but it has fired as often as it may.
    Exhausted,
}

impl Rule {
    /// Whether what it does puts the policy in doubt, so that checkpoints made meanwhile are no place to go back to.
    pub(super) fn doubts(&self) -> bool {
        self.acts
            && self.directives.iter().any(|directive| !matches!(directive, Directive::Report | Directive::Evaluate))
    }

    /// Whether it is about something that a run does not get over by itself.
    pub(super) fn is_critical(&self) -> bool {
        let grave = |directive: &Directive| {
            matches!(
                directive,
                Directive::Rewind | Directive::Stop { .. } | Directive::SkipStep | Directive::Pause { .. }
            )
        };
        self.directives.iter().any(grave)
    }
}

impl Standing {
    /// Looks at a step. `look` counts the steps looked at, those that were taken back included; `step` is this one's number.
    pub(super) fn look(&mut self, rule: &Rule, known: &Known<'_>, look: u64, step: u64) -> Finding {
        let holds = rule.when.holds(known);
        let cleared = match &rule.clear {
            Some(clear) => clear.holds(known) == Some(true),
            None => holds == Some(false),
        };
        self.spent &= !cleared;
        let doubtful = rule.doubt.as_ref().map_or(holds, |doubt| doubt.holds(known));
        self.doubted = if doubtful == Some(true) { self.doubted + 1 } else { 0 };
        if holds != Some(true) {
            (self.held, self.since) = (0, None);
            return Finding::Quiet;
        }
        self.held += 1;
        if self.held < rule.hold {
            return Finding::Quiet;
        }
        self.since = self.since.or(Some(step));
        let cooled = self.last.is_none_or(|last| look > last + rule.cooldown);
        if self.spent || !cooled {
            return Finding::Lasting;
        }
        (self.spent, self.last) = (true, Some(look));
        if self.fired >= rule.max {
            return Finding::Exhausted;
        }
        self.fired += 1;
        Finding::Fires
    }

    /// The run has gone back to where its condition did not hold. What was done, and when, is not forgotten.
    pub(super) fn rewound(self) -> Self {
        Self { held: 0, doubted: 0, since: None, spent: false, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::statistics::Past;
    use super::*;

    fn rule() -> Rule {
        Rule {
            name: "kl".into(),
            when: "kl > 1".parse().unwrap(),
            hold: 1,
            directives: vec![Directive::Rewind],
            acts: true,
            cooldown: 0,
            clear: None,
            max: 9,
            doubt: None,
        }
    }

    /// The looks, from 1, at which the rule fires while `kl` takes these values.
    fn fires(rule: &Rule, kl: &[f64]) -> Vec<usize> {
        let (mut standing, past) = (Standing::default(), Past::default());
        let found = kl.iter().enumerate().map(|(at, kl)| {
            let look = at as u64 + 1;
            standing.look(rule, &Known { now: &|_| *kl, past: &past }, look, look)
        });
        found.enumerate().filter(|(_, finding)| *finding == Finding::Fires).map(|(at, _)| at + 1).collect()
    }

    #[test]
    fn a_condition_has_to_last() {
        let rule = Rule { hold: 3, ..rule() };
        assert_eq!(fires(&rule, &[2.0, 2.0, 0.0, 2.0, 2.0, 2.0]), [6]);
        assert_eq!(fires(&rule, &[2.0, 2.0, f64::NAN, 2.0, 2.0]), [0; 0], "what is not known has not held");
    }

    #[test]
    fn a_rule_fires_once_for_as_long_as_its_condition_lasts() {
        assert_eq!(fires(&rule(), &[2.0, 2.0, 2.0, 0.0, 2.0, 2.0]), [1, 5]);
        assert_eq!(fires(&rule(), &[2.0, f64::NAN, 2.0]), [1], "and not knowing is no end of it");
    }

    #[test]
    fn with_hysteresis_it_fires_again_only_when_all_is_well() {
        let rule = Rule { clear: Some("kl < 0.5".parse().unwrap()), ..rule() };
        assert_eq!(fires(&rule, &[2.0, 0.9, 2.0, 0.4, 2.0]), [1, 5]);
    }

    #[test]
    fn it_leaves_time_for_what_was_done_to_work() {
        let rule = Rule { cooldown: 3, ..rule() };
        assert_eq!(fires(&rule, &[2.0, 0.0, 2.0, 0.0, 2.0, 2.0]), [1, 5]);
        assert_eq!(
            fires(&rule, &[2.0, 0.0, 2.0, 2.0, 2.0]),
            [1, 5],
            "what lasts beyond the cool-down is acted on after it"
        );
    }

    #[test]
    fn it_fires_no_more_often_than_it_may() {
        let rule = Rule { max: 2, ..rule() };
        assert_eq!(fires(&rule, &[2.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0]), [1, 3]);
    }

    #[test]
    fn after_a_rewind_it_remembers_what_it_has_done() {
        let rule = Rule { max: 1, ..rule() };
        let (mut standing, past) = (Standing::default(), Past::default());
        let known = Known { now: &|_| 2.0, past: &past };
        assert_eq!(standing.look(&rule, &known, 1, 1), Finding::Fires);
        let mut standing = standing.rewound();
        assert_eq!(standing.look(&rule, &known, 2, 1), Finding::Exhausted);
        assert_eq!(standing.look(&rule, &known, 3, 2), Finding::Lasting, "and says so once");
    }
}
