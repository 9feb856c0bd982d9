//! The operations, as they are written down for the walk back.

use std::sync::Arc;

use stateset_kernels::Segment;
use stateset_kernels::cuda::{self, Array, Device, DeviceError, Heads, Rope, Scatter, Segments};

use super::{GpuWeights, normed_heads};
use crate::decoder::{Experts, Linear};
use crate::executor::Executor;
use crate::trail::{Slot, Trail};
use crate::{ModelConfig, PackedBatch};

/// Numbers that several may read.
pub(super) type Values<D> = Arc<Array<D, f32>>;

/// What a tape is run on.
pub(super) struct Pass<D: Device> {
    pub(super) device: Arc<D>,
    pub(super) config: Arc<ModelConfig>,
    pub(super) ropes: Arc<[Rope<D>]>,
    pub(super) segments: Segments<D>,
    pub(super) tokens: Array<D, u32>,
    positions: Array<D, u32>,
    selected: Array<D, u32>,
    /// Where gradients of the tokens' embeddings go, and those of selected rows.
    pub(super) to_vocabulary: Scatter<D>,
    pub(super) to_tokens: Scatter<D>,
}

impl<D: Device> Pass<D> {
    pub(super) fn new(
        device: Arc<D>,
        config: Arc<ModelConfig>,
        ropes: Arc<[Rope<D>]>,
        batch: &PackedBatch,
    ) -> Result<Self, DeviceError> {
        let d = &*device;
        Ok(Self {
            segments: Segments::new(d, &batch.segments)?,
            tokens: Array::from_slice(d, &batch.tokens)?,
            positions: Array::from_slice(d, &positions(&batch.segments))?,
            selected: Array::from_slice(d, &batch.rows)?,
            to_vocabulary: Scatter::new(d, &batch.tokens, config.vocab_size)?,
            to_tokens: Scatter::new(d, &batch.rows, batch.tokens.len())?,
            device,
            config,
            ropes,
        })
    }

    pub(super) fn eps(&self) -> f32 {
        self.config.rms_norm_eps as f32
    }

    pub(super) fn heads(&self) -> Heads {
        let ModelConfig { num_attention_heads, num_key_value_heads, head_dim, .. } = *self.config;
        Heads { heads: num_attention_heads, kv_heads: num_key_value_heads, head_dim }
    }

    /// Turns the queries and keys of `qkv` to their positions, or back.
    pub(super) fn turn(&self, qkv: &mut Array<D, f32>, layer: usize, back: bool) -> Result<(), DeviceError> {
        let rope = &self.ropes[self.config.layers[layer].rope.expect("every layer turns its heads")];
        let heads = self.config.num_attention_heads + self.config.num_key_value_heads;
        cuda::rope(&*self.device, rope, &self.positions, qkv, heads, back)
    }

    pub(super) fn blank(&self, len: usize) -> Result<Array<D, f32>, DeviceError> {
        Array::new(&*self.device, len)
    }
}

/// Where every token stands in its sequence.
fn positions(segments: &[Segment]) -> Vec<u32> {
    let of = |segment: &Segment| {
        let seen = segment.seen(segments) as u32;
        seen - segment.tokens as u32..seen
    };
    segments.iter().flat_map(of).collect()
}

pub(super) enum Op<D: Device> {
    Embed {
        weight: usize,
    },
    Norm {
        x: usize,
        weight: usize,
        rstd: Array<D, f32>,
    },
    Copy {
        x: usize,
    },
    Linear {
        x: usize,
        weight: usize,
        bias: Option<usize>,
        residual: Option<usize>,
    },
    Add {
        x: usize,
        residual: usize,
    },
    NormHeads {
        x: usize,
        norms: [usize; 2],
    },
    /// `turned` is what attention read; its own values are what it found.
    Attend {
        qkv: usize,
        layer: usize,
        turned: Array<D, f32>,
        lse: Array<D, f32>,
    },
    Gate {
        x: usize,
    },
    Select {
        x: usize,
    },
}

/// Writes a tape.
pub(super) struct Writer<'a, D: Device> {
    pub(super) pass: &'a Pass<D>,
    pub(super) weights: &'a GpuWeights<D>,
    pub(super) trail: Trail<Op<D>, Values<D>>,
}

impl<D: Device> Writer<'_, D> {
    /// The values of `slot`, which nothing else will be made from.
    pub(super) fn finish(&mut self, slot: Slot) -> Values<D> {
        self.trail.release(slot, false)
    }

    /// The values of a slot that is used up now, to be written over.
    fn own(&mut self, slot: Slot) -> Result<Array<D, f32>, DeviceError> {
        let values = self.trail.release(slot, false);
        Arc::try_unwrap(values).or_else(|kept| kept.copy(&*self.pass.device))
    }
}

