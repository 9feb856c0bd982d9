//! Generation with a key-value cache.

use std::sync::Arc;

use stateset_domain::Sampling;
use stateset_kernels::cpu::Row;
use stateset_kernels::cuda::{self, Array, CacheRow, Device, DeviceError, KvCache, ROWS_AT_A_TIME, Rope};

use super::{GpuError, GpuWeights, normed_heads, refusal};
use crate::decoder::{Experts, Linear};
use crate::executor::{Executor, states};
use crate::{Choice, Draw, ModelConfig};

/// Runs steps of rows over the caches of many conversations.
pub struct GpuDecode<D: Device> {
    device: Arc<D>,
    config: ModelConfig,
    ropes: Vec<Rope<D>>,
    caches: Vec<KvCache<D, f32>>,
}

impl<D: Device> GpuDecode<D> {
    /// Room for `slots` conversations of `positions` tokens each.
    ///
    /// # Errors
    /// [`GpuError`] if the family is not run on a GPU, or there is not as much memory.
    pub fn new(device: Arc<D>, config: &ModelConfig, slots: usize, positions: usize) -> Result<Self, GpuError> {
        if let Some(reason) = refusal(config) {
            return Err(GpuError::Family(reason));
        }
        let ropes = config.ropes(positions);
        let ropes =
            ropes[..config.ropes.len()].iter().map(|rope| Rope::of(&*device, rope)).collect::<Result<_, _>>()?;
        let cache = |_| KvCache::new(&*device, slots, config.num_key_value_heads, config.head_dim, positions);
        let caches = config.layers.iter().map(cache).collect::<Result<_, _>>()?;
        Ok(Self { config: config.clone(), ropes, caches, device })
    }

    /// Lets slot `to` hold the first `tokens` tokens that slot `from` holds, as if they had been fed to it.
    ///
    /// # Errors
    /// [`DeviceError`].
    ///
    /// # Panics
    /// If a slot or that many tokens are beyond the cache.
    pub fn copy(&mut self, from: usize, to: usize, tokens: usize) -> Result<(), DeviceError> {
        self.caches.iter_mut().try_for_each(|cache| cuda::copy_slot(&*self.device, cache, (from, to), tokens))
    }

    /// What `draws` choose to follow `tokens`, which stand at `rows`. A slot's rows come in order of position and continue what its cache
    /// holds.
    ///
    /// # Errors
    /// [`DeviceError`].
    ///
    /// # Panics
    /// If a row lies outside the cache.
    pub fn step(
        &mut self,
        weights: &GpuWeights<D>,
        tokens: &[u32],
        rows: &[Row],
        draws: &[Draw<'_>],
    ) -> Result<Vec<Choice>, DeviceError> {
        let device = self.device.clone();
        let longest = rows.iter().map(|row| row.position + 1).max().unwrap_or(0);
        let row = |row: &Row| CacheRow { slot: row.slot as u32, position: row.position as u32 };
        let mut pass = Pass {
            tokens: Array::from_slice(&*device, &filled(tokens.iter().copied(), 0))?,
            rows: Array::from_slice(&*device, &filled(rows.iter().map(row), NOWHERE))?,
            selected: Array::from_slice(&*device, &filled(draws.iter().map(|draw| draw.row as u32), 0))?,
            weights: &weights.values,
            columns: &weights.columns,
            longest,
            run: self,
        };
        let states = states(&mut pass, &weights.places)?;
        if draws.is_empty() {
            return Ok(Vec::new());
        }
        let logits = pass.project(&states, *weights.places.head(), None)?;
        let choices = Array::from_slice(&*device, &filled(draws.iter().map(choice), choice(&draws[0])))?;
        let (mut chosen, mut log_probs) = (Array::new(&*device, choices.len())?, Array::new(&*device, choices.len())?);
        cuda::sample(&*device, &logits, &choices, &mut chosen, &mut log_probs)?;
        let (chosen, log_probs) = (chosen.to_vec(&*device)?, log_probs.to_vec(&*device)?);
        let found = chosen.into_iter().zip(log_probs).take(draws.len());
        Ok(found.map(|(token, log_prob)| Choice { token, log_prob }).collect())
    }
}

/// A row of no conversation: it is not cached, and attends to nothing.
const NOWHERE: CacheRow = CacheRow { slot: u32::MAX, position: 0 };

/// `rows`, and as many more as make whole blocks of them for [`cuda::linear_by_rows`].
fn filled<T: Copy>(rows: impl Iterator<Item = T>, with: T) -> Vec<T> {
    let mut filled: Vec<T> = rows.collect();
    filled.resize(filled.len().next_multiple_of(ROWS_AT_A_TIME), with);
    filled
}

/// A draw as the kernel takes it. As many as there are tokens are kept if that is more than 32 bits count.
fn choice(&Draw { sampling, stream, position, .. }: &Draw<'_>) -> cuda::Choice {
    let Sampling { temperature, top_p, min_p, top_k, .. } = *sampling;
    let top_k = u32::try_from(top_k).unwrap_or(0);
    cuda::Choice { key: stream.key(), position, temperature, top_p, min_p, top_k }
}

struct Pass<'a, D: Device> {
    run: &'a mut GpuDecode<D>,
    weights: &'a [Array<D, f32>],
    columns: &'a [usize],
    tokens: Array<D, u32>,
    rows: Array<D, CacheRow>,
    selected: Array<D, u32>,
    longest: usize,
}

