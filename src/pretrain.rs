//! The making of the built-in policy: demonstrations in, a model folder out.
//!
//! Tokenizer and weights follow from the domain, the settings and the seed alone, so whoever runs it again gets the same bytes (on a
//! processor with the same vector instructions: sums of products differ in the last bit between AVX2 and AVX-512).

use anyhow::{Context, Result};
use serde_json::json;
use stateset_chat::{ChatFormat, PLAIN};
use stateset_domain::{Artifact, NamedTensor, Split, Stream};
use stateset_environments::{DomainSpec, Environment, Ladder};
use stateset_models::{HfTokenizer, HostWeights, LlamaConfig, train_tokenizer, write_tensors};
use stateset_training::{Demonstration, OptimizerSettings, Supervised, SupervisedReport, SupervisedSettings};
use std::sync::Arc;

use crate::config::Pretraining;
use crate::data::render;

/// Tokens that separate roles. `<|end|>` ends every message; padding is for tools that need some.
const SPECIAL: [&str; 6] = ["<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"];

/// Standard deviation of fresh weights.
const INITIAL_STD: f64 = 0.05;
/// What predicting the user counts beside predicting the assistant.
const CONTEXT_WEIGHT: f64 = 0.1;
const MICRO_BATCH_TOKENS: usize = 16_384;

/// Clones the domain's demonstrations and returns the files of the model. `on_step` hears of every step; the first is 1.
///
/// # Errors
/// If the domain lacks a rung, or the arithmetic fails.
pub fn pretrain(
    settings: &Pretraining,
    domain: DomainSpec,
    mut on_step: impl FnMut(u64, &SupervisedReport),
) -> Result<Vec<Artifact>> {
    let domain = Arc::new(domain);
    let tokenizer_json =
        train_tokenizer(&domain.corpus(), &SPECIAL, settings.model.vocab_size).context("training the tokenizer")?;
    let tokenizer = Arc::new(HfTokenizer::from_json(&tokenizer_json)?);
    let format = ChatFormat::new(tokenizer.clone())?;
    let llama = model_config(settings, tokenizer.vocab_size(), format.stop_tokens()[0]);
    let config = llama.decoder()?;
    let stream = Stream::new(settings.seed);
    let mut corpus = Corpus::new(settings, &domain, format, stream.fork(1))?;
    let weights = HostWeights::random(&config, INITIAL_STD, stream.fork(2));
    let mut training = Supervised::new(&weights, supervised(settings))?;
    for step in 1..=settings.steps {
        let batch: Vec<Demonstration> = (0..settings.batch).map(|_| corpus.draw()).collect::<Result<_>>()?;
        let report = rayon_scope(|| training.step(&batch)).with_context(|| format!("pre-training step {step}"))?;
        on_step(step, &report);
    }
    files(&llama, tokenizer_json, &training.tensors()?)
}

fn supervised(settings: &Pretraining) -> SupervisedSettings {
    SupervisedSettings {
        steps: settings.steps,
        learning_rate: settings.learning_rate,
        schedule: settings.schedule,
        optimizer: OptimizerSettings {
            betas: (0.9, 0.95),
            weight_decay: settings.weight_decay,
            max_grad_norm: settings.max_grad_norm,
            ..OptimizerSettings::default()
        },
        context_weight: CONTEXT_WEIGHT,
        micro_batch_tokens: MICRO_BATCH_TOKENS,
    }
}

/// The vocabulary is padded to a multiple of 16, which products are fast at.
fn model_config(settings: &Pretraining, tokens: usize, end: u32) -> LlamaConfig {
    let model = &settings.model;
    LlamaConfig {
        architectures: vec!["LlamaForCausalLM".into()],
        model_type: "llama".into(),
        vocab_size: tokens.next_multiple_of(16),
        hidden_size: model.hidden,
        intermediate_size: model.intermediate,
        num_hidden_layers: model.layers,
        num_attention_heads: model.heads,
        num_key_value_heads: model.kv_heads,
        max_position_embeddings: model.max_context,
        rms_norm_eps: 1e-5,
        rope_theta: model.rope_theta,
        tie_word_embeddings: true,
        hidden_act: "silu".into(),
        attention_bias: false,
        mlp_bias: false,
        rope_scaling: None,
        eos_token_id: end,
        torch_dtype: "float32".into(),
    }
}

fn files(config: &LlamaConfig, tokenizer_json: Vec<u8>, weights: &[NamedTensor]) -> Result<Vec<Artifact>> {
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIAL[5],
        "pad_token": SPECIAL[0],
        "chat_template": PLAIN,
        "clean_up_tokenization_spaces": false,
    });
    let file = |name: &str, bytes| Artifact { name: name.into(), bytes };
    Ok(vec![
        file("config.json", serde_json::to_vec_pretty(config)?),
        file("tokenizer.json", tokenizer_json),
        file("tokenizer_config.json", serde_json::to_vec_pretty(&tokenizer_config)?),
        file("model.safetensors", write_tensors(weights)?),
    ])
}

/// Demonstrations without end, rungs mixed by their shares.
struct Corpus {
    ladders: Vec<(f64, Ladder)>,
    format: ChatFormat,
    stream: Stream,
    drawn: u64,
}

impl Corpus {
    fn new(settings: &Pretraining, domain: &Arc<DomainSpec>, format: ChatFormat, stream: Stream) -> Result<Self> {
        let ladder = |share: &crate::config::Share| -> Result<(f64, Ladder)> {
            Ok((share.weight, Ladder::new(domain.clone(), &share.rung, settings.seed)?))
        };
        let ladders = settings.rungs.iter().map(ladder).collect::<Result<_>>()?;
        Ok(Self { ladders, format, stream, drawn: 0 })
    }

    fn draw(&mut self) -> Result<Demonstration> {
        let mut left = self.stream.uniform() * self.ladders.iter().map(|(weight, _)| weight).sum::<f64>();
        let last = self.ladders.len() - 1;
        let chosen = self.ladders.iter().position(|(weight, _)| {
            left -= weight;
            left < 0.0
        });
        let (_, ladder) = &self.ladders[chosen.unwrap_or(last)];
        let scenario = ladder.scenario(Split::Train, self.drawn);
        let messages = ladder.demonstration(&scenario, &mut self.stream.fork(self.drawn))?;
        self.drawn += 1;
        Ok(render(&self.format, &messages)?)
    }
}

/// Runs `f` on a worker of the thread pool, which spares every kernel in it a wake-up from outside.
fn rayon_scope<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}
