//! How good an episode was.

mod composite;
mod episode;
mod function;
mod reward;
mod rubric;

pub use composite::Composite;
pub use episode::EpisodeReward;
pub use function::FnReward;
pub use reward::{Reward, RewardError, Score};
pub use rubric::{Criterion, Judgement, JudgementCache, JudgementError, Rubric, question_digest};