impl<D: Device> Pass<'_, D> {
    /// `x w^T`, or added to `onto`.
    fn project(
        &self,
        x: &Array<D, f32>,
        weight: usize,
        onto: Option<Array<D, f32>>,
    ) -> Result<Array<D, f32>, DeviceError> {
        let (device, w) = (&*self.run.device, &self.weights[weight]);
        let k = self.columns[weight];
        let (m, n) = (x.len() / k, w.len() / k);
        let add = onto.is_some();
        let mut y = match onto {
            Some(onto) => onto,
            None => Array::new(device, m * n)?,
        };
        cuda::linear_by_rows(device, x, w, &mut y, (m, k, n), add)?;
        Ok(y)
    }
}

impl<D: Device> Executor for Pass<'_, D> {
    type Tensor = Array<D, f32>;
    type Weight = usize;
    type Error = DeviceError;

    fn embed(&mut self, weight: &usize) -> Result<Array<D, f32>, DeviceError> {
        let (device, hidden) = (&*self.run.device, self.run.config.hidden_size);
        let mut x = Array::new(device, self.tokens.len() * hidden)?;
        cuda::gather_rows(device, &self.weights[*weight], &self.tokens, &mut x, (0, hidden))?;
        Ok(x)
    }

    fn norm(&mut self, x: &Array<D, f32>, weight: &usize) -> Result<Array<D, f32>, DeviceError> {
        let (device, w) = (&*self.run.device, &self.weights[*weight]);
        let (mut y, mut rstd) = (Array::new(device, x.len())?, Array::new(device, x.len() / w.len())?);
        cuda::rms_norm(device, x, w, self.run.config.rms_norm_eps as f32, &mut y, &mut rstd)?;
        Ok(y)
    }

    fn copy(&mut self, x: &Array<D, f32>) -> Result<Array<D, f32>, DeviceError> {
        x.copy(&*self.run.device)
    }

    fn linear(
        &mut self,
        x: Array<D, f32>,
        Linear { weight, bias }: &Linear<usize>,
        residual: Option<Array<D, f32>>,
    ) -> Result<Array<D, f32>, DeviceError> {
        let mut y = self.project(&x, *weight, residual)?;
        if let Some(bias) = bias {
            cuda::add_bias(&*self.run.device, &mut y, &self.weights[*bias])?;
        }
        Ok(y)
    }

    fn add_normed(
        &mut self,
        x: Array<D, f32>,
        norm: Option<&usize>,
        mut residual: Array<D, f32>,
    ) -> Result<Array<D, f32>, DeviceError> {
        let x = match norm {
            Some(norm) => self.norm(&x, norm)?,
            None => x,
        };
        cuda::add(&*self.run.device, &x, &mut residual)?;
        Ok(residual)
    }

    fn norm_heads(&mut self, qkv: Array<D, f32>, norms: &[usize; 2]) -> Result<Array<D, f32>, DeviceError> {
        let (device, config) = (&*self.run.device, &self.run.config);
        let mut y = qkv.copy(device)?;
        for (norm, heads) in norms.iter().zip(normed_heads(config)) {
            cuda::head_norm(device, &qkv, &self.weights[*norm], config.rms_norm_eps as f32, heads, &mut y)?;
        }
        Ok(y)
    }

    fn attend(&mut self, qkv: Array<D, f32>, layer: usize, _: Option<&usize>) -> Result<Array<D, f32>, DeviceError> {
        let GpuDecode { device, config, ropes, caches, .. } = &mut *self.run;
        let rope = &ropes[config.layers[layer].rope.expect("every layer turns its heads")];
        let heads = config.num_attention_heads;
        let mut out = Array::new(&**device, self.rows.len() * heads * config.head_dim)?;
        let rows = (&self.rows, self.longest);
        cuda::decode_attention(&**device, &mut caches[layer], rope, heads, rows, &qkv, &mut out)?;
        Ok(out)
    }

    fn gate(&mut self, gate_up: Array<D, f32>) -> Result<Array<D, f32>, DeviceError> {
        let device = &*self.run.device;
        let mut y = Array::new(device, gate_up.len() / 2)?;
        cuda::gate(device, &gate_up, &mut y, self.run.config.intermediate_size)?;
        Ok(y)
    }

    fn experts(&mut self, _: Array<D, f32>, _: &Experts<usize>) -> Result<Array<D, f32>, DeviceError> {
        unreachable!("a decoder with experts is refused")
    }

    fn select(&mut self, x: Array<D, f32>) -> Result<Array<D, f32>, DeviceError> {
        let (device, width) = (&*self.run.device, x.len() / self.rows.len().max(1));
        let mut y = Array::new(device, self.selected.len() * width)?;
        cuda::gather_rows(device, &x, &self.selected, &mut y, (0, width))?;
        Ok(y)
    }
}
