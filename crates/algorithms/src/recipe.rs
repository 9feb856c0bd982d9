//! What a run may choose: the settings of credit and loss, as they stand in its config file.

use serde::{Deserialize, Serialize};

use crate::algorithm::Section;
use crate::objective::Surrogate;
use crate::{Advantage, Aggregation, Algorithm, KlEstimator};

/// Policy optimisation with a group of answers to each prompt, and without a critic: GRPO and its relatives.
///
/// The defaults are those of TRL's `GRPOConfig`. What the relatives are called elsewhere is a choice of these settings; see
/// [`Algorithm`](crate::Algorithm).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpo {
    /// How an answer's reward is measured: `group_std` (default), `group_population_std`, `batch_std`, `centred`, `leave_one_out`,
    /// `reinforce_pp`, `reinforce_pp_baseline` or `best`.
    pub advantage: Advantage,
    /// What is made larger: `clip` (default), `gspo`, `gspo_token`, `gmpo`, `cispo`, `cispo_range`, `sapo`, `vespo`, `dppo` or
    /// `reinforce`.
    pub surrogate: Surrogate,
    /// How per-token losses become one number: `grpo`, `dapo` (default: every token weighs the same), `dr_grpo` or `sequence_sum`.
    pub aggregation: Aggregation,
    /// A ratio below `1 - clip_low` earns a bad answer no further push. In `(0, 1)`; 0.2 since PPO.
    pub clip_low: f64,
    /// A ratio above `1 + clip_high` earns a good answer no further push. Above 0; 0.2 since PPO. 0.28 (DAPO) leaves unlikely tokens
    /// more room to rise, which keeps entropy up.
    pub clip_high: f64,
    /// A ratio above this earns a bad answer no further push either (`clip` and `gspo`). Above `1 + clip_high`; default none. verl has 3.
    pub dual_clip: Option<f64>,
    /// What a ratio weighs at the most in `cispo`. Above 0; default 5, as MiniMax-M1's authors advise.
    pub ratio_max: f64,
    /// How KL(policy, reference) is estimated in the loss: `k1`, `k2` or `k3` (default).
    pub kl: KlEstimator,
    /// Weight of that estimate, per nat. At least 0. The default 0 needs no reference policy at all: with rewards that are executed
    /// checks there is little to over-optimise.
    pub kl_coef: f64,
    /// What a nat of entropy earns, per token. At least 0; default 0. A little keeps a policy from settling too soon.
    pub entropy_coef: f64,
    /// Optimizer passes over each batch. At least 1. The default 1 keeps every step on-policy; with more, clipping begins to matter.
    pub epochs: usize,
    /// The longest completion, in tokens sampled over all turns of an episode: the constant that `dr_grpo` divides by. At least 1.
    pub max_completion_tokens: usize,
}

impl Default for Grpo {
    fn default() -> Self {
        Self {
            advantage: Advantage::GroupStd,
            surrogate: Surrogate::Clip,
            aggregation: Aggregation::Dapo,
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: None,
            ratio_max: 5.0,
            kl: KlEstimator::K3,
            kl_coef: 0.0,
            entropy_coef: 0.0,
            epochs: 1,
            max_completion_tokens: 512,
        }
    }
}

impl Grpo {
    /// Everything that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let Self {
            clip_low,
            clip_high,
            dual_clip,
            ratio_max,
            kl_coef,
            entropy_coef,
            epochs,
            max_completion_tokens,
            ..
        } = self;
        let mut problems = Vec::new();
        if !(*clip_low > 0.0 && *clip_low < 1.0) {
            problems.push(format!("clip_low must lie between 0 and 1, but is {clip_low}"));
        }
        if !(*clip_high > 0.0 && clip_high.is_finite()) {
            problems.push(format!("clip_high must be above 0, but is {clip_high}"));
        }
        if let Some(dual_clip) = dual_clip.filter(|it| !(*it >= 1.0 + clip_high && it.is_finite())) {
            problems
                .push(format!("dual_clip must be at least 1 + clip_high = {}, but is {dual_clip}", 1.0 + clip_high));
        }
        if !(*ratio_max > 0.0 && ratio_max.is_finite()) {
            problems.push(format!("ratio_max must be above 0, but is {ratio_max}"));
        }
        if !(*kl_coef >= 0.0 && kl_coef.is_finite()) {
            problems.push(format!("kl_coef must be 0 or more, but is {kl_coef}"));
        }
        if !(*entropy_coef >= 0.0 && entropy_coef.is_finite()) {
            problems.push(format!("entropy_coef must be 0 or more, but is {entropy_coef}"));
        }
        if *epochs == 0 {
            problems.push("epochs must be at least 1, but is 0".to_owned());
        }
        if *max_completion_tokens == 0 {
            problems.push("max_completion_tokens must be at least 1, but is 0".to_owned());
        }
        problems
    }
}

impl Section for Grpo {
    const NAME: &'static str = "grpo";

    fn problems(&self) -> Vec<String> {
        self.validate()
    }

    fn idle(&self, _algorithm: Algorithm) -> Vec<(&'static str, &'static str)> {
        use Surrogate::{Cispo, CispoRange, Clip, Dppo, Gmpo, Gspo, GspoToken};
        let clips = matches!(self.surrogate, Clip | Gspo | GspoToken);
        let bounded = clips || matches!(self.surrogate, CispoRange | Gmpo | Dppo);
        let range = "a surrogate that clips on both sides";
        let idle = [
            (bounded, "clip_low", range),
            (bounded, "clip_high", range),
            (clips, "dual_clip", "`surrogate: clip`, `gspo` or `gspo_token`"),
            (self.surrogate == Cispo, "ratio_max", "`surrogate: cispo`"),
            (self.aggregation == Aggregation::DrGrpo, "max_completion_tokens", "`aggregation: dr_grpo`"),
        ];
        idle.into_iter().filter(|(used, ..)| !used).map(|(_, key, who)| (key, who)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert!(Grpo::default().validate().is_empty());
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let grpo = Grpo {
            clip_low: 1.0,
            clip_high: f64::NAN,
            ratio_max: 0.0,
            kl_coef: -0.1,
            entropy_coef: f64::INFINITY,
            epochs: 0,
            max_completion_tokens: 0,
            ..Grpo::default()
        };
        assert_eq!(grpo.validate().len(), 7);
        assert_eq!(grpo.validate()[0], "clip_low must lie between 0 and 1, but is 1");
    }

    #[test]
    fn settings_left_out_take_their_defaults_and_unknown_ones_are_refused() {
        let grpo: Grpo = serde_json::from_str(r#"{"advantage": "centred", "aggregation": "dr_grpo"}"#).unwrap();
        let wanted = Grpo { advantage: Advantage::Centred, aggregation: Aggregation::DrGrpo, ..Grpo::default() };
        assert_eq!(grpo, wanted);
        assert!(serde_json::from_str::<Grpo>(r#"{"clip": 0.2}"#).is_err());
    }
}
