//! The walk back.

use stateset_kernels::cuda::{self, Array, Device, DeviceError};

use super::tape::{Node, Op, Pass, Values};
use super::{GpuWeights, normed_heads};

/// The walk back over a tape.
pub(super) struct Walk<'a, D: Device> {
    pub(super) pass: &'a Pass<D>,
    pub(super) weights: &'a GpuWeights<D>,
    pub(super) nodes: &'a [Node<D>],
    /// Where the gradient of each weight is summed.
    pub(super) sums: &'a mut [Array<D, f32>],
}

/// Gradients of the values on the tape, as far as they have come.
type Flow<D> = Vec<Option<Array<D, f32>>>;

impl<D: Device> Walk<'_, D> {
    /// Adds the weights' gradients, given that of the last value.
    pub(super) fn back(&mut self, last: Array<D, f32>) -> Result<(), DeviceError> {
        let mut flow: Flow<D> = self.nodes.iter().map(|_| None).collect();
        if let Some(end) = flow.last_mut() {
            *end = Some(last);
        }
        for (at, node) in self.nodes.iter().enumerate().rev() {
            if let Some(d_out) = flow[at].take() {
                self.step(node, d_out, &mut flow)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, node: &Node<D>, d_out: Array<D, f32>, flow: &mut Flow<D>) -> Result<(), DeviceError> {
        let (pass, device) = (self.pass, &*self.pass.device);
        match &node.op {
            Op::Embed { weight } => {
                cuda::scatter_rows(device, &d_out, &pass.to_vocabulary, &mut self.sums[*weight], node.width)
            }
            Op::Norm { x, weight, rstd } => {
                let (input, w) = (self.needed(*x), &self.weights.values[*weight]);
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
                let (input, mut dx) = (self.needed(*x), d_out.copy(device)?);
                for (norm, span) in norms.iter().zip(normed_heads(&pass.config)) {
                    let (w, sum) = (&self.weights.values[*norm], &mut self.sums[*norm]);
                    cuda::head_norm_backward(device, &d_out, &input, w, pass.eps(), span, &mut dx, sum)?;
                }
                self.join(&mut flow[*x], dx)
            }
            Op::Attend { qkv, layer, turned, lse } => {
                let out = node.values.as_ref().expect("attention keeps what it found");
                let (heads, scale, mut dx) = (pass.heads(), pass.config.attention.scale, pass.blank(turned.len())?);
                cuda::attention_backward(device, &pass.segments, heads, scale, turned, out, &d_out, lse, &mut dx)?;
                pass.turn(&mut dx, *layer, true)?;
                self.join(&mut flow[*qkv], dx)
            }
            Op::Gate { x } => {
                let input = self.needed(*x);
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

    fn needed(&self, at: usize) -> Values<D> {
        self.nodes[at].values.clone().expect("what the walk back needs is kept")
    }

    /// The gradient of what a projection was made from.
    fn product(&mut self, node: &Node<D>, d_out: &Array<D, f32>) -> Result<Array<D, f32>, DeviceError> {
        let Op::Linear { x, weight, bias, .. } = &node.op else { unreachable!("a projection") };
        let (device, k, n) = (&*self.pass.device, self.nodes[*x].width, node.width);
        let shape = (d_out.len() / n, k, n);
        if let Some(bias) = bias {
            cuda::add_columns(device, d_out, &mut self.sums[*bias])?;
        }
        cuda::linear_weight_gradient_add(device, d_out, &self.needed(*x), &mut self.sums[*weight], shape)?;
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
