//! The decoder on plain slices, written down as it goes so that it can be walked back.
//!
//! What the walk back needs is kept; what a row-wise operation can make again from its input (norms, gates) is not. Kept values come from
//! [`Buffers`], gradients of weights are added straight to the caller's sums, and the gradient of the residual stream is one buffer that
//! all blocks add to.

mod backward;
mod experts;
mod forward;
mod held;

use std::ops::Range;
use std::sync::Arc;

use stateset_domain::Stream;
use stateset_kernels::cpu::{Packed, Rope};

use crate::buffers::{Buffer, Buffers};
use crate::decoder::{Experts, Layer};
use crate::executor::Place;
use crate::trail::{Slot, Trail};
use crate::{ModelConfig, PackedBatch};
pub(crate) use backward::join;
use experts::Mixed;
pub(crate) use held::Held;

/// A weight, and what adapts it.
#[derive(Clone)]
pub(crate) struct Weight {
    /// Where its gradient is summed; nowhere if it is frozen.
    pub(crate) sum: Option<usize>,
    pub(crate) values: Held,
    /// Adapters of parts of its outputs.
    pub(crate) adapters: Arc<[Adapter]>,
}

/// A low-rank adapter: its factors, which are always learnt.
pub(crate) struct Adapter {
    /// `[rank, inputs]`.
    pub(crate) a: Weight,
    /// `[columns, rank]`.
    pub(crate) b: Weight,
    pub(crate) scale: f32,
    /// How much of its input is left out, and by which draws.
    pub(crate) dropout: Option<(f32, Stream)>,
    /// The outputs it changes.
    pub(crate) columns: Range<usize>,
}

/// What a tape is run on.
pub(crate) struct Pass {
    pub(crate) batch: PackedBatch,
    pub(crate) packed: Packed,
    /// The tables of the configuration, and one that turns nothing.
    pub(crate) ropes: Arc<[Rope]>,
    pub(crate) config: Arc<ModelConfig>,
    pub(crate) buffers: Buffers,
}

impl Pass {
    fn eps(&self) -> f32 {
        self.config.rms_norm_eps as f32
    }

    fn rope(&self, layer: usize) -> &Rope {
        &self.ropes[self.config.layers[layer].rope.unwrap_or(self.ropes.len() - 1)]
    }

    /// `values`, to be written over: a copy if anything else may read them.
    fn alone(&self, values: Arc<Buffer>) -> Buffer {
        Arc::try_unwrap(values).unwrap_or_else(|kept| self.buffers.copy(&kept))
    }
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

#[derive(Clone)]
pub(crate) struct Tape {
    pass: Arc<Pass>,
    keep: Keep,
    trail: Trail<Op, Arc<Buffer>>,
}

#[derive(Clone)]
enum Op {
    /// What the tape begins with, if not with tokens.
    Input,
    Embed {
        weight: Weight,
    },
    Norm {
        x: usize,
        weight: Weight,
        rstd: Arc<Buffer>,
    },
    Copy {
        x: usize,
    },
    Linear {
        x: usize,
        weight: Weight,
        bias: Option<Weight>,
        residual: Option<usize>,
        /// What the adapters made of the input on the way.
        low: Arc<[Buffer]>,
    },
    Add {
        x: usize,
        residual: usize,
    },
    NormHeads {
        x: usize,
        norms: [Weight; 2],
    },
    Attend {
        qkv: usize,
        layer: usize,
        sinks: Option<Weight>,
        lse: Arc<Buffer>,
    },
    Gate {
        x: usize,
    },
    Experts {
        x: usize,
        experts: Box<Experts<Weight>>,
        mixed: Arc<Mixed>,
    },
    Select {
        x: usize,
    },
    Block {
        x: usize,
        layer: Box<Layer<Weight>>,
        place: Place,
    },
}

impl Tape {
    pub(crate) fn new(pass: Pass, keep: Keep) -> Self {
        Self::on(Arc::new(pass), keep)
    }

    fn on(pass: Arc<Pass>, keep: Keep) -> Self {
        Self { pass, keep, trail: Trail::new(keep != Keep::Nothing) }
    }

    /// What it is run on.
    pub(crate) fn pass(&self) -> &Pass {
        &self.pass
    }

    /// A tape of one block, beginning with `x`.
    fn of_block(&self, x: Arc<Buffer>, width: usize, keep: Keep) -> (Self, Slot) {
        let mut tape = Self::on(self.pass.clone(), keep);
        let x = tape.trail.push(Op::Input, width, x);
        (tape, x)
    }

    /// The values of `slot`, which nothing else will be made from.
    pub(crate) fn finish(&mut self, slot: Slot) -> Arc<Buffer> {
        self.trail.release(slot, false)
    }

    /// The values of a slot that is used up now, since a product is made from it.
    fn factor(&mut self, slot: Slot) -> Arc<Buffer> {
        let cheap = matches!(self.trail.node(slot.at()).op, Op::Norm { .. } | Op::Gate { .. });
        self.trail.release(slot, !cheap)
    }

    /// The values of a slot that is used up now, to be written over.
    fn own(&mut self, slot: Slot) -> Buffer {
        let values = self.trail.release(slot, false);
        self.pass.alone(values)
    }
}
