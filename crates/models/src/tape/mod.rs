//! The decoder on plain slices, written down as it goes so that it can be walked back.
//!
//! One operation makes one value, so a value is known by the operation's place on the tape. What the walk back needs is kept; what a
//! row-wise operation can make again from its input (norms, gates) is not. Kept values come from [`Buffers`], gradients of weights
//! are added straight to the caller's sums, and the gradient of the residual stream is one buffer that all blocks add to.

mod backward;

use std::sync::Arc;

use candle_core::{Result, Var};
use stateset_kernels::cpu::{self, Packed, Rope};

use crate::buffers::{Buffer, Buffers};
use crate::ops::with_floats;
use crate::{Executor, Layer, PackedBatch, Place, decoder};

/// A weight, and which of the decoder's it is.
#[derive(Clone)]
pub(crate) struct Weight {
    pub(crate) index: usize,
    pub(crate) var: Var,
}

/// What a tape is run on.
pub(crate) struct Pass {
    pub(crate) batch: PackedBatch,
    pub(crate) packed: Packed,
    pub(crate) rope: Arc<Rope>,
    pub(crate) eps: f32,
}

/// What is kept for the walk back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: there will be none.
    Nothing,
    /// The input of each block; the block itself is run again.
    Blocks,
    /// Everything that is not cheap to make again.
    Everything,
}

/// A value on the tape.
pub(crate) struct Slot(usize);

pub(crate) struct Tape {
    pass: Arc<Pass>,
    buffers: Buffers,
    keep: Keep,
    nodes: Vec<Node>,
}

struct Node {
    op: Op,
    /// Floats of a row.
    width: usize,
    values: Option<Arc<Buffer>>,
    /// Whether the walk back asks for the values.
    needed: bool,
}

enum Op {
    /// What the tape begins with, if not with tokens.
    Input,
    Embed {
        weight: Weight,
    },
    Norm {
        x: usize,
        weight: Weight,
        rstd: Buffer,
    },
    Linear {
        x: usize,
        weight: Weight,
        residual: Option<usize>,
    },
    Attend {
        qkv: usize,
        lse: Buffer,
    },
    Gate {
        x: usize,
    },
    Select {
        x: usize,
    },
    Block {
        x: usize,
        layer: Layer<Weight>,
        place: Place,
    },
}

impl Tape {
    pub(crate) fn new(pass: Pass, buffers: Buffers, keep: Keep) -> Self {
        Self { pass: Arc::new(pass), buffers, keep, nodes: Vec::new() }
    }

    /// A tape of one block, beginning with `x`.
    fn of_block(&self, x: Arc<Buffer>, width: usize, keep: Keep) -> (Self, Slot) {
        let mut tape = Self { pass: self.pass.clone(), buffers: self.buffers.clone(), keep, nodes: Vec::new() };
        let x = tape.push_shared(Op::Input, width, x);
        (tape, x)
    }

    /// The values of `slot`, which nothing else will be made from.
    pub(crate) fn finish(&mut self, slot: Slot) -> Arc<Buffer> {
        self.release(slot, false)
    }

    fn push(&mut self, op: Op, width: usize, values: Buffer) -> Slot {
        self.push_shared(op, width, Arc::new(values))
    }

    fn push_shared(&mut self, op: Op, width: usize, values: Arc<Buffer>) -> Slot {
        self.nodes.push(Node { op, width, values: Some(values), needed: false });
        Slot(self.nodes.len() - 1)
    }

    /// The values of a slot that is not used up yet.
    fn values(&self, slot: &Slot) -> Arc<Buffer> {
        self.nodes[slot.0].values.clone().expect("a slot has values until it is used up")
    }

    /// The values of a slot that is used up now. The tape holds on to them only if the walk back needs them.
    fn release(&mut self, slot: Slot, needed: bool) -> Arc<Buffer> {
        let values = self.values(&slot);
        let node = &mut self.nodes[slot.0];
        node.needed |= needed;
        if self.keep == Keep::Nothing || !node.needed {
            node.values = None;
        }
        values
    }

    /// The same, of a slot that a product is made from.
    fn factor(&mut self, slot: Slot) -> Arc<Buffer> {
        let cheap = matches!(self.nodes[slot.0].op, Op::Norm { .. } | Op::Gate { .. });
        self.release(slot, !cheap)
    }
}

