//! The decoder on plain slices with a key-value cache, for generation.
//!
//! Buffers circulate: an operation takes its output from a pool and gives its input back, so a step allocates nothing once the pool
//! has grown to the widest batch. Weights are laid out once per version, in the order in which products of few rows read them.

use std::convert::Infallible;
use std::sync::Arc;

use stateset_domain::NamedTensor;
use stateset_kernels::cpu::{self, KvCache, Panels, Rope, Row};

use crate::weights::parts_of;
use crate::{Decoder, Executor, ModelConfig, WeightError, decoder};

/// Weights laid out for decoding, at one version.
#[derive(Debug)]
pub struct ServedWeights(Decoder<Served>);

/// A norm has values, a matrix that is multiplied with has panels, and an embedding that is also the head has both.
#[derive(Debug)]
struct Served {
    values: Option<Arc<[f32]>>,
    panels: Option<Panels>,
}

impl Served {
    fn values(&self) -> &[f32] {
        self.values.as_ref().expect("norms and embeddings are kept as they are")
    }

    fn panels(&self) -> &Panels {
        self.panels.as_ref().expect("matrices are laid out")
    }
}

impl ServedWeights {
    /// Lays out the tensors of a decoder shaped like `config`, by their Hugging Face names.
    ///
    /// # Errors
    /// [`WeightError`], naming the tensor.
    pub fn new(config: &ModelConfig, tensors: &[NamedTensor]) -> Result<Self, WeightError> {
        let embedding = config.parameters().embed.name;
        let lay_out = |parts: &Vec<&NamedTensor>| {
            let [first, ..] = parts.as_slice() else { unreachable!("a parameter has parts") };
            let (is_matrix, is_embedding) = (first.shape.len() == 2, first.name == embedding);
            let is_factor = is_matrix && (!is_embedding || config.tie_word_embeddings);
            let matrices: Vec<&[f32]> = parts.iter().map(|part| &*part.data).collect();
            Ok(Served {
                values: (is_embedding || !is_matrix).then(|| Arc::clone(&first.data)),
                panels: is_factor.then(|| Panels::new(&matrices, first.shape[1])),
            })
        };
        parts_of(config, tensors)?.try_map(lay_out).map(Self)
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
        let mut pass = Pass { run: self, tokens, rows, selected };
        let Ok(logits) = decoder::logits(&mut pass, &weights.0);
        logits
    }

    /// Lets slot `to` hold the first `tokens` tokens that slot `from` holds, as if they had been fed to it.
    ///
    /// # Panics
    /// If a slot or that many tokens are beyond the cache.
    pub fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        self.caches.iter_mut().for_each(|cache| cache.copy(from, to, tokens));
    }

    /// Gives a buffer back for reuse.
    pub fn recycle(&mut self, buffer: Vec<f32>) {
        self.pool.push(buffer);
    }

    /// A buffer of `len` floats whose contents are whatever they were: the pool's smallest that is long enough, since growing means filling.
    fn take(&mut self, len: usize) -> Vec<f32> {
        let fit = |buffer: &Vec<f32>| {
            if buffer.len() < len { (1, buffer.capacity().wrapping_neg()) } else { (0, buffer.len()) }
        };
        let best = self.pool.iter().enumerate().min_by_key(|(_, buffer)| fit(buffer)).map(|(index, _)| index);
        let mut buffer = best.map_or_else(Vec::new, |index| self.pool.swap_remove(index));
        buffer.resize(len, 0.0);
        buffer
    }
}

struct Pass<'a> {
    run: &'a mut Decode,
    tokens: &'a [u32],
    rows: &'a [Row],
    selected: &'a [usize],
}

impl Executor for Pass<'_> {
    type Tensor = Vec<f32>;
    type Weight = Served;
    type Error = Infallible;

    fn embed(&mut self, weight: &Served) -> Result<Vec<f32>, Infallible> {
        let h = self.run.config.hidden_size;
        let mut x = self.run.take(self.tokens.len() * h);
        for (row, token) in x.chunks_exact_mut(h).zip(self.tokens) {
            row.copy_from_slice(&weight.values()[*token as usize * h..][..h]);
        }
        Ok(x)
    }

    fn norm(&mut self, x: &Vec<f32>, weight: &Served) -> Result<Vec<f32>, Infallible> {
        let (mut y, mut rstd) = (self.run.take(x.len()), self.run.take(x.len() / weight.values().len()));
        cpu::rms_norm(x, weight.values(), self.run.config.rms_norm_eps as f32, &mut y, &mut rstd);
        self.run.recycle(rstd);
        Ok(y)
    }

    fn linear(&mut self, x: Vec<f32>, weight: &Served) -> Result<Vec<f32>, Infallible> {
        let panels = weight.panels();
        let mut y = self.run.take(x.len() / panels.inputs() * panels.outputs());
        cpu::multiply(&x, panels, &mut y, false);
        self.run.recycle(x);
        Ok(y)
    }

    fn linear_add(&mut self, x: Vec<f32>, weight: &Served, mut residual: Vec<f32>) -> Result<Vec<f32>, Infallible> {
        cpu::multiply(&x, weight.panels(), &mut residual, true);
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
        let h = x.len() / self.rows.len().max(1);
        let mut y = self.run.take(self.selected.len() * h);
        for (row, from) in y.chunks_exact_mut(h).zip(self.selected) {
            row.copy_from_slice(&x[from * h..][..h]);
        }
        self.run.recycle(x);
        Ok(y)
    }
}
