//! One forward pass that can be walked back.
//!
//! Every operation leaves its output and a [`Step`] that tells how it was made. Walking the steps backwards gives each value's gradient
//! once, written in place: a residual's gradient is the very buffer of its sum's, to which the norm beside it adds, and weight gradients
//! are added to by the products that find them. Buffers circulate through a [`Pool`], so a step touches no fresh memory.

use std::collections::BTreeMap;
use std::convert::Infallible;

use stateset_kernels::cpu::{self, Packed, Rope};

use crate::{Executor, Gradients};

/// Which value of the tape.
type Index = usize;

/// How a value was made, and what its backward pass needs besides other values.
enum Step {
    Embed { weight: usize },
    Norm { x: Index, weight: usize, rstd: Vec<f32> },
    Linear { x: Index, weight: usize },
    LinearAdd { x: Index, weight: usize, residual: Index },
    Attend { qkv: Index, log_sum: Vec<f32> },
    Gate { x: Index },
    Select { x: Index },
}

/// Rows of one width.
struct Value {
    width: usize,
    data: Vec<f32>,
}

/// Buffers to use again, by width of their rows: batches differ little in their number of tokens.
#[derive(Default)]
pub(crate) struct Pool(BTreeMap<usize, Vec<Vec<f32>>>);

impl Pool {
    /// Rows whose contents are whatever they were.
    fn take(&mut self, rows: usize, width: usize) -> Value {
        let mut data = self.0.get_mut(&width).and_then(Vec::pop).unwrap_or_default();
        data.resize(rows * width, 0.0);
        Value { width, data }
    }

    fn zeros(&mut self, like: &Value) -> Value {
        let mut value = self.take(like.data.len() / like.width, like.width);
        value.data.fill(0.0);
        value
    }

    fn give(&mut self, value: Value) {
        self.0.entry(value.width).or_default().push(value.data);
    }
}

/// What a pass runs on.
pub(crate) struct Input {
    pub(crate) tokens: Vec<u32>,
    pub(crate) rows: Vec<u32>,
    pub(crate) packed: Packed,
    pub(crate) hidden: usize,
    pub(crate) eps: f32,
}

/// The values of one forward pass, in the order they were made.
pub(crate) struct Tape {
    input: Input,
    values: Vec<Value>,
    steps: Vec<Step>,
}

impl Tape {
    pub(crate) fn new(input: Input) -> Self {
        Self { input, values: Vec::new(), steps: Vec::new() }
    }

    /// The value made last.
    pub(crate) fn last(&self) -> &[f32] {
        self.values.last().map_or(&[], |value| &value.data)
    }

    fn rows(&self, x: Index) -> usize {
        self.values[x].data.len() / self.values[x].width
    }

    /// Adds to `gradients` what `seed`, the gradient of the last value, says of every weight. `seed` is given the gradient to write.
    pub(crate) fn backward(
        mut self,
        (weights, rope, pool): (&[&[f32]], &Rope, &mut Pool),
        seed: impl FnOnce(&[f32], &mut [f32]),
        gradients: &mut Gradients,
    ) {
        let Some(last) = self.values.last() else { return };
        let mut d_last = pool.take(last.data.len() / last.width, last.width);
        seed(&last.data, &mut d_last.data);
        let mut slopes: Vec<Option<Value>> = self.values.iter().map(|_| None).collect();
        slopes[self.values.len() - 1] = Some(d_last);
        while let (Some(step), Some(y), Some(dy)) = (self.steps.pop(), self.values.pop(), slopes.pop()) {
            let mut back = Back { tape: &self, weights, rope, pool, slopes: &mut slopes, gradients };
            let done = dy.and_then(|dy| back.step(step, &y, dy));
            done.into_iter().chain([y]).for_each(|value| pool.give(value));
        }
    }
}

/// The state of a walk back, at one step.
struct Back<'a> {
    tape: &'a Tape,
    weights: &'a [&'a [f32]],
    rope: &'a Rope,
    pool: &'a mut Pool,
    slopes: &'a mut [Option<Value>],
    gradients: &'a mut Gradients,
}

