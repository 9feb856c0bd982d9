//! What a pre-training file may say: how the built-in policy is made.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stateset_algorithms::Schedule;

use super::Problem;
use super::findings::{Findings, above_zero, at_least_zero, in_unit};

/// A policy trained from nothing on demonstrations, mistakes included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pretraining {
    /// Which revision of this format the file is written in. Only 1 exists.
    pub version: u32,
    /// Every random choice follows from it.
    pub seed: u64,
    /// The decoder's dimensions.
    pub model: Architecture,
    /// The domain's YAML file, looked for beside this file, then in the working directory. Required.
    pub domain: PathBuf,
    /// Which rungs the demonstrations are drawn from, and how often. At least one.
    pub rungs: Vec<Share>,
    /// Optimizer steps. At least 1; default 2000.
    pub steps: u64,
    /// Demonstrations a step. At least 1; default 32.
    pub batch: usize,
    /// Step size of the optimizer, once warmed up. Above 0, at most 1; default 2e-3, which suits a model of a million parameters.
    pub learning_rate: f64,
    /// The learning rate's course.
    pub schedule: Schedule,
    /// How strongly AdamW pulls weights to 0. At least 0; default 0.01.
    pub weight_decay: f64,
    /// Gradients with a larger norm are scaled down to it. Above 0; default 1.
    pub max_grad_norm: f64,
}

impl Default for Pretraining {
    fn default() -> Self {
        Self {
            version: 1,
            seed: 0,
            model: Architecture::default(),
            domain: PathBuf::new(),
            rungs: Vec::new(),
            steps: 2000,
            batch: 32,
            learning_rate: 2e-3,
            schedule: Schedule::default(),
            weight_decay: 0.01,
            max_grad_norm: 1.0,
        }
    }
}

/// A Llama-like decoder's dimensions. The defaults make 0.8 million parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Architecture {
    /// Width of the residual stream. A multiple of `2 * heads`; default 128.
    pub hidden: usize,
    /// Layers. At least 1; default 4.
    pub layers: usize,
    /// Attention heads. At least 1; default 4.
    pub heads: usize,
    /// Heads that keys and values are shared from. Divides `heads`; default 2.
    pub kv_heads: usize,
    /// Width of the feed-forward part. At least 1; default 344, about 8/3 of `hidden`.
    pub intermediate: usize,
    /// Most tokens the tokenizer may have. At least 64; default 512.
    pub vocab_size: usize,
    /// The longest conversation, in tokens. At least 16; default 512.
    pub max_context: usize,
    /// Base of the rotary position angles. Above 1; default 10 000.
    pub rope_theta: f64,
}

impl Default for Architecture {
    fn default() -> Self {
        Self {
            hidden: 128,
            layers: 4,
            heads: 4,
            kv_heads: 2,
            intermediate: 344,
            vocab_size: 512,
            max_context: 512,
            rope_theta: 10_000.0,
        }
    }
}

/// A rung's share of the demonstrations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Share {
    /// The rung.
    pub rung: String,
    /// Its weight beside the others'. Above 0.
    pub weight: f64,
}

/// Everything that is wrong with `config`. `rungs` are the domain's, or why there are none.
#[must_use]
pub(super) fn validate(config: &Pretraining, rungs: Result<&[String], &String>) -> Vec<Problem> {
    let mut found = Findings::default();
    found.version(config.version);
    let model = &config.model;
    found.check(model.layers >= 1, "model.layers", model.layers, "at least 1");
    found.check(model.heads >= 1, "model.heads", model.heads, "at least 1");
    let even = model.hidden >= 1 && model.hidden.is_multiple_of(2 * model.heads);
    found.check(even, "model.hidden", model.hidden, format!("a multiple of 2 * heads = {}", 2 * model.heads));
    let shared = model.kv_heads >= 1 && model.heads.is_multiple_of(model.kv_heads);
    found.check(shared, "model.kv_heads", model.kv_heads, format!("a divisor of heads = {}", model.heads));
    found.check(model.intermediate >= 1, "model.intermediate", model.intermediate, "at least 1");
    found.check(model.vocab_size >= 64, "model.vocab_size", model.vocab_size, "at least 64");
    found.check(model.max_context >= 16, "model.max_context", model.max_context, "at least 16");
    found.check(
        model.rope_theta > 1.0 && model.rope_theta.is_finite(),
        "model.rope_theta",
        model.rope_theta,
        "above 1",
    );
    found.domain("domain", rungs);
    found.check(!config.rungs.is_empty(), "rungs", "empty", "at least one rung with its weight");
    for share in &config.rungs {
        found.check(
            share.weight > 0.0 && share.weight.is_finite(),
            "rungs",
            format!("{} times `{}`", share.weight, share.rung),
            "weights above 0",
        );
        found.rung("rungs", &share.rung, rungs);
    }
    found.check(config.steps >= 1, "steps", config.steps, "at least 1");
    found.check(config.batch >= 1, "batch", config.batch, "at least 1");
    found.check(in_unit(config.learning_rate), "learning_rate", config.learning_rate, "above 0, at most 1");
    found.sentences("schedule", config.schedule.validate(config.steps));
    found.check(at_least_zero(config.weight_decay), "weight_decay", config.weight_decay, "0 or more");
    found.check(above_zero(config.max_grad_norm), "max_grad_norm", config.max_grad_norm, "above 0");
    found.into_problems()
}
