//! The head with selective log-softmax: logits exist a chunk of rows at a time.

use std::ops::Range;

use stateset_kernels::cuda::{self, Array, Device, DeviceError, LogProb};

/// Logits of a chunk at the most: half a gigabyte.
const CHUNK: usize = 1 << 27;
/// Logits that are kept for the walk back at the most; of more, every chunk is computed again.
const KEPT: usize = 1 << 30;

/// What the head is put on, and what it is asked for.
pub(super) struct Head<'a, D: Device> {
    /// `[rows, hidden]`.
    pub(super) states: &'a Array<D, f32>,
    /// `[vocab, hidden]`.
    pub(super) weight: &'a Array<D, f32>,
    pub(super) targets: &'a [u32],
    pub(super) temperature: f32,
}

/// What was found of one chunk.
pub(super) struct Part<D: Device> {
    rows: Range<usize>,
    found: LogProb<D>,
    logits: Option<Array<D, f32>>,
}

impl<D: Device> Head<'_, D> {
    fn hidden(&self) -> usize {
        self.states.len() / self.targets.len().max(1)
    }

    fn vocab(&self) -> usize {
        self.weight.len() / self.hidden().max(1)
    }

    /// Scores every row; with an eye to the walk back if `keep`.
    pub(super) fn forward(&self, device: &D, keep: bool) -> Result<Vec<Part<D>>, DeviceError> {
        let rows = self.targets.len();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let keep = keep && rows * self.vocab() <= KEPT;
        let each = (CHUNK / self.vocab()).max(1);
        let starts = (0..rows).step_by(each);
        let part = |start: usize| {
            let rows = start..(start + each).min(rows);
            let logits = self.logits(device, &self.states_of(device, &rows)?)?;
            let targets = Array::from_slice(device, &self.targets[rows.clone()])?;
            let mut found = LogProb::new(device, rows.len())?;
            cuda::log_prob(device, &logits, &targets, self.temperature, self.vocab(), &mut found)?;
            Ok(Part { rows, found, logits: keep.then_some(logits) })
        };
        starts.map(part).collect()
    }

    /// The gradient of the states; that of the weight is added to `dw`.
    pub(super) fn backward(
        &self,
        device: &D,
        parts: Vec<Part<D>>,
        (d_log_probs, d_entropies): (&[f32], &[f32]),
        dw: &mut Array<D, f32>,
    ) -> Result<Array<D, f32>, DeviceError> {
        let (hidden, vocab) = (self.hidden(), self.vocab());
        let mut d_states = Array::new(device, self.states.len())?;
        for Part { rows, found, logits } in parts {
            let states = self.states_of(device, &rows)?;
            let mut logits = match logits {
                Some(logits) => logits,
                None => self.logits(device, &states)?,
            };
            let part = |values: &[f32]| Array::from_slice(device, &values[rows.clone()]);
            let (d_log_probs, d_entropies) = (part(d_log_probs)?, part(d_entropies)?);
            let targets = Array::from_slice(device, &self.targets[rows.clone()])?;
            let upstream = (&d_log_probs, &d_entropies);
            cuda::log_prob_backward_in_place(device, &mut logits, &targets, self.temperature, &found, upstream)?;
            let shape = (rows.len(), hidden, vocab);
            cuda::linear_weight_gradient_add(device, &logits, &states, dw, shape)?;
            let mut dx = Array::new(device, rows.len() * hidden)?;
            cuda::linear_input_gradient(device, &logits, self.weight, &mut dx, shape)?;
            let all: Vec<u32> = (0..rows.len() as u32).collect();
            cuda::gather_rows(device, &dx, &Array::from_slice(device, &all)?, &mut d_states, (rows.start, hidden))?;
        }
        Ok(d_states)
    }

    fn states_of(&self, device: &D, rows: &Range<usize>) -> Result<Array<D, f32>, DeviceError> {
        let (indices, hidden): (Vec<u32>, _) = (rows.clone().map(|row| row as u32).collect(), self.hidden());
        let mut states = Array::new(device, rows.len() * hidden)?;
        cuda::gather_rows(device, self.states, &Array::from_slice(device, &indices)?, &mut states, (0, hidden))?;
        Ok(states)
    }

    fn logits(&self, device: &D, states: &Array<D, f32>) -> Result<Array<D, f32>, DeviceError> {
        let (hidden, vocab) = (self.hidden(), self.vocab());
        let rows = states.len() / hidden;
        let mut logits = Array::new(device, rows * vocab)?;
        cuda::linear(device, states, self.weight, &mut logits, (rows, hidden, vocab), false)?;
        Ok(logits)
    }
}

/// Log-probabilities and entropies of all rows.
pub(super) fn gathered<D: Device>(device: &D, parts: &[Part<D>]) -> Result<[Vec<f32>; 2], DeviceError> {
    let (mut log_probs, mut entropies) = (Vec::new(), Vec::new());
    for part in parts {
        log_probs.extend(part.found.log_prob.to_vec(device)?);
        entropies.extend(part.found.entropy.to_vec(device)?);
    }
    Ok([log_probs, entropies])
}