impl Back<'_> {
    /// Passes `dy`, the gradient of `y`, on to what `y` was made of. Gives the buffer back unless it has become another's gradient.
    fn step(&mut self, step: Step, y: &Value, dy: Value) -> Option<Value> {
        let Self { tape: Tape { input, values, .. }, pool, slopes, .. } = self;
        match step {
            Step::Embed { weight } => {
                let d_weight = &mut self.gradients.values[weight];
                for (token, dy) in input.tokens.iter().zip(dy.data.chunks_exact(dy.width)) {
                    let row = &mut d_weight[*token as usize * dy.len()..][..dy.len()];
                    row.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                }
            }
            Step::Norm { x, weight, rstd } => {
                let mut dx = slopes[x].take().unwrap_or_else(|| pool.zeros(&values[x]));
                let d_weight = &mut self.gradients.values[weight];
                let x_values = &values[x].data;
                cpu::rms_norm_backward(&dy.data, x_values, self.weights[weight], &rstd, &mut dx.data, d_weight);
                slopes[x] = Some(dx);
            }
            Step::Linear { x, weight } => self.linear(x, weight, &dy),
            Step::LinearAdd { x, weight, residual } => {
                self.linear(x, weight, &dy);
                self.slopes[residual] = Some(dy);
                return None;
            }
            Step::Attend { qkv, log_sum } => {
                let x = &values[qkv];
                let mut dx = pool.take(input.tokens.len(), x.width);
                let (packed, dx_values) = (&input.packed, &mut dx.data);
                cpu::attention_backward(packed, self.rope, &x.data, &y.data, &dy.data, &log_sum, dx_values);
                slopes[qkv] = Some(dx);
            }
            Step::Gate { x } => {
                let mut dx = pool.take(input.tokens.len(), values[x].width);
                cpu::gate_backward(&dy.data, &values[x].data, &mut dx.data, dy.width);
                slopes[x] = Some(dx);
            }
            Step::Select { x } => {
                let mut dx = pool.zeros(&values[x]);
                for (row, dy) in input.rows.iter().zip(dy.data.chunks_exact(dy.width)) {
                    dx.data[*row as usize * dy.len()..][..dy.len()].copy_from_slice(dy);
                }
                slopes[x] = Some(dx);
            }
        }
        Some(dy)
    }

    fn linear(&mut self, x: Index, weight: usize, dy: &Value) {
        let x_value = &self.tape.values[x];
        let (rows, k, n) = (self.tape.rows(x), x_value.width, dy.width);
        let mut dx = self.pool.take(rows, k);
        cpu::linear_input_gradient(&dy.data, self.weights[weight], &mut dx.data, (rows, k, n));
        cpu::linear_weight_gradient(&dy.data, &x_value.data, &mut self.gradients.values[weight], (rows, k, n));
        self.slopes[x] = Some(dx);
    }
}

/// Writes a tape. Weights are known by their place in the decoder's order.
pub(crate) struct Recorder<'a> {
    pub(crate) tape: &'a mut Tape,
    pub(crate) weights: &'a [&'a [f32]],
    pub(crate) rope: &'a Rope,
    pub(crate) pool: &'a mut Pool,
}

impl Recorder<'_> {
    fn push(&mut self, step: Step, value: Value) -> Result<Index, Infallible> {
        self.tape.steps.push(step);
        self.tape.values.push(value);
        Ok(self.tape.values.len() - 1)
    }

    /// Rows, inputs and outputs of the product of `x` with `weight`.
    fn shape(&self, x: Index, weight: usize) -> (usize, usize, usize) {
        let k = self.tape.values[x].width;
        (self.tape.rows(x), k, self.weights[weight].len() / k)
    }
}

impl Executor for Recorder<'_> {
    type Tensor = Index;
    type Weight = usize;
    type Error = Infallible;

    fn embed(&mut self, &weight: &usize) -> Result<Index, Infallible> {
        let (Input { tokens, hidden, .. }, table) = (&self.tape.input, self.weights[weight]);
        let mut y = self.pool.take(tokens.len(), *hidden);
        for (row, token) in y.data.chunks_exact_mut(*hidden).zip(tokens) {
            row.copy_from_slice(&table[*token as usize * hidden..][..*hidden]);
        }
        self.push(Step::Embed { weight }, y)
    }

    fn norm(&mut self, &x: &Index, &weight: &usize) -> Result<Index, Infallible> {
        let from = &self.tape.values[x];
        let (rows, width) = (self.tape.rows(x), from.width);
        let (mut y, mut rstd) = (self.pool.take(rows, width), vec![0.0; rows]);
        cpu::rms_norm(&from.data, self.weights[weight], self.tape.input.eps, &mut y.data, &mut rstd);
        self.push(Step::Norm { x, weight, rstd }, y)
    }

    fn linear(&mut self, x: Index, &weight: &usize) -> Result<Index, Infallible> {
        let shape = self.shape(x, weight);
        let mut y = self.pool.take(shape.0, shape.2);
        cpu::linear(&self.tape.values[x].data, self.weights[weight], &mut y.data, shape);
        self.push(Step::Linear { x, weight }, y)
    }

    fn linear_add(&mut self, x: Index, &weight: &usize, residual: Index) -> Result<Index, Infallible> {
        let shape = self.shape(x, weight);
        let mut y = self.pool.take(shape.0, shape.2);
        y.data.copy_from_slice(&self.tape.values[residual].data);
        cpu::linear_add(&self.tape.values[x].data, self.weights[weight], &mut y.data, shape);
        self.push(Step::LinearAdd { x, weight, residual }, y)
    }

    fn attend(&mut self, qkv: Index, _layer: usize) -> Result<Index, Infallible> {
        let packed = &self.tape.input.packed;
        let rows = packed.tokens();
        let (mut y, mut log_sum) =
            (self.pool.take(rows, packed.heads * packed.head_dim), vec![0.0; rows * packed.heads]);
        cpu::attention(packed, self.rope, &self.tape.values[qkv].data, &mut y.data, &mut log_sum);
        self.push(Step::Attend { qkv, log_sum }, y)
    }

    fn gate(&mut self, x: Index) -> Result<Index, Infallible> {
        let width = self.tape.values[x].width / 2;
        let mut y = self.pool.take(self.tape.rows(x), width);
        cpu::gate(&self.tape.values[x].data, &mut y.data, width);
        self.push(Step::Gate { x }, y)
    }

    fn select(&mut self, x: Index) -> Result<Index, Infallible> {
        let (rows, from) = (&self.tape.input.rows, &self.tape.values[x]);
        let mut y = self.pool.take(rows.len(), from.width);
        for (to, row) in y.data.chunks_exact_mut(from.width).zip(rows) {
            to.copy_from_slice(&from.data[*row as usize * from.width..][..from.width]);
        }
        self.push(Step::Select { x }, y)
    }
}
