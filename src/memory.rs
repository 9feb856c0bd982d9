//! How much memory a configured run takes, and what of it fits a budget.

use anyhow::{Context, Result};
use stateset_algorithms::{Algorithm, Network};
use stateset_models::HostWeights;
use stateset_training::{Demand, MemoryPlan, Serving};

use crate::config::Config;
use crate::runtime::{STEP_TOKENS, undoable};

/// What training a decoder of these `weights` as `config` says is made of.
///
/// # Errors
/// If the configured adapter does not fit the decoder.
pub(crate) fn demand(config: &Config, weights: &HostWeights) -> Result<Demand> {
    let training = &config.training;
    let criticised = matches!(training.algorithm, Algorithm::Ppo | Algorithm::A2c | Algorithm::Trpo);
    Ok(Demand {
        loaded: weights.bytes() as u64,
        adapter: training.lora.as_ref().map(|lora| lora.adapter().learnt(&weights.config)).transpose()?,
        critic: criticised && training.critic.network == Network::Separate,
        undoable: undoable(config),
        saves: true,
        micro_batch_tokens: training.micro_batch_tokens,
        activation_checkpointing: training.activation_checkpointing,
        serving: Some(Serving {
            slots: config.supervision.max_live_episodes,
            positions: config.agent.max_context,
            step_tokens: STEP_TOKENS,
        }),
    })
}

/// `config` as it trains within its memory budget, and what that takes; nothing if it has no budget.
///
/// A forward pass holds at least one conversation, and two where two are compared; more than a step has are of no use.
///
/// # Errors
/// [`NothingFits`](stateset_training::NothingFits) if not even the least does; if the configured adapter does not fit the decoder.
pub(crate) fn within_budget(config: &Config, weights: &HostWeights) -> Result<Option<(Config, MemoryPlan)>> {
    let training = &config.training;
    let (Some(budget), model) = (training.memory_budget, &weights.config) else { return Ok(None) };
    let longest = config.agent.max_context.min(model.max_position_embeddings);
    let together = if training.algorithm == Algorithm::Dpo { 2 } else { 1 };
    let conversations = match (training.is_offline(), training.algorithm) {
        (false, _) => training.groups_per_step as usize * training.group_size as usize,
        (true, Algorithm::Dpo) => 2 * training.dpo.batch,
        (true, _) => training.sft.batch,
    };
    let (fewest, most) = (together * longest, conversations.saturating_mul(longest));
    let fitting = demand(config, weights)?
        .within(model, budget, fewest..=most)
        .context("`training.memory_budget` is too small for this model")?;
    let mut within = config.clone();
    within.training.micro_batch_tokens = fitting.micro_batch_tokens;
    within.training.activation_checkpointing = fitting.activation_checkpointing;
    Ok(Some((within, fitting.plan(model))))
}

#[cfg(test)]
mod tests {
    use stateset_training::NothingFits;

    use super::*;
    use crate::config::Lora;

    fn tiny() -> HostWeights {
        crate::model::load(crate::model::BUILTIN).unwrap().weights
    }

    fn with_budget(budget: u64) -> Config {
        let mut config = Config::default();
        config.training.memory_budget = Some(budget);
        config
    }

    fn settled(budget: u64) -> (usize, bool, u64) {
        let (within, plan) = within_budget(&with_budget(budget), &tiny()).unwrap().unwrap();
        (within.training.micro_batch_tokens, within.training.activation_checkpointing, plan.total())
    }

    #[test]
    fn a_larger_budget_is_a_larger_forward_pass_up_to_a_whole_step() {
        let (few, more, all) = (settled(400 << 20), settled(600 << 20), settled(100 << 30));
        assert!(few.0 < more.0 && few.2 <= 400 << 20 && more.2 <= 600 << 20, "{few:?} {more:?}");
        assert_eq!((all.0, all.1), (16 * 8 * 512, false));
        assert!(!few.1 && !more.1);
    }

    #[test]
    fn checkpointing_is_turned_on_only_if_nothing_fits_without() {
        let model = tiny();
        let least = |activation_checkpointing| {
            let least = Demand {
                micro_batch_tokens: 512,
                activation_checkpointing,
                ..demand(&Config::default(), &model).unwrap()
            };
            least.plan(&model.config).total()
        };
        let (with, without) = (least(true), least(false));
        assert!(with < without);
        assert_eq!(settled(without), (512, false, without));
        let (tokens, checkpoints, total) = settled(without - 1);
        assert!(tokens >= 512 && checkpoints && total < without);
        assert_eq!(settled(with), (512, true, with));
        let refused = within_budget(&with_budget(with - 1), &model).unwrap_err();
        let refused: NothingFits = refused.downcast().unwrap();
        assert_eq!(refused.plan.total(), with);
        let told = refused.to_string();
        assert!(told.contains("  optimizer  ") && told.contains("512 tokens a forward pass, with"), "{told}");
    }

    #[test]
    fn an_adapter_leaves_room_for_more() {
        let (model, mut config) = (tiny(), Config::default());
        let whole = demand(&config, &model).unwrap();
        config.training.lora = Some(Lora { rank: 4, ..Lora::default() });
        let adapter = demand(&config, &model).unwrap();
        assert!(adapter.plan(&model.config).total() < whole.plan(&model.config).total());
    }

    #[test]
    fn without_a_budget_nothing_is_settled() {
        assert_eq!(within_budget(&Config::default(), &tiny()).unwrap(), None);
    }
}
