//! Credit for answers and for tokens.

use super::arguments::Arguments;
use super::array::Array;
use super::device::{Device, DeviceError, Grid, launch};
use super::source::ADVANTAGE;
use crate::reference::Baseline;

/// The advantage of every answer. Group `g` is `rewards[offsets[g]..offsets[g + 1]]`; one whose rewards are all equal gets 0. Answers in no
/// group are left as they were.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn group_advantages<D: Device>(
    device: &D,
    rewards: &Array<D, f32>,
    offsets: &Array<D, u32>,
    baseline: Baseline,
    advantages: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    assert!(rewards.len() == advantages.len() && !offsets.is_empty(), "group_advantages shapes");
    let groups = offsets.len() - 1;
    let arguments = Arguments::default().array(device, rewards).array(device, offsets).array(device, advantages);
    let arguments = arguments.count(groups).count(baseline as usize).count(rewards.len());
    launch(device, &ADVANTAGE, "group_advantages", Grid::of(groups.div_ceil(4), 128), arguments)
}

/// Generalised advantage estimation (arXiv:1506.02438) over packed sequences; sequence `s` is tokens `offsets[s]..offsets[s + 1]`. Where
/// `mask` is 0 the advantage is 0, and rewards and values are not read: credit is handed on across what others said.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn gae<D: Device>(
    device: &D,
    rewards: &Array<D, f32>,
    values: &Array<D, f32>,
    mask: &Array<D, u8>,
    offsets: &Array<D, u32>,
    (gamma, lambda): (f32, f32),
    advantages: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    let tokens = rewards.len();
    let fits = values.len() == tokens && mask.len() == tokens && advantages.len() == tokens && !offsets.is_empty();
    assert!(fits, "gae shapes");
    let arguments = Arguments::default().array(device, rewards).array(device, values).array(device, mask);
    let arguments = arguments.array(device, offsets).array(device, advantages).float(gamma).float(lambda).count(tokens);
    launch(device, &ADVANTAGE, "gae", Grid::of(offsets.len() - 1, 256), arguments)
}
