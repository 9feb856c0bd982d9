//! The decoder on plain slices with a key-value cache, for generation.
//!
//! Buffers circulate ([`Buffers`]): an operation takes its output from there and lets go of its input, so a step allocates nothing once
//! the widest batch has been seen.

use std::convert::Infallible;

use stateset_kernels::Scoring;
use stateset_kernels::cpu::{self, KvCache, Panels, Rope, Row};

use crate::buffers::{Buffer, Buffers};
use crate::decoder::{Experts, Linear};
use crate::executor::{Executor, states};
use crate::mixture::Visits;
use crate::served::Served;
use crate::{ModelConfig, ServedWeights};

/// Runs steps of rows over the caches of many conversations.
pub struct Decode {
    config: ModelConfig,
    /// The tables of the configuration, and one that turns nothing.
    ropes: Vec<Rope>,
    caches: Vec<KvCache>,
    buffers: Buffers,
}

impl Decode {
    /// Room for `slots` conversations of `positions` tokens each.
    #[must_use]
    pub fn new(config: &ModelConfig, slots: usize, positions: usize) -> Self {
        // One by one, since a copy would touch pages that a short conversation never needs.
        let cache = |_| KvCache::new(slots, config.num_key_value_heads, config.head_dim, positions);
        let (ropes, caches) = (config.ropes(positions), (0..config.num_hidden_layers()).map(cache).collect());
        Self { config: config.clone(), ropes, caches, buffers: Buffers::default() }
    }

    /// Logits `[selected, vocab]` after `tokens`, which stand at `rows`; `selected` are indices into `rows`. A slot's rows must come in
    /// order of position and continue what its cache holds.
    ///
    /// # Panics
    /// If a row lies outside the cache.
    #[must_use]
    pub fn step(&mut self, weights: &ServedWeights, tokens: &[u32], rows: &[Row], selected: &[usize]) -> Buffer {
        let mut pass = Pass { run: self, tokens, rows, selected };
        let Ok(states) = states(&mut pass, &weights.0);
        let mut logits = pass.project(states, weights.0.head().panels());
        if let Some(cap) = self.config.logit_soft_cap {
            cpu::cap_logits(&mut logits, cap);
        }
        logits
    }

    /// Lets slot `to` hold the first `tokens` tokens that slot `from` holds, as if they had been fed to it.
    ///
    /// # Panics
    /// If a slot or that many tokens are beyond the cache.
    pub fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        self.caches.iter_mut().for_each(|cache| cache.copy(from, to, tokens));
    }
}

struct Pass<'a> {
    run: &'a mut Decode,
    tokens: &'a [u32],
    rows: &'a [Row],
    selected: &'a [usize],
}

impl Pass<'_> {
    fn take(&self, len: usize) -> Buffer {
        self.run.buffers.take(len)
    }

    /// `x w^T`; `x` is used up.
    fn project(&mut self, x: Buffer, panels: &Panels) -> Buffer {
        let mut y = self.take(x.len() / panels.inputs() * panels.outputs());
        cpu::multiply(&x, panels, &mut y, false);
        y
    }

    /// Every visit's projection by its expert; `x` is used up.
    fn per_expert(&mut self, x: Buffer, visits: &Visits, linear: &Linear<Served>) -> Buffer {
        let (panels, experts) = (linear.weight.panels(), linear.weight.panels.len());
        let (k, n) = (panels.inputs(), panels.outputs());
        let mut y = self.take(x.len() / k * n);
        for (expert, at) in visits.by_expert() {
            let (x, y) = (&x[at.start * k..at.end * k], &mut y[at.start * n..at.end * n]);
            cpu::multiply(x, &linear.weight.panels[expert], y, false);
            if let Some(bias) = &linear.bias {
                cpu::add_bias(y, &bias.vector()[expert * bias.vector().len() / experts..][..n]);
            }
        }
        y
    }
}

