//! The walk back.

use stateset_kernels::cuda::{self, Array, Device, DeviceError};

use super::tape::{Op, Pass, Values};
use super::{GpuWeights, normed_heads};
use crate::trail::{Flow, Node, Trail};

/// The walk back over a tape.
pub(super) struct Walk<'a, D: Device> {
    pub(super) pass: &'a Pass<D>,
    pub(super) weights: &'a GpuWeights<D>,
    pub(super) trail: Trail<Op<D>, Values<D>>,
    /// Where the gradient of each weight is summed.
    pub(super) sums: &'a mut [Array<D, f32>],
}

impl<D: Device> Walk<'_, D> {
    /// Goes all the way, given the gradient of the last value.
    pub(super) fn back(mut self, last: Array<D, f32>) -> Result<(), DeviceError> {
        let mut flow = self.trail.back(last);
        while let Some((node, d_out)) = self.trail.step_back(&mut flow) {
            self.step(&node, d_out, &mut flow)?;
        }
        Ok(())
    }

    /// Adds what the gradient of the value of `node` comes to, to those of its weights and of what it was made from.
    fn step(
        &mut self,
        node: &Node<Op<D>, Values<D>>,
        d_out: Array<D, f32>,
        flow: &mut Flow<Array<D, f32>>,
    ) -> Result<(), DeviceError> {
        let (pass, device) = (self.pass, &*self.pass.device);
        match &node.op {
            Op::Embed { weight } => {
                cuda::scatter_rows(device, &d_out, &pass.to_vocabulary, &mut self.sums[*weight], node.width)
            }
            Op::Norm { x, weight, rstd } => {
                let (input, w) = (self.trail.take(*x), &self.weights.values[*weight]);
                let mut dx = pass.blank(input.len())?;
                cuda::rms_norm_backward(device, &d_out, &input, w, rstd, &mut dx, &mut self.sums[*weight])?;
                self.join(&mut flow[*x], dx)
            }
            Op::Copy { x } => self.join(&mut flow[*x], d_out),
            Op::Linear { x, residual, .. } => {
                let dx = self.product(node, &d_out)?;
                self.join(&mut flow[*x], dx)?;
                residual.map_or(Ok(()), |residual| self.join(&mut flow[residual], d_out))
            }
            Op::Add { x, residual } => {
                self.join(&mut flow[*x], d_out.copy(device)?)?;
                self.join(&mut flow[*residual], d_out)
            }
            Op::NormHeads { x, norms } => {
                let (input, mut dx) = (self.trail.node(*x).needed(), d_out.copy(device)?);
                for (norm, span) in norms.iter().zip(normed_heads(&pass.config)) {
                    let (w, sum) = (&self.weights.values[*norm], &mut self.sums[*norm]);
                    cuda::head_norm_backward(device, &d_out, input, w, pass.eps(), span, &mut dx, sum)?;
                }
                self.join(&mut flow[*x], dx)
            }
            Op::Attend { qkv, layer, turned, lse } => {
                let out = node.needed();
                let (heads, scale, mut dx) = (pass.heads(), pass.config.attention.scale, pass.blank(turned.len())?);
                cuda::attention_backward(device, &pass.segments, heads, scale, turned, out, &d_out, lse, &mut dx)?;
                pass.turn(&mut dx, *layer, true)?;
                self.join(&mut flow[*qkv], dx)
            }
            Op::Gate { x } => {
                let input = self.trail.take(*x);
                let mut dx = pass.blank(input.len())?;
                cuda::gate_backward(device, &d_out, &input, &mut dx, node.width)?;
                self.join(&mut flow[*x], dx)
            }
            Op::Select { x } => {
                let mut dx = match flow[*x].take() {
                    Some(dx) => dx,
                    None => Array::zeros(device, pass.tokens.len() * node.width)?,
                };
                cuda::scatter_rows(device, &d_out, &pass.to_tokens, &mut dx, node.width)?;
                flow[*x] = Some(dx);
                Ok(())
            }
        }
    }

    /// The gradient of what a projection was made from.
    fn product(&mut self, node: &Node<Op<D>, Values<D>>, d_out: &Array<D, f32>) -> Result<Array<D, f32>, DeviceError> {
        let Op::Linear { x, weight, bias, .. } = &node.op else { unreachable!("a projection") };
        let (device, k, n) = (&*self.pass.device, self.trail.node(*x).width, node.width);
        let shape = (d_out.len() / n, k, n);
        if let Some(bias) = bias {
            cuda::add_columns(device, d_out, &mut self.sums[*bias])?;
        }
        cuda::linear_weight_gradient_add(device, d_out, self.trail.node(*x).needed(), &mut self.sums[*weight], shape)?;
        let mut dx = self.pass.blank(shape.0 * k)?;
        cuda::linear_input_gradient(device, d_out, &self.weights.values[*weight], &mut dx, shape)?;
        Ok(dx)
    }

    /// Adds `gradient` to what flows there already.
    fn join(&self, flow: &mut Option<Array<D, f32>>, gradient: Array<D, f32>) -> Result<(), DeviceError> {
        match flow {
            None => *flow = Some(gradient),
            Some(held) => cuda::add(&*self.pass.device, &gradient, held)?,
        }
        Ok(())
    }
}
