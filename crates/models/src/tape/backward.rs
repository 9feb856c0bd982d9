//! The walk back.

use std::sync::Arc;

use candle_core::Result;
use stateset_kernels::cpu;

use super::{Keep, Op, Tape, Weight};
use crate::buffers::Buffer;
use crate::executor::block;
use crate::trail::Node;

impl Tape {
    /// Adds the weights' gradients to `sums`, given that of the last value. Returns that of the value the tape begins with, if it does not
    /// begin with tokens.
    pub(crate) fn backward(mut self, last: Buffer, sums: &mut [Vec<f32>]) -> Result<Option<Buffer>> {
        let mut flow = self.trail.back(last);
        while let Some((node, mut d_out)) = self.trail.step_back(&mut flow) {
            match &node.op {
                Op::Input => return Ok(Some(d_out)),
                Op::Embed { weight } => {
                    if let Some(sum) = weight.sum {
                        self.pass.scale_embeddings(&mut d_out);
                        cpu::scatter_add_rows(&d_out, &self.pass.batch.tokens, &mut sums[sum], node.width);
                    }
                }
                Op::Norm { x, weight, rstd } => {
                    let input = self.trail.take(*x);
                    let dx = flow[*x].get_or_insert_with(|| self.pass.buffers.zeros(input.len()));
                    let mut unasked = Vec::new();
                    let sum = weight.sum_in(sums, &mut unasked);
                    self.pass.read(weight, |w| cpu::rms_norm_backward(&d_out, &input, w, rstd, dx, sum))?;
                }
                Op::Copy { x } => join(&mut flow[*x], d_out),
                Op::Linear { x, residual, .. } => {
                    let dx = self.product(&node, &d_out, sums)?;
                    join(&mut flow[*x], dx);
                    if let Some(residual) = residual {
                        join(&mut flow[*residual], d_out);
                    }
                }
                Op::Add { x, residual } => {
                    join(&mut flow[*x], self.pass.buffers.copy(&d_out));
                    join(&mut flow[*residual], d_out);
                }
                Op::NormHeads { x, norms } => {
                    let dx = self.heads(*x, node.width, norms, &d_out, sums)?;
                    join(&mut flow[*x], dx);
                }
                Op::Attend { qkv, .. } => {
                    let dx = self.attention(&node, &d_out, sums)?;
                    join(&mut flow[*qkv], dx);
                }
                Op::Gate { x } => {
                    let gate_up = self.trail.take(*x);
                    let mut dx = self.pass.alone(gate_up);
                    cpu::gate_backward(self.pass.config.gating, &d_out, &mut dx, node.width);
                    join(&mut flow[*x], dx);
                }
                Op::Experts { x, experts, mixed } => {
                    let dx = self.mix_backward(&self.recalled(*x)?, experts, mixed, &d_out, sums)?;
                    join(&mut flow[*x], dx);
                }
                Op::Select { x } => {
                    let mut dx = self.pass.buffers.zeros(self.pass.packed.tokens() * node.width);
                    cpu::scatter_add_rows(&d_out, &self.pass.batch.rows, &mut dx, node.width);
                    join(&mut flow[*x], dx);
                }
                Op::Block { x, layer, place } => {
                    let input = self.trail.take(*x);
                    let (mut inside, input) = self.of_block(input, node.width, Keep::Everything);
                    let out = block(&mut inside, layer, *place, input)?;
                    inside.finish(out);
                    flow[*x] = inside.backward(d_out, sums)?;
                }
            }
        }
        Ok(None)
    }

    fn needed(&self, at: usize) -> &Arc<Buffer> {
        self.trail.node(at).needed()
    }

    /// The values at `at`, made again if they were not kept.
    fn recalled(&self, at: usize) -> Result<Arc<Buffer>> {
        let node = self.trail.node(at);
        if let Some(values) = node.kept() {
            return Ok(values.clone());
        }
        let buffers = &self.pass.buffers;
        Ok(Arc::new(match &node.op {
            Op::Norm { x, weight, rstd } => {
                let input = self.needed(*x);
                let (mut out, mut again) = (buffers.take(input.len()), buffers.take(rstd.len()));
                self.pass.read(weight, |w| cpu::rms_norm(input, w, self.pass.eps(), &mut out, &mut again))?;
                out
            }
            Op::Gate { x } => {
                let input = self.needed(*x);
                let mut out = buffers.take(input.len() / 2);
                cpu::gate(self.pass.config.gating, input, &mut out, node.width);
                out
            }
            _ => unreachable!("only norms and gates are made again"),
        }))
    }

