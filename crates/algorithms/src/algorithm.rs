//! Algorithms by their names.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How rewards become a better policy. Each looks at some sections of settings; those that share [`Grpo`](crate::Grpo)'s are a choice among
/// them.
///
/// | Name                    | What makes it that, in `grpo`                                   | Defaults of its own                         |
/// |-------------------------|-----------------------------------------------------------------|---------------------------------------------|
/// | `grpo`                  | nothing: every setting is free                                  |                                             |
/// | `dr_grpo`               | `advantage: centred`, `aggregation: dr_grpo`                    |                                             |
/// | `dapo`                  | `aggregation: dapo`                                             | `clip_high: 0.28`                           |
/// | `gspo`, `gspo_token`    | `surrogate` of that name, `aggregation: grpo`                   | `clip_low: 0.0003`, `clip_high: 0.0004`     |
/// | `cispo`                 | `surrogate: cispo`, `aggregation: dapo`                         | `ratio_max: 5`                              |
/// | `sapo`                  | `surrogate: sapo`, `aggregation: grpo`                          |                                             |
/// | `gmpo`                  | `surrogate: gmpo`, `aggregation: grpo`                          | `clip_low: 0.4`, `clip_high: 0.4`           |
/// | `rloo`                  | `advantage: leave_one_out`, `aggregation: sequence_sum`         |                                             |
/// | `reinforce_pp`          | `advantage: reinforce_pp`, `aggregation: dapo`                  |                                             |
/// | `reinforce_pp_baseline` | `advantage: reinforce_pp_baseline`, `aggregation: dapo`         |                                             |
/// | `raft`                  | `advantage: best`, `surrogate: reinforce`, `aggregation: dapo`  |                                             |
///
/// | Name   | Sections         | Defaults of its own                          |
/// |--------|------------------|----------------------------------------------|
/// | `ppo`  | `ppo`, `critic`  | `critic.clip: 0.2`                           |
/// | `a2c`  | `a2c`, `critic`  | `critic.coef: 1`, `critic.lambda: 1`         |
/// | `trpo` | `trpo`, `critic` |                                              |
/// | `dpo`  | `dpo`            |                                              |
/// | `sft`  | `sft`            |                                              |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Group relative policy optimisation, and whatever one makes of it.
    #[default]
    Grpo,
    /// GRPO done right (arXiv:2503.20783).
    DrGrpo,
    /// Decoupled clip and dynamic sampling policy optimisation (arXiv:2503.14476).
    Dapo,
    /// Group sequence policy optimisation (arXiv:2507.18071).
    Gspo,
    /// GSPO with an advantage for each token.
    GspoToken,
    /// Clipped importance-sampling policy optimisation (arXiv:2506.13585).
    Cispo,
    /// Soft adaptive policy optimisation (arXiv:2511.20347).
    Sapo,
    /// Geometric-mean policy optimisation (arXiv:2507.20673).
    Gmpo,
    /// REINFORCE leave-one-out (arXiv:2402.14740).
    Rloo,
    /// REINFORCE++ (arXiv:2501.03262).
    ReinforcePp,
    /// REINFORCE++ with the group's mean as its baseline.
    ReinforcePpBaseline,
    /// Reward-ranked fine-tuning (arXiv:2304.06767): the best of each group are imitated. Filtered behaviour cloning, best of N.
    Raft,
    /// Proximal policy optimisation (arXiv:1707.06347): a critic in place of the group.
    Ppo,
    /// Advantage actor-critic (arXiv:1602.01783).
    A2c,
    /// Trust region policy optimisation (arXiv:1502.05477).
    Trpo,
    /// Direct preference optimisation (arXiv:2305.18290): of each group, the best episode is preferred to the worst; or pairs of a file.
    Dpo,
    /// Supervised fine-tuning: what the assistant says in given conversations becomes likelier.
    Sft,
}

