//! The decoder on plain slices with a key-value cache, for generation.
//!
//! Buffers circulate: an operation takes its output from a pool and gives its input back, so a step allocates nothing once the pool
//! has grown to the widest batch. Weights are served transposed, which is the layout that products of few rows are fast in.

use std::convert::Infallible;

use stateset_kernels::cpu::{self, KvCache, Rope, Row};

use crate::{Decoder, Executor, HostWeights, ModelConfig, decoder};

/// Weights laid out for decoding, at one version.
#[derive(Debug)]
pub struct ServedWeights {
    embed: Vec<f32>,
    decoder: Decoder<Served>,
}

#[derive(Debug)]
struct Served {
    values: Vec<f32>,
    /// Columns of a transposed matrix; 0 for a norm.
    width: usize,
}

impl ServedWeights {
    /// Lays out `weights`.
    #[must_use]
    pub fn new(weights: &HostWeights) -> Self {
        let parameters = weights.config.parameters();
        let mut shapes = parameters.iter().map(|parameter| parameter.shape.as_slice());
        let Ok(decoder) = weights.values.try_map(|values| -> Result<Served, Infallible> {
            Ok(match shapes.next() {
                Some(&[rows, columns]) => Served { values: cpu::transpose(values, (rows, columns)), width: rows },
                _ => Served { values: values.clone(), width: 0 },
            })
        });
        Self { embed: weights.values.embed.clone(), decoder }
    }
}

/// Runs steps of rows over the caches of many conversations.
pub struct Decode {
    config: ModelConfig,
    rope: Rope,
    caches: Vec<KvCache>,
    pool: Vec<Vec<f32>>,
}

impl Decode {
    /// Room for `slots` conversations of `positions` tokens each.
    #[must_use]
    pub fn new(config: &ModelConfig, slots: usize, positions: usize) -> Self {
        let cache = KvCache::new(slots, config.num_key_value_heads, config.head_dim(), positions);
        let rope = Rope::new(positions, config.head_dim(), config.rope_theta);
        Self { config: config.clone(), rope, caches: vec![cache; config.num_hidden_layers], pool: Vec::new() }
    }

    /// Logits `[selected, vocab]` after `tokens`, which stand at `rows`; `selected` are indices into `rows`. A slot's rows must come in
    /// order of position and continue what its cache holds. The buffer goes back with [`recycle`](Self::recycle).
    ///
    /// # Panics
    /// If a row lies outside the cache.
    #[must_use]
    pub fn step(&mut self, weights: &ServedWeights, tokens: &[u32], rows: &[Row], selected: &[usize]) -> Vec<f32> {
        let mut pass = Pass { run: self, weights, tokens, rows, selected };
        let Ok(logits) = decoder::logits(&mut pass, &weights.decoder);
        logits
    }

    /// Gives a buffer back for reuse.
    pub fn recycle(&mut self, buffer: Vec<f32>) {
        self.pool.push(buffer);
    }

    /// A buffer of `len` floats whose contents are whatever they were.
    fn take(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.pool.pop().unwrap_or_default();
        buffer.resize(len, 0.0);
        buffer
    }
}

struct Pass<'a> {
    run: &'a mut Decode,
    weights: &'a ServedWeights,
    tokens: &'a [u32],
    rows: &'a [Row],
    selected: &'a [usize],
}

impl Executor for Pass<'_> {
    type Tensor = Vec<f32>;
    type Weight = Served;
    type Error = Infallible;

    fn embed(&mut self, _transposed: &Served) -> Result<Vec<f32>, Infallible> {
        let h = self.run.config.hidden_size;
        let mut x = self.run.take(self.tokens.len() * h);
        for (row, token) in x.chunks_exact_mut(h).zip(self.tokens) {
            row.copy_from_slice(&self.weights.embed[*token as usize * h..][..h]);
        }
        Ok(x)
    }

    fn norm(&mut self, x: &Vec<f32>, weight: &Served) -> Result<Vec<f32>, Infallible> {
        let (mut y, mut rstd) = (self.run.take(x.len()), self.run.take(x.len() / weight.values.len()));
        cpu::rms_norm(x, &weight.values, self.run.config.rms_norm_eps as f32, &mut y, &mut rstd);
        self.run.recycle(rstd);
        Ok(y)
    }

    fn linear(&mut self, x: Vec<f32>, weight: &Served) -> Result<Vec<f32>, Infallible> {
        let (n, k) = (weight.width, weight.values.len() / weight.width);
        let m = x.len() / k;
        let mut y = self.run.take(m * n);
        cpu::matmul_add(&x, &weight.values, &mut y, (m, k, n), false);
        self.run.recycle(x);
        Ok(y)
    }

    fn linear_add(&mut self, x: Vec<f32>, weight: &Served, mut residual: Vec<f32>) -> Result<Vec<f32>, Infallible> {
        let (n, k) = (weight.width, weight.values.len() / weight.width);
        cpu::matmul_add(&x, &weight.values, &mut residual, (x.len() / k, k, n), true);
        self.run.recycle(x);
        Ok(residual)
    }

    fn attend(&mut self, qkv: Vec<f32>, layer: usize) -> Result<Vec<f32>, Infallible> {
        let heads = self.run.config.num_attention_heads;
        let mut out = self.run.take(self.rows.len() * heads * self.run.config.head_dim());
        cpu::decode_attention(&mut self.run.caches[layer], &self.run.rope, heads, self.rows, &qkv, &mut out);
        self.run.recycle(qkv);
        Ok(out)
    }

    fn gate(&mut self, gate_up: Vec<f32>) -> Result<Vec<f32>, Infallible> {
        let n = self.run.config.intermediate_size;
        let mut y = self.run.take(gate_up.len() / 2);
        cpu::gate(&gate_up, &mut y, n);
        self.run.recycle(gate_up);
        Ok(y)
    }

    fn select(&mut self, x: Vec<f32>) -> Result<Vec<f32>, Infallible> {
        let h = self.run.config.hidden_size;
        let mut y = self.run.take(self.selected.len() * h);
        for (row, from) in y.chunks_exact_mut(h).zip(self.selected) {
            row.copy_from_slice(&x[from * h..][..h]);
        }
        self.run.recycle(x);
        Ok(y)
    }
}
