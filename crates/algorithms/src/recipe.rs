//! What a run may choose: the settings of credit and loss, as they stand in its config file.

use serde::{Deserialize, Serialize};

use crate::algorithm::Section;
use crate::objective::Surrogate;
use crate::{
    Advantage, Aggregation, Algorithm, CreditFor, EntropyControl, KlControl, KlEstimator, KlIn, Overlong, Rewards,
};

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
    /// What of several rewards is measured: their weighted sum (`summed`, default), or each by itself and then their weighted sum (`apart`,
    /// which is GDPO and has no use for `advantage`).
    pub rewards: Rewards,
    /// What is measured, and shares an advantage: the whole `episode` (default), or `turns`, each against the turns at the same place in
    /// the group.
    pub credit: CreditFor,
    /// What a reward is worth one turn earlier, with `credit: turns`. In `[0, 1]`; default 1.
    pub gamma: f64,
    /// What the environment's reward of a turn counts for that turn, beside the episode's reward for the last one, with `credit: turns`. At
    /// least 0; default 0. Above it, `rewards.turn_weight: 0` keeps turns from being counted twice.
    pub turn_weight: f64,
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
    /// How KL(policy, reference) is estimated: `k1`, `k2` or `k3` (default).
    pub kl: KlEstimator,
    /// Weight of that estimate, per nat. At least 0. The default 0 needs no reference policy at all: with rewards that are executed
    /// checks there is little to over-optimise.
    pub kl_coef: f64,
    /// Where it counts: in the `loss` (default), token by token, or in the `reward`, before episodes are compared, which takes a look at
    /// the whole batch before each step.
    pub kl_in: KlIn,
    /// The KL(policy, reference) to keep, nats per token, by moving the weight after every step. Above 0; default none: the weight stays.
    pub kl_target: Option<f64>,
    /// Over how many episodes the weight may change by a fifth towards that target. Above 0; default 10000, as in verl.
    pub kl_horizon: f64,
    /// What a nat of entropy earns, per token. At least 0; default 0. A little keeps a policy from settling too soon.
    pub entropy_coef: f64,
    /// The mean entropy to keep, nats per token: after a step of no more the bonus grows, after a step of more it shrinks and is not paid in
    /// the next one. `entropy_coef` is what it begins with. Above 0; default none: the bonus stays, and is always paid.
    pub entropy_target: Option<f64>,
    /// By how much one step changes the bonus. Above 0; default 0.005, as in TRL.
    pub entropy_coef_delta: f64,
    /// The least that it shrinks to. At least 0, at most `entropy_coef`; default 0.
    pub entropy_coef_min: f64,
    /// The most that it grows to. At least `entropy_coef`; default 1.
    pub entropy_coef_max: f64,
    /// Optimizer passes over each batch. At least 1. The default 1 keeps every step on-policy; with more, clipping begins to matter.
    pub epochs: usize,
    /// Once the policy finds an episode so much less likely than its sampler did, mean nats per token, it is pushed no further away from it.
    /// Above 0; default none: however far it is. Matters with several `epochs`, and to tokens of an older policy.
    pub off_policy_threshold: Option<f64>,
    /// Whether nothing is learned from an episode of which a reply was cut off at its limit; its group is still compared with it. Default
    /// false.
    pub mask_truncated: bool,
    /// The longest completion, in tokens sampled over all turns of an episode: the constant that `dr_grpo` divides by, and where the
    /// punishment for length is greatest. At least 1; default 512.
    pub max_completion_tokens: usize,
    /// How many tokens before that an episode begins to be worth less. At least 1, at most `max_completion_tokens`; default none: length
    /// costs nothing.
    pub overlong_cache: Option<usize>,
    /// What an episode loses that is as long as that, or longer. Above 0; default 1, as in DAPO.
    pub overlong_penalty: f64,
}

