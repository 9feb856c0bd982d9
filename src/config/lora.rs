//! What a run's file may say about an adapter.

use serde::{Deserialize, Serialize};
use stateset_models::{LoraConfig, Targets};

use super::findings::{Findings, above_zero};

/// A low-rank adapter that is learnt in place of the weights, which stay as they are (LoRA, Hu et al., arXiv:2106.09685).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Inner width of the adapter. From 1 to 16384; default 16.
    pub rank: usize,
    /// How much it weighs: what it computes is multiplied by `alpha / rank`. Above 0; default 32.
    pub alpha: f64,
    /// Whether it is multiplied by `alpha / sqrt(rank)` instead (rsLoRA), which keeps large ranks from learning slowly. Default false.
    pub rslora: bool,
    /// How much of its input is left out, at random, while it learns. In `[0, 1)`; default 0.
    pub dropout: f32,
    /// Which projections are adapted: names such as `q_proj`, `attention` for those of attention, or `all-linear` for those of the
    /// feed-forward too. At least one; default `[all-linear]`.
    pub target_modules: Vec<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, rslora: false, dropout: 0.0, target_modules: vec![ALL_LINEAR.into()] }
    }
}

const ALL_LINEAR: &str = "all-linear";
const ATTENTION: &str = "attention";

impl Lora {
    /// The same, as models take it.
    pub(crate) fn adapter(&self) -> LoraConfig {
        let has = |preset: &str| self.target_modules.iter().any(|it| it == preset);
        let targets = match () {
            () if has(ALL_LINEAR) => Targets::AllLinear,
            () if has(ATTENTION) => Targets::Attention,
            () => Targets::Named(self.target_modules.clone()),
        };
        LoraConfig { rank: self.rank, alpha: self.alpha, stabilised: self.rslora, dropout: self.dropout, targets }
    }
}

/// Checks what can be checked without the model.
pub(super) fn validate(lora: &Lora, found: &mut Findings) {
    found.check((1..=1 << 14).contains(&lora.rank), "training.lora.rank", lora.rank, "from 1 to 16384");
    found.check(above_zero(lora.alpha), "training.lora.alpha", lora.alpha, "above 0");
    found.check((0.0..1.0).contains(&lora.dropout), "training.lora.dropout", lora.dropout, "0 or more, below 1");
    let preset = lora.target_modules.iter().any(|it| it == ALL_LINEAR || it == ATTENTION);
    let count = lora.target_modules.len();
    let alone = "names of projections, or one preset alone: all-linear, attention";
    let said = lora.target_modules.join(", ");
    found.check(count >= 1 && (!preset || count == 1), "training.lora.target_modules", said, alone);
}
