//! How to call what may fail, without a clock, a task or a socket.
//!
//! | Part               | Answers                                                                     |
//! |--------------------|-----------------------------------------------------------------------------|
//! | [`CircuitBreaker`] | is the dependency worth calling now?                                        |
//! | [`Retry`]          | is this call worth another attempt, and after which wait?                   |
//! | [`RetryBudget`]    | can the dependency bear retries at all, on top of the calls it is asked for? |
//! | [`CallFailure`]    | what kind of failure was it: will it pass, is it ours, or is it nonsense?    |
//!
//! A retry helps one call and harms a dependency that is overloaded; a breaker helps the dependency, and everyone who would wait for
//! it. Neither replaces the other, and a budget keeps the first from becoming the cause of the second.
//!
//! Time is an argument (a `Duration` since any fixed moment), and so is randomness: whoever holds a clock carries the decisions out.

mod breaker;
mod budget;
mod failure;
mod retry;
mod window;

pub use breaker::{Admission, BreakerSettings, Call, CircuitBreaker, Reason, Refused, Transition};
pub use budget::RetryBudget;
pub use failure::CallFailure;
pub use retry::Retry;
pub use window::{Tally, Window};