/// A setting by its key, section first, and its value as it is written.
pub type Setting = (&'static str, &'static str);

impl Algorithm {
    /// Every one of them.
    pub const ALL: [Self; 17] = [
        Self::Grpo,
        Self::DrGrpo,
        Self::Dapo,
        Self::Gspo,
        Self::GspoToken,
        Self::Cispo,
        Self::Sapo,
        Self::Gmpo,
        Self::Rloo,
        Self::ReinforcePp,
        Self::ReinforcePpBaseline,
        Self::Raft,
        Self::Ppo,
        Self::A2c,
        Self::Trpo,
        Self::Dpo,
        Self::Sft,
    ];

    /// Whether it learns from episodes that the policy samples, if it is not given anything else.
    #[must_use]
    pub fn samples(self) -> bool {
        self != Self::Sft
    }

    /// Whether it measures an episode against others of the same scenario, so that one alone would teach nothing.
    #[must_use]
    pub fn compares(self) -> bool {
        !matches!(self, Self::ReinforcePp | Self::Ppo | Self::A2c | Self::Trpo)
    }

    /// The sections of settings that it looks at.
    #[must_use]
    pub fn sections(self) -> &'static [&'static str] {
        match self {
            Self::Ppo => &["ppo", "critic"],
            Self::A2c => &["a2c", "critic"],
            Self::Trpo => &["trpo", "critic"],
            Self::Dpo => &["dpo"],
            Self::Sft => &["sft"],
            Self::Grpo
            | Self::DrGrpo
            | Self::Dapo
            | Self::Gspo
            | Self::GspoToken
            | Self::Cispo
            | Self::Sapo
            | Self::Gmpo
            | Self::Rloo
            | Self::ReinforcePp
            | Self::ReinforcePpBaseline
            | Self::Raft => &["grpo"],
        }
    }

    /// The settings without which it would be another algorithm.
    #[must_use]
    pub fn means(self) -> &'static [Setting] {
        match self {
            Self::Grpo | Self::Dpo | Self::Sft | Self::Ppo | Self::A2c | Self::Trpo => &[],
            Self::DrGrpo => {
                &[("grpo.rewards", "summed"), ("grpo.advantage", "centred"), ("grpo.aggregation", "dr_grpo")]
            }
            Self::Dapo => &[("grpo.surrogate", "clip"), ("grpo.aggregation", "dapo")],
            Self::Gspo => &[("grpo.surrogate", "gspo"), ("grpo.aggregation", "grpo")],
            Self::GspoToken => &[("grpo.surrogate", "gspo_token"), ("grpo.aggregation", "grpo")],
            Self::Cispo => &[("grpo.surrogate", "cispo"), ("grpo.aggregation", "dapo")],
            Self::Sapo => &[("grpo.surrogate", "sapo"), ("grpo.aggregation", "grpo")],
            Self::Gmpo => &[("grpo.surrogate", "gmpo"), ("grpo.aggregation", "grpo")],
            Self::Rloo => {
                &[("grpo.rewards", "summed"), ("grpo.advantage", "leave_one_out"), ("grpo.aggregation", "sequence_sum")]
            }
            Self::ReinforcePp => {
                &[("grpo.rewards", "summed"), ("grpo.advantage", "reinforce_pp"), ("grpo.aggregation", "dapo")]
            }
            Self::ReinforcePpBaseline => {
                &[("grpo.rewards", "summed"), ("grpo.advantage", "reinforce_pp_baseline"), ("grpo.aggregation", "dapo")]
            }
            Self::Raft => &[
                ("grpo.rewards", "summed"),
                ("grpo.advantage", "best"),
                ("grpo.surrogate", "reinforce"),
                ("grpo.aggregation", "dapo"),
            ],
        }
    }

    /// Defaults that differ from those of its sections.
    #[must_use]
    pub fn prefers(self) -> &'static [Setting] {
        match self {
            Self::Dapo => &[("grpo.clip_high", "0.28")],
            Self::Gspo | Self::GspoToken => &[("grpo.clip_low", "0.0003"), ("grpo.clip_high", "0.0004")],
            Self::Gmpo => &[("grpo.clip_low", "0.4"), ("grpo.clip_high", "0.4")],
            Self::Ppo => &[("critic.clip", "0.2")],
            Self::A2c => &[("critic.coef", "1.0"), ("critic.lambda", "1.0")],
            Self::Grpo
            | Self::DrGrpo
            | Self::Cispo
            | Self::Sapo
            | Self::Rloo
            | Self::ReinforcePp
            | Self::ReinforcePpBaseline
            | Self::Raft
            | Self::Trpo
            | Self::Dpo
            | Self::Sft => &[],
        }
    }

    /// The settings of one of its sections, where nothing else is asked for.
    ///
    /// # Panics
    /// If the section's type has no such setting.
    #[must_use]
    pub fn settings<S: Section>(self) -> S {
        let mut settings = values(&S::default());
        for (key, value) in own::<S>(self.means()).chain(own::<S>(self.prefers())) {
            settings[key] = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        }
        serde_json::from_value(settings).expect("an algorithm's settings are settings")
    }

    /// What is wrong with `section` if it is to be this algorithm: settings out of range, settings that make it another one, and those that
    /// it never looks at and that were changed all the same. One sentence each, its key first.
    #[must_use]
    pub fn objections<S: Section>(self, section: &S) -> Vec<String> {
        let name = text(&values(&self));
        let now = values(section);
        if !self.sections().contains(&S::NAME) {
            let default = values(&S::default());
            let changed = now.as_object().into_iter().flatten().filter(|(key, value)| default[key.as_str()] != **value);
            let looks = self.sections().iter().map(|it| format!("training.{it}")).collect::<Vec<_>>().join(" and ");
            let idle = |(key, value)| format!("{key} is set to {}, but {name} looks at {looks} only", text(value));
            return changed.map(idle).collect();
        }
        let default = values(&self.settings::<S>());
        let another = own::<S>(self.means()).filter(|(key, _)| now[*key] != default[*key]).map(|(key, value)| {
            let instead = "leave it out, or train with `algorithm: grpo`";
            format!("{key} must be {value} in {name}, but is {}; {instead}", text(&now[key]))
        });
        let unused = section.idle(self).into_iter().filter(|(key, _)| now[*key] != default[*key]);
        let unused =
            unused.map(|(key, who)| format!("{key} is set to {}, but only {who} looks at it", text(&now[key])));
        section.problems().into_iter().chain(another).chain(unused).collect()
    }
}

