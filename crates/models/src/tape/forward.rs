//! The operations, as they are written down.

use std::sync::Arc;

use candle_core::Result;
use stateset_kernels::Scoring;
use stateset_kernels::cpu::{self, LowRank, Span};

use super::{Adapter, Keep, Op, Pass, Tape, Weight};
use crate::buffers::{Buffer, Buffers};
use crate::decoder::{Experts, Layer, Linear};
use crate::executor::{Executor, Place, block};
use crate::trail::Slot;

impl Executor for Tape {
    type Tensor = Slot;
    type Weight = Weight;
    type Error = candle_core::Error;

    fn embed(&mut self, weight: &Weight) -> Result<Slot> {
        let (width, tokens) = (self.pass.config.hidden_size, &self.pass.batch.tokens);
        let mut out = self.pass.buffers.take(tokens.len() * width);
        weight.values.read(|table| cpu::embed(table, tokens, &mut out, width))?;
        self.pass.scale_embeddings(&mut out);
        Ok(self.trail.push(Op::Embed { weight: weight.clone() }, width, out))
    }

    fn norm(&mut self, x: &Slot, weight: &Weight) -> Result<Slot> {
        let (values, width) = (self.trail.values(x), self.trail.width(x));
        let (mut out, mut rstd) = (self.pass.buffers.take(values.len()), self.pass.buffers.take(values.len() / width));
        self.pass.read(weight, |w| cpu::rms_norm(&values, w, self.pass.eps(), &mut out, &mut rstd))?;
        self.trail.need(x);
        Ok(self.trail.push(Op::Norm { x: x.at(), weight: weight.clone(), rstd: rstd.into() }, width, out))
    }

    fn copy(&mut self, x: &Slot) -> Result<Slot> {
        let (values, width) = (self.trail.values(x), self.trail.width(x));
        Ok(self.trail.push(Op::Copy { x: x.at() }, width, values))
    }

    fn linear(&mut self, x: Slot, linear: &Linear<Weight>, residual: Option<Slot>) -> Result<Slot> {
        let Linear { weight, bias } = linear;
        let (at, k) = (x.at(), self.trail.width(&x));
        let n = weight.values.len() / k;
        let values = self.factor(x);
        let m = values.len() / k;
        let onto = residual.as_ref().map(Slot::at);
        let mut out = match residual {
            None => self.pass.buffers.take(m * n),
            Some(residual) => self.own(residual),
        };
        self.pass.read(weight, |w| match onto {
            None => cpu::linear(&values, w, &mut out, (m, k, n)),
            Some(_) => cpu::linear_add(&values, w, &mut out, (m, k, n)),
        })?;
        if let Some(bias) = bias {
            self.pass.read(bias, |bias| cpu::add_bias(&mut out, bias))?;
        }
        let mut low = Vec::with_capacity(weight.adapters.len());
        for adapter in &*weight.adapters {
            let (mut made, thinned) =
                (self.pass.buffers.take(m * adapter.a.values.len() / k), adapter.thinned(&values, &self.pass.buffers));
            let input = thinned.as_deref().unwrap_or(&values);
            adapter.with(&self.pass, k, n, |adapter| cpu::low_rank(input, adapter, &mut out, &mut made))?;
            low.push(made);
        }
        let op = Op::Linear { x: at, weight: weight.clone(), bias: bias.clone(), residual: onto, low: low.into() };
        Ok(self.trail.push(op, n, out))
    }

    fn add_normed(&mut self, x: Slot, norm: Option<&Weight>, residual: Slot) -> Result<Slot> {
        let x = match norm {
            None => x,
            Some(norm) => {
                let normed = self.norm(&x, norm)?;
                self.trail.release(x, true);
                normed
            }
        };
        let (at, onto, width) = (x.at(), residual.at(), self.trail.width(&x));
        let values = self.trail.release(x, false);
        let mut out = self.own(residual);
        out.iter_mut().zip(&**values).for_each(|(out, x)| *out += x);
        Ok(self.trail.push(Op::Add { x: at, residual: onto }, width, out))
    }

    fn norm_heads(&mut self, qkv: Slot, norms: &[Weight; 2]) -> Result<Slot> {
        let (at, width) = (qkv.at(), self.trail.width(&qkv));
        let values = self.trail.release(qkv, true);
        let mut out = self.pass.buffers.take(values.len());
        self.pass.with_spans(norms, |spans| cpu::norm_columns(&values, width, spans, self.pass.eps(), &mut out))?;
        Ok(self.trail.push(Op::NormHeads { x: at, norms: norms.clone() }, width, out))
    }