impl<D: Device> Executor for Writer<'_, D> {
    type Tensor = Slot;
    type Weight = usize;
    type Error = DeviceError;

    fn embed(&mut self, weight: &usize) -> Result<Slot, DeviceError> {
        let (pass, width) = (self.pass, self.pass.config.hidden_size);
        let mut out = pass.blank(pass.tokens.len() * width)?;
        cuda::gather_rows(&*pass.device, &self.weights.values[*weight], &pass.tokens, &mut out, (0, width))?;
        Ok(self.trail.push(Op::Embed { weight: *weight }, width, out))
    }

    fn norm(&mut self, x: &Slot, weight: &usize) -> Result<Slot, DeviceError> {
        let (pass, values, width) = (self.pass, self.trail.values(x), self.trail.width(x));
        let (mut out, mut rstd) = (pass.blank(values.len())?, pass.blank(values.len() / width)?);
        let w = &self.weights.values[*weight];
        cuda::rms_norm(&*pass.device, &values, w, pass.eps(), &mut out, &mut rstd)?;
        self.trail.need(x);
        Ok(self.trail.push(Op::Norm { x: x.at(), weight: *weight, rstd }, width, out))
    }

    fn copy(&mut self, x: &Slot) -> Result<Slot, DeviceError> {
        let (values, width) = (self.trail.values(x), self.trail.width(x));
        Ok(self.trail.push(Op::Copy { x: x.at() }, width, values))
    }

    fn linear(
        &mut self,
        x: Slot,
        Linear { weight, bias }: &Linear<usize>,
        residual: Option<Slot>,
    ) -> Result<Slot, DeviceError> {
        let (pass, at, k) = (self.pass, x.at(), self.trail.width(&x));
        let (w, values) = (&self.weights.values[*weight], self.trail.release(x, true));
        let (m, n) = (values.len() / k, w.len() / k);
        let onto = residual.as_ref().map(Slot::at);
        let mut out = match residual {
            None => pass.blank(m * n)?,
            Some(residual) => self.own(residual)?,
        };
        cuda::linear(&*pass.device, &values, w, &mut out, (m, k, n), onto.is_some())?;
        if let Some(bias) = bias {
            cuda::add_bias(&*pass.device, &mut out, &self.weights.values[*bias])?;
        }
        Ok(self.trail.push(Op::Linear { x: at, weight: *weight, bias: *bias, residual: onto }, n, out))
    }

    fn add_normed(&mut self, x: Slot, norm: Option<&usize>, residual: Slot) -> Result<Slot, DeviceError> {
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
        let mut out = self.own(residual)?;
        cuda::add(&*self.pass.device, &values, &mut out)?;
        Ok(self.trail.push(Op::Add { x: at, residual: onto }, width, out))
    }

    fn norm_heads(&mut self, qkv: Slot, norms: &[usize; 2]) -> Result<Slot, DeviceError> {
        let (pass, at, width) = (self.pass, qkv.at(), self.trail.width(&qkv));
        let values = self.trail.release(qkv, true);
        let mut out = values.copy(&*pass.device)?;
        for (norm, span) in norms.iter().zip(normed_heads(&pass.config)) {
            cuda::head_norm(&*pass.device, &values, &self.weights.values[*norm], pass.eps(), span, &mut out)?;
        }
        Ok(self.trail.push(Op::NormHeads { x: at, norms: *norms }, width, out))
    }

    fn attend(&mut self, qkv: Slot, layer: usize, _: Option<&usize>) -> Result<Slot, DeviceError> {
        let (pass, at, heads) = (self.pass, qkv.at(), self.pass.heads());
        let mut turned = self.own(qkv)?;
        pass.turn(&mut turned, layer, false)?;
        let (rows, width) = (pass.tokens.len(), heads.heads * heads.head_dim);
        let (mut out, mut lse) = (pass.blank(rows * width)?, pass.blank(rows * heads.heads)?);
        let scale = pass.config.attention.scale;
        cuda::attention(&*pass.device, &pass.segments, heads, scale, &turned, &mut out, &mut lse)?;
        let slot = self.trail.push(Op::Attend { qkv: at, layer, turned, lse }, width, out);
        self.trail.need(&slot);
        Ok(slot)
    }

    fn gate(&mut self, gate_up: Slot) -> Result<Slot, DeviceError> {
        let (pass, at, width) = (self.pass, gate_up.at(), self.trail.width(&gate_up) / 2);
        let values = self.trail.release(gate_up, true);
        let mut out = pass.blank(values.len() / 2)?;
        cuda::gate(&*pass.device, &values, &mut out, width)?;
        Ok(self.trail.push(Op::Gate { x: at }, width, out))
    }

    fn experts(&mut self, _: Slot, _: &Experts<usize>) -> Result<Slot, DeviceError> {
        unreachable!("a decoder with experts is refused")
    }

    fn select(&mut self, x: Slot) -> Result<Slot, DeviceError> {
        let (pass, at, width) = (self.pass, x.at(), self.trail.width(&x));
        let values = self.trail.release(x, false);
        let mut out = pass.blank(pass.selected.len() * width)?;
        cuda::gather_rows(&*pass.device, &values, &pass.selected, &mut out, (0, width))?;
        Ok(self.trail.push(Op::Select { x: at }, width, out))
    }
}