impl Default for Grpo {
    fn default() -> Self {
        Self {
            advantage: Advantage::GroupStd,
            rewards: Rewards::Summed,
            credit: CreditFor::Episode,
            gamma: 1.0,
            turn_weight: 0.0,
            surrogate: Surrogate::Clip,
            aggregation: Aggregation::Dapo,
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: None,
            ratio_max: 5.0,
            kl: KlEstimator::K3,
            kl_coef: 0.0,
            kl_in: KlIn::Loss,
            kl_target: None,
            kl_horizon: 1e4,
            entropy_coef: 0.0,
            entropy_target: None,
            entropy_coef_delta: 0.005,
            entropy_coef_min: 0.0,
            entropy_coef_max: 1.0,
            epochs: 1,
            off_policy_threshold: None,
            mask_truncated: false,
            max_completion_tokens: 512,
            overlong_cache: None,
            overlong_penalty: 1.0,
        }
    }
}

impl Grpo {
    /// Everything that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let Self { clip_low, clip_high, dual_clip, .. } = self;
        let mut problems = Vec::new();
        if !(*clip_low > 0.0 && *clip_low < 1.0) {
            problems.push(format!("clip_low must lie between 0 and 1, but is {clip_low}"));
        }
        if !(0.0..=1.0).contains(&self.gamma) {
            problems.push(format!("gamma must lie between 0 and 1, but is {}", self.gamma));
        }
        let above = [
            ("clip_high", Some(self.clip_high)),
            ("ratio_max", Some(self.ratio_max)),
            ("kl_target", self.kl_target),
            ("kl_horizon", Some(self.kl_horizon)),
            ("entropy_target", self.entropy_target),
            ("entropy_coef_delta", Some(self.entropy_coef_delta)),
            ("off_policy_threshold", self.off_policy_threshold),
            ("overlong_penalty", Some(self.overlong_penalty)),
        ];
        for (name, number) in above {
            if let Some(number) = number.filter(|it| !(*it > 0.0 && it.is_finite())) {
                problems.push(format!("{name} must be above 0, but is {number}"));
            }
        }
        if let Some(dual_clip) = dual_clip.filter(|it| !(*it >= 1.0 + clip_high && it.is_finite())) {
            problems
                .push(format!("dual_clip must be at least 1 + clip_high = {}, but is {dual_clip}", 1.0 + clip_high));
        }
        let least = [("turn_weight", self.turn_weight), ("kl_coef", self.kl_coef), ("entropy_coef", self.entropy_coef)];
        for (name, number) in least {
            if !(number >= 0.0 && number.is_finite()) {
                problems.push(format!("{name} must be 0 or more, but is {number}"));
            }
        }
        let (least, coef, most) = (self.entropy_coef_min, self.entropy_coef, self.entropy_coef_max);
        if self.entropy_target.is_some() && !(least >= 0.0 && least <= coef) {
            problems.push(format!("entropy_coef_min must lie between 0 and entropy_coef = {coef}, but is {least}"));
        }
        if self.entropy_target.is_some() && !(most >= coef && most.is_finite()) {
            problems.push(format!("entropy_coef_max must be at least entropy_coef = {coef}, but is {most}"));
        }
        for (name, count) in [("epochs", self.epochs), ("max_completion_tokens", self.max_completion_tokens)] {
            if count == 0 {
                problems.push(format!("{name} must be at least 1, but is 0"));
            }
        }
        let longest = self.max_completion_tokens;
        if let Some(cache) = self.overlong_cache.filter(|it| !(1..=longest).contains(it)) {
            problems.push(format!(
                "overlong_cache must lie between 1 and max_completion_tokens = {longest}, but is {cache}"
            ));
        }
        problems
    }

    /// What length costs, if it costs anything.
    #[must_use]
    pub fn overlong(&self) -> Option<Overlong> {
        let Self { max_completion_tokens: limit, overlong_penalty: penalty, .. } = *self;
        self.overlong_cache.map(|margin| Overlong { limit, margin, penalty })
    }

    /// How the bonus for entropy is adapted, if it is.
    #[must_use]
    pub fn entropy_control(&self) -> Option<EntropyControl> {
        let Self { entropy_coef_delta: delta, entropy_coef_min: min, entropy_coef_max: max, .. } = *self;
        self.entropy_target.map(|target| EntropyControl { target, delta, min, max })
    }

    /// How the weight of the KL term is adapted, if it is.
    #[must_use]
    pub fn kl_control(&self) -> Option<KlControl> {
        self.kl_target.map(|target| KlControl { target, horizon: self.kl_horizon })
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
        let (pays, steered) = (self.kl_coef > 0.0, self.entropy_target.is_some());
        let turns = self.credit == CreditFor::Turns;
        let limited = self.aggregation == Aggregation::DrGrpo || self.overlong_cache.is_some();
        let summed = self.rewards == Rewards::Summed;
        let idle = [
            (summed, "advantage", "`rewards: summed`"),
            (summed, "credit", "`rewards: summed`"),
            (turns, "gamma", "`credit: turns`"),
            (turns, "turn_weight", "`credit: turns`"),
            (bounded, "clip_low", range),
            (bounded, "clip_high", range),
            (clips, "dual_clip", "`surrogate: clip`, `gspo` or `gspo_token`"),
            (self.surrogate == Cispo, "ratio_max", "`surrogate: cispo`"),
            (pays, "kl_in", "a `kl_coef` above 0"),
            (pays, "kl_target", "a `kl_coef` above 0"),
            (self.kl_target.is_some(), "kl_horizon", "a `kl_target`"),
            (steered, "entropy_coef_delta", "an `entropy_target`"),
            (steered, "entropy_coef_min", "an `entropy_target`"),
            (steered, "entropy_coef_max", "an `entropy_target`"),
            (limited, "max_completion_tokens", "`aggregation: dr_grpo` or an `overlong_cache`"),
            (self.overlong_cache.is_some(), "overlong_penalty", "an `overlong_cache`"),
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
    fn limits_that_contradict_one_another_are_reported() {
        let grpo = Grpo {
            gamma: 1.1,
            turn_weight: -1.0,
            kl_target: Some(0.0),
            kl_horizon: 0.0,
            entropy_target: Some(-0.1),
            entropy_coef_delta: 0.0,
            entropy_coef_min: 0.1,
            entropy_coef_max: -0.1,
            off_policy_threshold: Some(0.0),
            overlong_cache: Some(513),
            overlong_penalty: 0.0,
            ..Grpo::default()
        };
        let problems = grpo.validate();
        assert_eq!(problems.len(), 11, "{problems:?}");
        assert_eq!(problems[10], "overlong_cache must lie between 1 and max_completion_tokens = 512, but is 513");
    }

    #[test]
    fn what_is_asked_for_by_halves_is_refused() {
        let grpo = Grpo {
            gamma: 0.9,
            turn_weight: 1.0,
            kl_in: KlIn::Reward,
            kl_horizon: 10.0,
            entropy_coef_delta: 0.1,
            entropy_coef_max: 2.0,
            max_completion_tokens: 100,
            overlong_penalty: 2.0,
            ..Grpo::default()
        };
        let objections = Algorithm::Grpo.objections(&grpo);
        assert_eq!(objections.len(), 8, "{objections:?}");
        assert!(objections.contains(&"gamma is set to 0.9, but only `credit: turns` looks at it".to_owned()));
        let whole = Grpo {
            credit: CreditFor::Turns,
            kl_coef: 0.1,
            kl_target: Some(0.1),
            entropy_target: Some(0.5),
            overlong_cache: Some(20),
            ..grpo
        };
        assert!(Algorithm::Grpo.objections(&whole).is_empty());
    }

    #[test]
    fn settings_left_out_take_their_defaults_and_unknown_ones_are_refused() {
        let grpo: Grpo = serde_json::from_str(r#"{"advantage": "centred", "aggregation": "dr_grpo"}"#).unwrap();
        let wanted = Grpo { advantage: Advantage::Centred, aggregation: Aggregation::DrGrpo, ..Grpo::default() };
        assert_eq!(grpo, wanted);
        assert!(serde_json::from_str::<Grpo>(r#"{"clip": 0.2}"#).is_err());
    }
}