impl Executor for Tape {
    type Tensor = Slot;
    type Weight = Weight;
    type Error = candle_core::Error;

    fn embed(&mut self, weight: &Weight) -> Result<Slot> {
        let (width, tokens) = (weight.var.dim(1)?, &self.pass.batch.tokens);
        let mut out = self.buffers.take(tokens.len() * width);
        with_floats(&weight.var, |table| cpu::gather_rows(table, tokens, &mut out, width))?;
        Ok(self.push(Op::Embed { weight: weight.clone() }, width, out))
    }

    fn norm(&mut self, x: &Slot, weight: &Weight) -> Result<Slot> {
        let (values, width) = (self.values(x), self.nodes[x.0].width);
        let (mut out, mut rstd) = (self.buffers.take(values.len()), self.buffers.take(values.len() / width));
        with_floats(&weight.var, |w| cpu::rms_norm(&values, w, self.pass.eps, &mut out, &mut rstd))?;
        self.nodes[x.0].needed = true;
        Ok(self.push(Op::Norm { x: x.0, weight: weight.clone(), rstd }, width, out))
    }

    fn linear(&mut self, x: Slot, weight: &Weight) -> Result<Slot> {
        let (at, k, n) = (x.0, self.nodes[x.0].width, weight.var.dim(0)?);
        let values = self.factor(x);
        let m = values.len() / k;
        let mut out = self.buffers.take(m * n);
        with_floats(&weight.var, |w| cpu::linear(&values, w, &mut out, (m, k, n)))?;
        Ok(self.push(Op::Linear { x: at, weight: weight.clone(), residual: None }, n, out))
    }

    fn linear_add(&mut self, x: Slot, weight: &Weight, residual: Slot) -> Result<Slot> {
        let (at, k, n, onto) = (x.0, self.nodes[x.0].width, weight.var.dim(0)?, residual.0);
        let values = self.factor(x);
        let m = values.len() / k;
        let residual = self.release(residual, false);
        let mut out = Arc::try_unwrap(residual).unwrap_or_else(|kept| self.buffers.copy(&kept));
        with_floats(&weight.var, |w| cpu::linear_add(&values, w, &mut out, (m, k, n)))?;
        Ok(self.push(Op::Linear { x: at, weight: weight.clone(), residual: Some(onto) }, n, out))
    }

    fn attend(&mut self, qkv: Slot, _layer: usize) -> Result<Slot> {
        let (at, p) = (qkv.0, &self.pass.packed);
        let (rows, width) = (p.tokens(), p.heads * p.head_dim);
        let (mut out, mut lse) = (self.buffers.take(rows * width), self.buffers.take(rows * p.heads));
        let values = self.values(&qkv);
        cpu::attention(p, &self.pass.rope, &values, &mut out, &mut lse);
        self.release(qkv, true);
        let slot = self.push(Op::Attend { qkv: at, lse }, width, out);
        self.nodes[slot.0].needed = true;
        Ok(slot)
    }

    fn gate(&mut self, gate_up: Slot) -> Result<Slot> {
        let (at, width) = (gate_up.0, self.nodes[gate_up.0].width / 2);
        let values = self.release(gate_up, true);
        let mut out = self.buffers.take(values.len() / 2);
        cpu::gate(&values, &mut out, width);
        Ok(self.push(Op::Gate { x: at }, width, out))
    }

    fn select(&mut self, x: Slot) -> Result<Slot> {
        let (at, width) = (x.0, self.nodes[x.0].width);
        let values = self.release(x, false);
        let mut out = self.buffers.take(self.pass.batch.rows.len() * width);
        cpu::gather_rows(&values, &self.pass.batch.rows, &mut out, width);
        Ok(self.push(Op::Select { x: at }, width, out))
    }

    fn block(&mut self, layer: &Layer<Weight>, place: Place, x: Slot) -> Result<Slot> {
        if self.keep != Keep::Blocks {
            return decoder::block(self, layer, place, x);
        }
        let (at, width) = (x.0, self.nodes[x.0].width);
        let input = self.release(x, true);
        let (mut inside, x) = self.of_block(input, width, Keep::Nothing);
        let out = decoder::block(&mut inside, layer, place, x)?;
        let out = inside.finish(out);
        Ok(self.push_shared(Op::Block { x: at, layer: layer.clone(), place }, width, out))
    }
}
