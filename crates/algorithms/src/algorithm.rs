//! Algorithms by their names.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Dpo, Grpo};

/// How rewards become a better policy. All but one are a choice of [`Grpo`]'s settings.
///
/// | Name                    | What makes it that                                              | Defaults of its own                         |
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
/// | `dpo`                   | settings of its own, [`Dpo`](crate::Dpo)                        |                                             |
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
    /// Direct preference optimisation (arXiv:2305.18290): of each group, the best episode is preferred to the worst.
    Dpo,
}

/// A setting by its key, and its value as it is written.
pub type Setting = (&'static str, &'static str);

impl Algorithm {
    /// Every one of them.
    pub const ALL: [Self; 13] = [
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
        Self::Dpo,
    ];

    /// The settings without which it would be another algorithm.
    #[must_use]
    pub fn means(self) -> &'static [Setting] {
        match self {
            Self::Grpo | Self::Dpo => &[],
            Self::DrGrpo => &[("advantage", "centred"), ("aggregation", "dr_grpo")],
            Self::Dapo => &[("surrogate", "clip"), ("aggregation", "dapo")],
            Self::Gspo => &[("surrogate", "gspo"), ("aggregation", "grpo")],
            Self::GspoToken => &[("surrogate", "gspo_token"), ("aggregation", "grpo")],
            Self::Cispo => &[("surrogate", "cispo"), ("aggregation", "dapo")],
            Self::Sapo => &[("surrogate", "sapo"), ("aggregation", "grpo")],
            Self::Gmpo => &[("surrogate", "gmpo"), ("aggregation", "grpo")],
            Self::Rloo => &[("advantage", "leave_one_out"), ("aggregation", "sequence_sum")],
            Self::ReinforcePp => &[("advantage", "reinforce_pp"), ("aggregation", "dapo")],
            Self::ReinforcePpBaseline => &[("advantage", "reinforce_pp_baseline"), ("aggregation", "dapo")],
            Self::Raft => &[("advantage", "best"), ("surrogate", "reinforce"), ("aggregation", "dapo")],
        }
    }

    /// Defaults that differ from GRPO's.
    #[must_use]
    pub fn prefers(self) -> &'static [Setting] {
        match self {
            Self::Dapo => &[("clip_high", "0.28")],
            Self::Gspo | Self::GspoToken => &[("clip_low", "0.0003"), ("clip_high", "0.0004")],
            Self::Gmpo => &[("clip_low", "0.4"), ("clip_high", "0.4")],
            Self::Grpo
            | Self::DrGrpo
            | Self::Cispo
            | Self::Sapo
            | Self::Rloo
            | Self::ReinforcePp
            | Self::ReinforcePpBaseline
            | Self::Raft
            | Self::Dpo => &[],
        }
    }

    /// GRPO's settings that it is, where nothing else is asked for.
    #[must_use]
    pub fn grpo(self) -> Grpo {
        let mut settings = values(&Grpo::default());
        for (key, value) in self.means().iter().chain(self.prefers()) {
            settings[*key] = serde_json::from_str(value).unwrap_or_else(|_| Value::from(*value));
        }
        serde_json::from_value(settings).expect("an algorithm's settings are settings")
    }

    /// What is wrong with `grpo` if it is to be this algorithm: settings that make it another one, and those that it never looks at and
    /// that were changed all the same. One sentence each.
    #[must_use]
    pub fn objections_to_grpo(self, grpo: &Grpo) -> Vec<String> {
        let (now, own) = (values(grpo), values(&self.grpo()));
        if self == Self::Dpo {
            return idle(&now, &own, "dpo looks at training.dpo only");
        }
        let name = text(&values(&self));
        let another = self.means().iter().filter(|(key, _)| now[*key] != own[*key]).map(|(key, value)| {
            let instead = "leave it out, or train with `algorithm: grpo`";
            format!("{key} must be {value} in {name}, but is {}; {instead}", text(&now[*key]))
        });
        let unused = grpo.idle().into_iter().filter(|(key, _)| now[*key] != own[*key]);
        let unused =
            unused.map(|(key, who)| format!("{key} is set to {}, but only {who} looks at it", text(&now[key])));
        another.chain(unused).collect()
    }

    /// What is wrong with `dpo` if it is to be this algorithm. One sentence each.
    #[must_use]
    pub fn objections_to_dpo(self, dpo: &Dpo) -> Vec<String> {
        if self == Self::Dpo {
            return dpo.validate();
        }
        idle(&values(dpo), &values(&Dpo::default()), "only dpo looks at it")
    }
}

/// Settings by key.
fn values(settings: &impl Serialize) -> Value {
    serde_json::to_value(settings).expect("settings are numbers and names")
}

/// Every setting that was changed although nobody looks at it.
fn idle(now: &Value, own: &Value, why: &str) -> Vec<String> {
    let changed = now.as_object().into_iter().flatten().filter(|(key, value)| own[key.as_str()] != **value);
    changed.map(|(key, value)| format!("{key} is set to {}, but {why}", text(value))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Advantage, Aggregation, Surrogate};

    #[test]
    fn every_algorithm_is_valid_and_has_no_objection_to_itself() {
        for algorithm in Algorithm::ALL {
            let (grpo, dpo) = (algorithm.grpo(), Dpo::default());
            let objections = [grpo.validate(), algorithm.objections_to_grpo(&grpo), algorithm.objections_to_dpo(&dpo)];
            assert_eq!(objections.concat(), Vec::<String>::new(), "{algorithm:?}");
        }
    }

    #[test]
    fn an_algorithm_is_its_settings() {
        let gspo = Algorithm::Gspo.grpo();
        assert_eq!((gspo.surrogate, gspo.aggregation, gspo.clip_high), (Surrogate::Gspo, Aggregation::Grpo, 4e-4));
        assert_eq!(Algorithm::Rloo.grpo().advantage, Advantage::LeaveOneOut);
        assert_eq!(Algorithm::Grpo.grpo(), Grpo::default());
    }

    #[test]
    fn what_makes_another_algorithm_of_it_or_is_never_looked_at_is_named() {
        let grpo = Grpo { clip_high: 0.3, aggregation: Aggregation::Grpo, ..Algorithm::Cispo.grpo() };
        assert_eq!(
            Algorithm::Cispo.objections_to_grpo(&grpo),
            [
                "aggregation must be dapo in cispo, but is grpo; leave it out, or train with `algorithm: grpo`",
                "clip_high is set to 0.3, but only a surrogate that clips on both sides looks at it",
            ]
        );
        let free = Grpo { aggregation: Aggregation::DrGrpo, ratio_max: 3.0, ..Grpo::default() };
        let objections = Algorithm::Grpo.objections_to_grpo(&free);
        assert_eq!(objections, ["ratio_max is set to 3.0, but only `surrogate: cispo` looks at it"]);
        let objections = Algorithm::Dpo.objections_to_grpo(&free);
        assert_eq!(objections[0], "aggregation is set to dr_grpo, but dpo looks at training.dpo only");
        let dpo = Dpo { beta: 0.2, ..Dpo::default() };
        assert_eq!(Algorithm::Grpo.objections_to_dpo(&dpo), ["beta is set to 0.2, but only dpo looks at it"]);
    }
}
