//! The decoder from candle's primitive operations, in f64 and by Hugging Face names: what the fused one must equal.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{ops, rotary_emb};
use stateset_models::{HostWeights, ModelConfig};

pub(crate) struct Composed {
    config: ModelConfig,
    pub(crate) variables: BTreeMap<String, Var>,
}

impl Composed {
    pub(crate) fn new(weights: &HostWeights) -> Result<Self> {
        let variable = |t: stateset_domain::NamedTensor| {
            let tensor = Tensor::from_slice(&t.data, t.shape, &Device::Cpu)?.to_dtype(DType::F64)?;
            Ok((t.name, Var::from_tensor(&tensor)?))
        };
        let variables = weights.to_tensors().into_iter().map(variable).collect::<Result<_>>()?;
        Ok(Self { config: weights.config.clone(), variables })
    }

    fn weight(&self, name: &str) -> &Tensor {
        self.variables[&format!("{name}.weight")].as_tensor()
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        x.matmul(&self.weight(name).t()?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        ops::rms_norm_slow(x, self.weight(name), self.config.rms_norm_eps as f32)
    }

    /// Log-probability and entropy of every token after the first, `[2, tokens - 1]`.
    pub(crate) fn log_probs(&self, tokens: &[u32], temperature: f64) -> Result<Tensor> {
        let last = tokens.len() - 1;
        let mut x = self.weight("model.embed_tokens").index_select(&Tensor::new(&tokens[..last], &Device::Cpu)?, 0)?;
        for i in 0..self.config.num_hidden_layers() {
            let at = |part: &str| format!("model.layers.{i}.{part}");
            let normed = self.norm(&x, &at("input_layernorm"))?;
            x = (x + self.linear(&self.attention(&normed, i)?, &at("self_attn.o_proj"))?)?;
            let normed = self.norm(&x, &at("post_attention_layernorm"))?;
            let gate = ops::silu(&self.linear(&normed, &at("mlp.gate_proj"))?)?;
            let gated = (gate * self.linear(&normed, &at("mlp.up_proj"))?)?;
            x = (x + self.linear(&gated, &at("mlp.down_proj"))?)?;
        }
        let head = if self.config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
        let logits = (self.linear(&self.norm(&x, "model.norm")?, head)? / temperature)?;
        let log_p = ops::log_softmax(&logits, D::Minus1)?;
        let targets = Tensor::new(&tokens[1..], &Device::Cpu)?.unsqueeze(1)?;
        let chosen = log_p.gather(&targets, 1)?.squeeze(1)?;
        let entropy = (log_p.exp()? * &log_p)?.sum(1)?.neg()?;
        Tensor::stack(&[chosen, entropy], 0)
    }

    fn attention(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let c = &self.config;
        let (n, d, heads, kv) = (x.dim(0)?, c.head_dim, c.num_attention_heads, c.num_key_value_heads);
        let split = |name: &str, heads: usize| {
            let rows = self.linear(x, &format!("model.layers.{layer}.self_attn.{name}"))?;
            rows.reshape((1, n, heads, d))?.transpose(1, 2)?.contiguous()
        };
        let (cos, sin) = self.rotation(n)?;
        let q = rotary_emb::rope_slow(&split("q_proj", heads)?, &cos, &sin)?;
        let k = rotary_emb::rope_slow(&split("k_proj", kv)?, &cos, &sin)?;
        let shared = |x: Tensor| {
            x.unsqueeze(2)?.broadcast_as((1, kv, heads / kv, n, d))?.contiguous()?.reshape((1, heads, n, d))
        };
        let (k, v) = (shared(k)?, shared(split("v_proj", kv)?)?);
        let future = |i: usize| if i % n > i / n { f64::NEG_INFINITY } else { 0.0 };
        let mask = Tensor::from_vec((0..n * n).map(future).collect(), (n, n), &Device::Cpu)?;
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / (d as f64).sqrt())?.broadcast_add(&mask)?;
        ops::softmax(&scores, D::Minus1)?.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((n, heads * d))
    }

    fn rotation(&self, positions: usize) -> Result<(Tensor, Tensor)> {
        let half = self.config.head_dim / 2;
        let angle = |i: usize| (i / half) as f64 / crate::llama(true).rope_theta.powf((i % half) as f64 / half as f64);
        let angles: Vec<f64> = (0..positions * half).map(angle).collect();
        let angles = Tensor::from_vec(angles, (positions, half), &Device::Cpu)?;
        Ok((angles.cos()?, angles.sin()?))
    }
}