    fn attend(&mut self, qkv: Slot, layer: usize, sinks: Option<&Weight>) -> Result<Slot> {
        let (at, pass) = (qkv.at(), self.pass.clone());
        let p = &pass.packed;
        let (rows, width) = (p.tokens(), p.heads * p.head_dim);
        let (mut out, mut lse) = (self.pass.buffers.take(rows * width), self.pass.buffers.take(rows * p.heads));
        let values = self.trail.release(qkv, true);
        pass.with_scoring(layer, sinks, |scoring| {
            cpu::attention(p, pass.rope(layer), scoring, &values, &mut out, &mut lse);
        })?;
        let slot = self.trail.push(Op::Attend { qkv: at, layer, sinks: sinks.cloned(), lse: lse.into() }, width, out);
        self.trail.need(&slot);
        Ok(slot)
    }

    fn gate(&mut self, gate_up: Slot) -> Result<Slot> {
        let (at, width) = (gate_up.at(), self.trail.width(&gate_up) / 2);
        let values = self.trail.release(gate_up, true);
        let mut out = self.pass.buffers.take(values.len() / 2);
        cpu::gate(self.pass.config.gating, &values, &mut out, width);
        Ok(self.trail.push(Op::Gate { x: at }, width, out))
    }

    fn experts(&mut self, x: Slot, experts: &Experts<Weight>) -> Result<Slot> {
        let (at, width) = (x.at(), self.trail.width(&x));
        let values = self.factor(x);
        let (out, mixed) = self.mix(&values, experts)?;
        Ok(self.trail.push(
            Op::Experts { x: at, experts: Box::new(experts.clone()), mixed: Arc::new(mixed) },
            width,
            out,
        ))
    }

    fn select(&mut self, x: Slot) -> Result<Slot> {
        let (at, width) = (x.at(), self.trail.width(&x));
        let values = self.trail.release(x, false);
        let mut out = self.pass.buffers.take(self.pass.batch.rows.len() * width);
        cpu::gather_rows(&values, &self.pass.batch.rows, &mut out, width);
        Ok(self.trail.push(Op::Select { x: at }, width, out))
    }

    fn block(&mut self, layer: &Layer<Weight>, place: Place, x: Slot) -> Result<Slot> {
        if self.keep != Keep::Blocks {
            return block(self, layer, place, x);
        }
        let (at, width) = (x.at(), self.trail.width(&x));
        let input = self.trail.release(x, true);
        let (mut inside, x) = self.of_block(input, width, Keep::Nothing);
        let out = block(&mut inside, layer, place, x)?;
        let out = inside.finish(out);
        Ok(self.trail.push(Op::Block { x: at, layer: Box::new(layer.clone()), place }, width, out))
    }
}

impl Pass {
    /// Runs `f` on a weight's numbers.
    pub(super) fn read<R>(&self, weight: &Weight, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        weight.values.with(&self.buffers, f)
    }

    pub(super) fn scale_embeddings(&self, values: &mut [f32]) {
        let scale = self.config.embedding_scale;
        if scale != 1.0 {
            values.iter_mut().for_each(|x| *x *= scale);
        }
    }

    /// Runs `f` on how layer `layer` weighs what it sees.
    pub(super) fn with_scoring(
        &self,
        layer: usize,
        sinks: Option<&Weight>,
        f: impl FnOnce(Scoring<'_, f32>),
    ) -> Result<()> {
        let attention = &self.config.attention;
        let (scale, window) = (attention.scale, self.config.layers[layer].window);
        let plain = Scoring { scale, window, soft_cap: attention.soft_cap, sinks: None };
        match sinks {
            None => f(plain),
            Some(sinks) => self.read(sinks, |sinks| f(Scoring { sinks: Some(sinks), ..plain }))?,
        }
        Ok(())
    }

    /// Runs `f` on the spans of queries and keys that are normed.
    pub(super) fn with_spans<R>(
        &self,
        [queries, keys]: &[Weight; 2],
        f: impl FnOnce(&[Span<'_>; 2]) -> R,
    ) -> Result<R> {
        self.read(queries, |queries| self.read(keys, |keys| f(&self.config.head_spans(queries, keys))))?
    }
}

impl Adapter {
    /// `x` without what is left out of it, if anything is.
    pub(super) fn thinned(&self, x: &[f32], buffers: &Buffers) -> Option<Buffer> {
        let (rate, stream) = self.dropout?;
        let mut thinned = buffers.take(x.len());
        cpu::dropout(x, rate, |i| stream.uniform_at(i as u64) as f32, &mut thinned);
        Some(thinned)
    }

    /// Runs `f` on the factors of an adapter of a projection from `inputs` to `width` numbers.
    pub(super) fn with<R>(
        &self,
        pass: &Pass,
        inputs: usize,
        width: usize,
        f: impl FnOnce(&LowRank<'_>) -> R,
    ) -> Result<R> {
        let (scale, columns) = (self.scale, self.columns.clone());
        pass.read(&self.a, |a| pass.read(&self.b, |b| f(&LowRank { a, b, scale, inputs, width, columns })))?
    }
}
