//! Measuring: how fast this machine samples and learns, beside how fast it could.
//!
//! A measurement warms up once, repeats what it measures, and then measures a roof of the machine in the same process: the rate of a large
//! square matrix product, or of reading and copying memory. Work is counted by what must be computed ([`flops`]), not by what is, so a share
//! of the roof rises only when time falls.
//!
//! | Measurement | What is timed | Roof |
//! |---|---|---|
//! | [`rollout`](mod@rollout) | the engine, from the first prompt to the last token, prefill included | matrix product |
//! | [`step`](mod@step) | one optimizer step: forward, loss, backward, clip, update | matrix product |
//! | [`grpo`](mod@grpo) | both, with rewards between them and the weights handed over after: a training step without actors | matrix product |
//! | [`log_prob`](mod@log_prob) | log-softmax of the sampled tokens over a large vocabulary | memory |
//! | [`advantage`](mod@advantage) | advantages within groups, and by generalised estimation | memory |
//!
//! Nothing here sees an actor or a clock of theirs.

pub(crate) mod advantage;
mod flops;
pub(crate) mod grpo;
pub(crate) mod log_prob;
mod measure;
mod report;
pub(crate) mod rollout;
mod roof;
mod shape;
pub(crate) mod step;
mod workload;

pub(crate) use measure::{Progress, Repeats};
pub(crate) use report::Report;
pub(crate) use shape::Shape;
pub(crate) use workload::Workload;

/// What was asked for makes no sense; nothing was measured.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);