/// Settings that some algorithms look at.
pub trait Section: Default + Serialize + DeserializeOwned {
    /// What the section is called.
    const NAME: &'static str;

    /// Everything that is out of range, one sentence each, the setting's key first.
    fn problems(&self) -> Vec<String>;

    /// Settings that `algorithm` does not look at, given the others, and what would.
    fn idle(&self, algorithm: Algorithm) -> Vec<(&'static str, &'static str)>;
}

/// Those settings that are of this section.
fn own<S: Section>(settings: &'static [Setting]) -> impl Iterator<Item = Setting> {
    settings.iter().filter_map(|(key, value)| Some((key.strip_prefix(S::NAME)?.strip_prefix('.')?, *value)))
}

/// Settings by key.
fn values(settings: &impl Serialize) -> Value {
    serde_json::to_value(settings).expect("settings are numbers and names")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{A2c, Advantage, Aggregation, Critic, Dpo, Grpo, Network, Ppo, Sft, Surrogate, Trpo};

    fn objections_to_its_own<S: Section>(algorithm: Algorithm) -> Vec<String> {
        let settings = match algorithm.sections().contains(&S::NAME) {
            true => algorithm.settings(),
            false => S::default(),
        };
        algorithm.objections(&settings)
    }

    #[test]
    fn every_algorithm_is_valid_and_has_no_objection_to_itself() {
        for algorithm in Algorithm::ALL {
            let objections = [
                objections_to_its_own::<Grpo>(algorithm),
                objections_to_its_own::<Ppo>(algorithm),
                objections_to_its_own::<A2c>(algorithm),
                objections_to_its_own::<Trpo>(algorithm),
                objections_to_its_own::<Critic>(algorithm),
                objections_to_its_own::<Dpo>(algorithm),
                objections_to_its_own::<Sft>(algorithm),
            ];
            assert_eq!(objections.concat(), Vec::<String>::new(), "{algorithm:?}");
        }
    }

    #[test]
    fn an_algorithm_is_its_settings() {
        let gspo: Grpo = Algorithm::Gspo.settings();
        assert_eq!((gspo.surrogate, gspo.aggregation, gspo.clip_high), (Surrogate::Gspo, Aggregation::Grpo, 4e-4));
        assert_eq!(Algorithm::Rloo.settings::<Grpo>().advantage, Advantage::LeaveOneOut);
        assert_eq!(Algorithm::Grpo.settings::<Grpo>(), Grpo::default());
        assert_eq!(Algorithm::A2c.settings::<Critic>(), Critic { coef: 1.0, lambda: 1.0, ..Critic::default() });
    }

    #[test]
    fn what_makes_another_algorithm_of_it_or_is_never_looked_at_is_named() {
        let grpo = Grpo { clip_high: 0.3, aggregation: Aggregation::Grpo, ..Algorithm::Cispo.settings() };
        assert_eq!(
            Algorithm::Cispo.objections(&grpo),
            [
                "aggregation must be dapo in cispo, but is grpo; leave it out, or train with `algorithm: grpo`",
                "clip_high is set to 0.3, but only a surrogate that clips on both sides looks at it",
            ]
        );
        let free = Grpo { aggregation: Aggregation::DrGrpo, ratio_max: 3.0, ..Grpo::default() };
        let objections = Algorithm::Grpo.objections(&free);
        assert_eq!(objections, ["ratio_max is set to 3.0, but only `surrogate: cispo` looks at it"]);
        let objections = Algorithm::Ppo.objections(&free);
        assert_eq!(
            objections,
            [
                "aggregation is set to dr_grpo, but ppo looks at training.ppo and training.critic only",
                "ratio_max is set to 3.0, but ppo looks at training.ppo and training.critic only",
            ]
        );
        let dpo = Dpo { beta: 0.2, ..Dpo::default() };
        assert_eq!(Algorithm::Grpo.objections(&dpo), ["beta is set to 0.2, but grpo looks at training.grpo only"]);
        let dpo = Dpo { batch: 4, ..Dpo::default() };
        assert_eq!(Algorithm::Dpo.objections(&dpo), ["batch is set to 4, but only dpo with a `file` looks at it"]);
        assert!(Algorithm::Dpo.objections(&Dpo { file: Some("pairs.jsonl".into()), ..dpo }).is_empty());
    }

    #[test]
    fn a_critic_that_learns_with_the_policy_has_no_learning_rate_of_its_own() {
        let critic = Critic { learning_rate: 1e-2, ..Algorithm::Ppo.settings() };
        let objections = Algorithm::Ppo.objections(&critic);
        assert_eq!(
            objections,
            [
                "learning_rate is set to 0.01, but only a critic that learns apart from the policy (`network: separate`, or `trpo`) looks at it"
            ]
        );
        let apart = Critic { network: Network::Separate, ..critic };
        assert!(Algorithm::Ppo.objections(&apart).is_empty());
        let critic = Critic { coef: 0.7, ..Algorithm::Trpo.settings() };
        assert_eq!(Algorithm::Trpo.objections(&critic).len(), 1);
    }
}
