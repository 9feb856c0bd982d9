//! What a run's file may say about its own health: rules, and when to stop early.

mod validate;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use stateset_actors::policy::{AutoAdjust, Condition, ConditionError, Rule, standard_rules};
use stateset_domain::Directive;

use super::Config;
pub(super) use validate::validate;

/// A health rule: what to do when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Names the rule in events; one with the name of a standard rule replaces that. Default: its condition.
    pub name: String,
    /// A condition on signals, such as `kl > 0.2 and success_rate < 0.7`. Required.
    pub when: String,
    /// Steps in a row for which it has to hold. At least 1, the default.
    #[serde(rename = "for")]
    pub hold: u64,
    /// What to do then: one directive, or a list. Default `report`.
    #[serde(rename = "do")]
    pub directives: Directives,
    /// Steps after that in which the rule does nothing more. Default 10: what was done takes a while to show.
    pub cooldown: u64,
    /// When the rule may fire again; by default once `when` no longer holds.
    pub clear: Option<String>,
    /// How often it fires, at most. At least 1; default 10. A rule that would go back once more stops the run.
    pub max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: String::new(),
            when: String::new(),
            hold: 1,
            directives: Directives(vec![Directive::Report]),
            cooldown: 10,
            clear: None,
            max: 10,
        }
    }
}

/// Directives, in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Directives(pub Vec<Directive>);

impl<'de> Deserialize<'de> for Directives {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Directives;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a directive such as `rewind` or `scale_lr: {{by: 0.5}}`, or a list of them")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Directives, E> {
        Ok(Directives(vec![Directive::deserialize(StrDeserializer::new(name))?]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Directives, A::Error> {
        Ok(Directives(vec![Directive::deserialize(MapAccessDeserializer::new(map))?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Directives, A::Error> {
        let each = Vec::<Directives>::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Directives(each.into_iter().flat_map(|directives| directives.0).collect()))
    }
}

/// When a run ends before its last step because it has stopped getting better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStopping {
    /// Whether it may. Needs evaluations along the way (`training.eval_every`). Default: no.
    pub enabled: bool,
    /// Evaluations in a row without improvement. At least 1; default 3.
    pub patience: u64,
    /// What counts as an improvement: more than this share of held-out episodes. In `[0, 1)`; default 0.01.
    pub min_delta: f64,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { enabled: false, patience: 3, min_delta: 0.01 }
    }
}

impl Policy {
    /// The name, or what stands for it.
    pub(super) fn name(&self) -> &str {
        if self.name.is_empty() { &self.when } else { &self.name }
    }

    /// The rule, if its conditions can be read.
    pub(super) fn rule(&self, acts: bool) -> Result<Rule, ConditionError> {
        let Self { when, hold, directives, cooldown, clear, max, .. } = self;
        let clear = clear.as_ref().map(|clear| clear.parse::<Condition>()).transpose()?;
        Ok(Rule {
            name: self.name().to_owned(),
            when: when.parse()?,
            hold: *hold,
            directives: directives.0.clone(),
            acts,
            cooldown: *cooldown,
            clear,
            max: *max,
            doubt: None,
        })
    }

    /// Whether it does more than to say so.
    pub(super) fn acts(&self) -> bool {
        self.directives.0.iter().any(|directive| *directive != Directive::Report)
    }
}

impl Config {
    /// Every rule of the run: the standard ones of its profile, but for those that the file replaces, and then its own.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let acts = self.training.auto_adjust != AutoAdjust::Never;
        let own: Vec<Rule> = self.policies.iter().filter_map(|policy| policy.rule(acts).ok()).collect();
        let mut rules = standard_rules(self.training.profile, self.training.auto_adjust);
        rules.retain(|rule| own.iter().all(|own| own.name != rule.name));
        rules.extend(own);
        rules
    }

    /// Whether evaluations along the way have a say in what is computed, and so when they are made.
    pub(super) fn heeds_evaluations(&self) -> bool {
        let heeds = |rule: &Rule| {
            let evaluated =
                rule.when.signals().iter().any(|name| stateset_actors::policy::signals::EVALUATED.contains(name));
            rule.acts && evaluated
        };
        self.training.early_stopping.enabled || self.rules().iter().any(heeds)
    }
}
