//! The relatives of GRPO by their names.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Grpo;

/// An algorithm that is a choice of [`Grpo`]'s settings.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
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
}

/// A setting by its key, and its value as it is written.
pub type Setting = (&'static str, &'static str);

impl Family {
    /// Every one of them.
    pub const ALL: [Self; 12] = [
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
    ];

    /// The settings without which it would be another algorithm.
    #[must_use]
    pub fn means(self) -> &'static [Setting] {
        match self {
            Self::Grpo => &[],
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
            | Self::Raft => &[],
        }
    }

    /// Its settings, where nothing else is asked for.
    #[must_use]
    pub fn settings(self) -> Grpo {
        let mut settings = serde_json::to_value(Grpo::default()).expect("settings are numbers and names");
        for (key, value) in self.means().iter().chain(self.prefers()) {
            settings[*key] = serde_json::from_str(value).unwrap_or_else(|_| Value::from(*value));
        }
        serde_json::from_value(settings).expect("a family's settings are settings")
    }

    /// What is wrong with `settings` if they are to be this algorithm: those that make them another one, and those that it never looks
    /// at and that were changed all the same. One sentence each.
    #[must_use]
    pub fn objections(self, settings: &Grpo) -> Vec<String> {
        let (now, own) = [settings, &self.settings()]
            .map(|it| serde_json::to_value(it).expect("settings are numbers and names"))
            .into();
        let name = serde_json::to_value(self).expect("a name");
        let name = name.as_str().unwrap_or_default();
        let another = self.means().iter().filter(|(key, _)| now[*key] != own[*key]).map(|(key, value)| {
            format!(
                "{key} must be {value} in {name}, but is {}; leave it out, or train with `algorithm: grpo`",
                text(&now[*key])
            )
        });
        let idle = settings
            .idle()
            .into_iter()
            .filter(|(key, _)| now[*key] != own[*key])
            .map(|(key, who)| format!("{key} is set to {}, but only {who} looks at it", text(&now[key])));
        another.chain(idle).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Advantage, Aggregation, Surrogate};

    #[test]
    fn every_family_is_valid_and_has_no_objection_to_itself() {
        for family in Family::ALL {
            let settings = family.settings();
            assert_eq!((settings.validate(), family.objections(&settings)), (vec![], vec![]), "{family:?}");
        }
    }

    #[test]
    fn a_family_is_its_settings() {
        let gspo = Family::Gspo.settings();
        assert_eq!((gspo.surrogate, gspo.aggregation, gspo.clip_high), (Surrogate::Gspo, Aggregation::Grpo, 4e-4));
        assert_eq!(Family::Rloo.settings().advantage, Advantage::LeaveOneOut);
        assert_eq!(Family::Grpo.settings(), Grpo::default());
    }

    #[test]
    fn what_makes_another_algorithm_of_it_or_is_never_looked_at_is_named() {
        let settings = Grpo { clip_high: 0.3, aggregation: Aggregation::Grpo, ..Family::Cispo.settings() };
        let objections = Family::Cispo.objections(&settings);
        assert_eq!(
            objections,
            [
                "aggregation must be dapo in cispo, but is grpo; leave it out, or train with `algorithm: grpo`",
                "clip_high is set to 0.3, but only a surrogate that clips on both sides looks at it",
            ]
        );
        let free = Grpo { aggregation: Aggregation::DrGrpo, ratio_max: 3.0, ..Grpo::default() };
        assert_eq!(
            Family::Grpo.objections(&free),
            ["ratio_max is set to 3.0, but only `surrogate: cispo` looks at it"]
        );
    }
}
