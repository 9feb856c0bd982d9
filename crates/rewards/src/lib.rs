//! How good an episode was.

mod reward;

pub use reward::{Reward, RewardError, Score};
