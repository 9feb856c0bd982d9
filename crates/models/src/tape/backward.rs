//! The walk back.

use std::sync::Arc;

use candle_core::Result;
use stateset_kernels::cpu;

use super::{Keep, Node, Op, Tape, Weight};
use crate::buffers::Buffer;
use crate::decoder;
use crate::ops::with_floats;

impl Tape {
    /// Adds the weights' gradients to `sums`, given that of the last value. Returns that of the value the tape begins with, if it does not
    /// begin with tokens.
    pub(crate) fn backward(&self, last: Buffer, sums: &mut [Vec<f32>]) -> Result<Option<Buffer>> {
        let mut flow: Vec<Option<Buffer>> = self.nodes.iter().map(|_| None).collect();
        if let Some(end) = flow.last_mut() {
            *end = Some(last);
        }
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let Some(d_out) = flow[at].take() else { continue };
            match &node.op {
                Op::Input => return Ok(Some(d_out)),
                Op::Embed { weight } => {
                    cpu::scatter_add_rows(&d_out, &self.pass.batch.tokens, &mut sums[weight.index], node.width);
                }
                Op::Norm { x, weight, rstd } => {
                    let input = self.needed(*x);
                    let mut dx = flow[*x].take().unwrap_or_else(|| self.buffers.zeros(input.len()));
                    let sum = &mut sums[weight.index];
                    with_floats(&weight.var, |w| cpu::rms_norm_backward(&d_out, &input, w, rstd, &mut dx, sum))?;
                    flow[*x] = Some(dx);
                }
                Op::Linear { x, weight, residual } => {
                    flow[*x] = Some(self.product(*x, weight, &d_out, sums)?);
                    if let Some(residual) = residual {
                        flow[*residual] = Some(d_out);
                    }
                }
                Op::Attend { qkv, lse } => flow[*qkv] = Some(self.attention(node, *qkv, lse, &d_out)),
                Op::Gate { x } => {
                    let input = self.needed(*x);
                    let mut dx = self.buffers.take(input.len());
                    cpu::gate_backward(&d_out, &input, &mut dx, node.width);
                    flow[*x] = Some(dx);
                }
                Op::Select { x } => {
                    let mut dx = self.buffers.zeros(self.pass.packed.tokens() * node.width);
                    cpu::scatter_add_rows(&d_out, &self.pass.batch.rows, &mut dx, node.width);
                    flow[*x] = Some(dx);
                }
                Op::Block { x, layer, place } => {
                    let (mut inside, input) = self.of_block(self.needed(*x), node.width, Keep::Everything);
                    let out = decoder::block(&mut inside, layer, *place, input)?;
                    inside.finish(out);
                    flow[*x] = inside.backward(d_out, sums)?;
                }
            }
        }
        Ok(None)
    }

    fn needed(&self, at: usize) -> Arc<Buffer> {
        self.nodes[at].values.clone().expect("what the walk back needs is kept")
    }

    /// The values at `at`, made again if they were not kept.
    fn recalled(&self, at: usize) -> Result<Arc<Buffer>> {
        match &self.nodes[at] {
            Node { values: Some(values), .. } => Ok(values.clone()),
            Node { op: Op::Norm { x, weight, rstd }, .. } => {
                let input = self.needed(*x);
                let (mut out, mut again) = (self.buffers.take(input.len()), self.buffers.take(rstd.len()));
                with_floats(&weight.var, |w| cpu::rms_norm(&input, w, self.pass.eps, &mut out, &mut again))?;
                Ok(Arc::new(out))
            }
            Node { op: Op::Gate { x }, width, .. } => {
                let input = self.needed(*x);
                let mut out = self.buffers.take(input.len() / 2);
                cpu::gate(&input, &mut out, *width);
                Ok(Arc::new(out))
            }
            _ => unreachable!("only norms and gates are made again"),
        }
    }

    /// The gradient of what was multiplied with `weight`.
    fn product(&self, x: usize, weight: &Weight, d_out: &[f32], sums: &mut [Vec<f32>]) -> Result<Buffer> {
        let (k, n) = (self.nodes[x].width, weight.var.dim(0)?);
        let shape = (d_out.len() / n, k, n);
        cpu::linear_weight_gradient_add(d_out, &self.recalled(x)?, &mut sums[weight.index], shape);
        let mut dx = self.buffers.take(shape.0 * k);
        with_floats(&weight.var, |w| cpu::linear_input_gradient(d_out, w, &mut dx, shape))?;
        Ok(dx)
    }

    fn attention(&self, node: &Node, qkv: usize, lse: &[f32], d_out: &[f32]) -> Buffer {
        let (input, out) = (self.needed(qkv), node.values.as_ref().expect("attention keeps what it found"));
        let mut dx = self.buffers.take(input.len());
        cpu::attention_backward(&self.pass.packed, &self.pass.rope, &input, out, d_out, lse, &mut dx);
        dx
    }
}