impl Executor for Pass<'_> {
    type Tensor = Buffer;
    type Weight = Served;
    type Error = Infallible;

    fn embed(&mut self, weight: &Served) -> Result<Buffer, Infallible> {
        let (h, scale) = (self.run.config.hidden_size, self.run.config.embedding_scale);
        let mut x = self.take(self.tokens.len() * h);
        cpu::embed(weight.table(), self.tokens, &mut x, h);
        if scale != 1.0 {
            x.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(x)
    }

    fn norm(&mut self, x: &Buffer, weight: &Served) -> Result<Buffer, Infallible> {
        let (mut y, mut rstd) = (self.take(x.len()), self.take(x.len() / weight.vector().len()));
        cpu::rms_norm(x, weight.vector(), self.run.config.rms_norm_eps as f32, &mut y, &mut rstd);
        Ok(y)
    }

    fn copy(&mut self, x: &Buffer) -> Result<Buffer, Infallible> {
        Ok(self.run.buffers.copy(x))
    }

    fn linear(
        &mut self,
        x: Buffer,
        Linear { weight, bias }: &Linear<Served>,
        residual: Option<Buffer>,
    ) -> Result<Buffer, Infallible> {
        let panels = weight.panels();
        let add = residual.is_some();
        let mut y = residual.unwrap_or_else(|| self.take(x.len() / panels.inputs() * panels.outputs()));
        cpu::multiply(&x, panels, &mut y, add);
        if let Some(adapter) = &weight.adapter {
            let mut low = self.take(x.len() / panels.inputs() * adapter.a.outputs());
            cpu::multiply(&x, &adapter.a, &mut low, false);
            cpu::multiply(&low, &adapter.b, &mut y, true);
        }
        if let Some(bias) = bias {
            cpu::add_bias(&mut y, bias.vector());
        }
        Ok(y)
    }

    fn add_normed(&mut self, mut x: Buffer, norm: Option<&Served>, mut residual: Buffer) -> Result<Buffer, Infallible> {
        if let Some(norm) = norm {
            x = self.norm(&x, norm)?;
        }
        residual.iter_mut().zip(&*x).for_each(|(residual, x)| *residual += x);
        Ok(residual)
    }

    fn norm_heads(&mut self, qkv: Buffer, [queries, keys]: &[Served; 2]) -> Result<Buffer, Infallible> {
        let mut y = self.take(qkv.len());
        let config = &self.run.config;
        let spans = config.head_spans(queries.vector(), keys.vector());
        cpu::norm_columns(&qkv, config.qkv_rows(), &spans, config.rms_norm_eps as f32, &mut y);
        Ok(y)
    }

    fn attend(&mut self, qkv: Buffer, layer: usize, sinks: Option<&Served>) -> Result<Buffer, Infallible> {
        let heads = self.run.config.num_attention_heads;
        let mut out = self.take(self.rows.len() * heads * self.run.config.head_dim);
        let Decode { config, ropes, caches, .. } = &mut *self.run;
        let (attention, kind) = (&config.attention, &config.layers[layer]);
        let scoring = Scoring {
            scale: attention.scale,
            window: kind.window,
            soft_cap: attention.soft_cap,
            sinks: sinks.map(Served::vector),
        };
        let rope = &ropes[kind.rope.unwrap_or(ropes.len() - 1)];
        cpu::decode_attention(&mut caches[layer], rope, scoring, heads, self.rows, &qkv, &mut out);
        Ok(out)
    }

    fn gate(&mut self, gate_up: Buffer) -> Result<Buffer, Infallible> {
        let n = self.run.config.intermediate_size;
        let mut y = self.take(gate_up.len() / 2);
        cpu::gate(self.run.config.gating, &gate_up, &mut y, n);
        Ok(y)
    }

    fn experts(&mut self, x: Buffer, experts: &Experts<Served>) -> Result<Buffer, Infallible> {
        let mixture = self.run.config.experts.expect("layers with experts have a mixture");
        let hidden = self.run.config.hidden_size;
        let mut logits = self.take(x.len() / hidden * mixture.count);
        cpu::multiply(&x, experts.router.weight.panels(), &mut logits, false);
        if let Some(bias) = &experts.router.bias {
            cpu::add_bias(&mut logits, bias.vector());
        }
        let routes = cpu::route(&logits, mixture.count, mixture.each, mixture.normed);
        let visits = Visits::new(&routes, mixture.count);
        let mut gathered = self.take(visits.rows.len() * hidden);
        cpu::gather_rows(&x, &visits.rows, &mut gathered, hidden);
        let gate_up = self.per_expert(gathered, &visits, &experts.gate_up);
        let mut gated = self.take(gate_up.len() / 2);
        cpu::gate(self.run.config.gating, &gate_up, &mut gated, mixture.intermediate);
        let found = self.per_expert(gated, &visits, &experts.down);
        let mut out = x;
        out.fill(0.0);
        visits.bring(&found, |place| routes.weights[place], &mut out, hidden);
        Ok(out)
    }

    fn select(&mut self, x: Buffer) -> Result<Buffer, Infallible> {
        let h = x.len() / self.rows.len().max(1);
        let mut y = self.take(self.selected.len() * h);
        for (row, from) in y.chunks_exact_mut(h.max(1)).zip(self.selected) {
            row.copy_from_slice(&x[from * h..][..h]);
        }
        Ok(y)
    }
}
