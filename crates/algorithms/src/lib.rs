//! Credit and loss as plain numbers.
//!
//! Rewards become [advantages](advantage), and advantages become a loss and its slope with respect to every token's log-probability
//! ([objective]). Nothing here has seen a tensor: whoever holds the model hands in log-probabilities and back-propagates
//! `dLoss/dLogProb` itself. An objective is then one file, checked by finite differences, and since the slopes are known before the
//! backward pass begins, no logits need be kept for it.
//!
//! ```
//! use stateset_algorithms::{Answer, Grpo, Sequence, Slopes};
//!
//! let grpo = Grpo::default();
//! let advantages = grpo.advantage.estimate(&[vec![Answer { reward: 1.0, tokens: 2 }, Answer { reward: 0.0, tokens: 1 }]]);
//! let (good, bad) = (advantages[0][0], advantages[0][1]);
//! let members = [
//!     Sequence { new: &[-1.0, -0.5], old: &[-1.0, -0.5], reference: None, mask: &[true; 2], advantages: &[good; 2], weights: None, entropies: None },
//!     Sequence { new: &[-0.7], old: &[-0.7], reference: None, mask: &[true], advantages: &[bad], weights: None, entropies: None },
//! ];
//! let normalizer = grpo.normalizer(members.iter().map(Sequence::sampled));
//! let mut slopes = Slopes::zeros(3);
//! let evaluation = grpo.evaluate(&members, &normalizer, &mut slopes);
//! assert!(slopes.log_probs[0] < 0.0, "the rewarded answer becomes likelier");
//! assert!(slopes.log_probs[2] > 0.0, "the other one less so");
//! assert_eq!(evaluation.tokens, 3);
//! ```

mod actor_critic;
pub mod advantage;
pub mod aggregate;
mod algorithm;
mod control;
mod credit;
mod critic;
pub mod kl;
pub mod objective;
mod off_policy;
mod overlong;
pub mod preference;
mod ratio;
mod recipe;
mod schedule;
pub mod staleness;
mod supervised;
mod trust_region;

pub use actor_critic::{A2c, ActorCritic, Ppo};
pub use advantage::{Advantage, Answer};
pub use aggregate::{Aggregation, Normalizer};
pub use algorithm::{Algorithm, Section, Setting};
pub use control::{Adapted, EntropyControl, KlControl};
pub use credit::{CreditFor, Earned, Rewards};
pub use critic::{Credit, Critic, Network, Played, Turn, Unit};
pub use kl::{KlEstimator, KlIn};
pub use objective::{Evaluation, Sequence, Slopes, Surrogate, ValueEvaluation, Valued};
pub use overlong::Overlong;
pub use preference::{Dpo, Pair, PairLoss, Preference};
pub use recipe::Grpo;
pub use schedule::{Decay, Schedule};
pub use staleness::{ImportanceSampling, Staleness};
pub use supervised::Sft;
pub use trust_region::{Direction, Landing, Trpo};
