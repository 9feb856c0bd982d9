//! How good an episode was.

mod composite;
mod episode;
mod function;
mod reward;

pub use composite::Composite;
pub use episode::EpisodeReward;
pub use function::FnReward;
pub use reward::{Reward, RewardError, Score};