    /// The gradient of what a projection was made from.
    fn product(&self, node: &Node<Op, Arc<Buffer>>, d_out: &[f32], sums: &mut [Vec<f32>]) -> Result<Buffer> {
        let Op::Linear { x, weight, bias, low, .. } = &node.op else { unreachable!("a projection") };
        let (k, n) = (self.trail.node(*x).width, node.width);
        let shape = (d_out.len() / n, k, n);
        if let Some(sum) = bias.as_ref().and_then(|bias| bias.sum) {
            cpu::bias_backward(d_out, &mut sums[sum]);
        }
        if let Some(sum) = weight.sum {
            cpu::linear_weight_gradient_add(d_out, &self.recalled(*x)?, &mut sums[sum], shape);
        }
        let mut dx = self.pass.buffers.take(shape.0 * k);
        self.pass.read(weight, |w| cpu::linear_input_gradient(d_out, w, &mut dx, shape))?;
        for (adapter, low) in weight.adapters.iter().zip(&**low) {
            let (input, mut through) = (self.recalled(*x)?, self.pass.buffers.take(low.len()));
            let thinned = adapter.thinned(&input, &self.pass.buffers);
            let (Some(a), Some(b)) = (adapter.a.sum, adapter.b.sum) else { continue };
            let [da, db] = sums.get_disjoint_mut([a, b]).expect("two factors have two sums");
            // What was left out on the way is left out on the way back.
            let mut apart = thinned.as_ref().map(|it| self.pass.buffers.zeros(it.len()));
            let (input, to) = (thinned.as_deref().unwrap_or(&input), apart.as_deref_mut().unwrap_or(&mut dx));
            adapter.with(&self.pass, k, n, |it| {
                cpu::low_rank_backward((d_out, input, low), it, &mut through, to, (da, db))
            })?;
            if let Some(through) = apart.and_then(|apart| adapter.thinned(&apart, &self.pass.buffers)) {
                dx.iter_mut().zip(&*through).for_each(|(dx, through)| *dx += through);
            }
        }
        Ok(dx)
    }

    fn heads(
        &self,
        x: usize,
        width: usize,
        norms: &[Weight; 2],
        d_out: &[f32],
        sums: &mut [Vec<f32>],
    ) -> Result<Buffer> {
        let input = self.needed(x);
        let mut dx = self.pass.buffers.take(input.len());
        let mut found = norms.iter().map(|norm| vec![0.0; norm.values.len()]).collect::<Vec<_>>();
        let mut slices: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
        let eps = self.pass.eps();
        self.pass.with_spans(norms, |spans| {
            cpu::norm_columns_backward(d_out, input, width, spans, eps, &mut dx, &mut slices);
        })?;
        for (norm, found) in norms.iter().zip(found) {
            norm.add_to(sums, &found);
        }
        Ok(dx)
    }

    fn attention(&self, node: &Node<Op, Arc<Buffer>>, d_out: &[f32], sums: &mut [Vec<f32>]) -> Result<Buffer> {
        let Op::Attend { qkv, layer, sinks, lse } = &node.op else { unreachable!("attention") };
        let (input, out) = (self.needed(*qkv), node.needed());
        let (mut dx, pass) = (self.pass.buffers.take(input.len()), &self.pass);
        pass.with_scoring(*layer, sinks.as_ref(), |scoring| {
            cpu::attention_backward(&pass.packed, pass.rope(*layer), scoring, input, out, d_out, lse, &mut dx);
        })?;
        if let Some((sinks, sum)) = sinks.as_ref().and_then(|sinks| Some((sinks, sinks.sum?))) {
            pass.read(sinks, |values| {
                cpu::sinks_backward(&pass.packed, values, out, d_out, lse, &mut sums[sum]);
            })?;
        }
        Ok(dx)
    }
}

impl Weight {
    /// Its sum, or somewhere for what nobody asks for.
    fn sum_in<'a>(&self, sums: &'a mut [Vec<f32>], unasked: &'a mut Vec<f32>) -> &'a mut [f32] {
        match self.sum {
            Some(sum) => &mut sums[sum],
            None => {
                unasked.resize(self.values.len(), 0.0);
                unasked
            }
        }
    }

    /// Adds `found` to its sum, if it has one.
    pub(super) fn add_to(&self, sums: &mut [Vec<f32>], found: &[f32]) {
        if let Some(sum) = self.sum {
            sums[sum].iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
        }
    }
}

/// Adds `gradient` to what flows there already.
pub(crate) fn join(flow: &mut Option<Buffer>, gradient: Buffer) {
    match flow {
        None => *flow = Some(gradient),
        Some(held) => held.iter_mut().zip(&*gradient).for_each(|(held, gradient)| *held += gradient),
    }
}
