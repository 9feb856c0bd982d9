//! Faults on purpose: what can go wrong, where, when, and how it is done.
//!
//! A runtime that claims to survive anything has to be shown anything. A [`Plan`] lists faults, each with its [`Kind`], its [`Site`] and
//! its moment; it is written by hand or drawn [at random](random), the same seed drawing the same plan. The [`Injector`] knows which of
//! them are due. It is asked on every visit of a site, and says so in the run's events *before* anything happens, so that even a fault
//! that ends the process has its line; what has its line never happens again, not even after the process was started again.
//!
//! How a fault acts belongs to where it acts. The decorators here ([`FaultyEngine`], [`FaultyLearner`], [`FaultyStore`],
//! [`FaultyReward`], [`FaultyEnvironment`]) keep the contract of what they wrap and break it on demand; actors and the queues between
//! them are visited by whoever composes them. Which kind makes sense at which site is a table: [`Kind::sites`].

mod engine;
mod environment;
mod injector;
mod kind;
mod learner;
mod plan;
mod random;
mod reward;
mod site;
mod store;

pub use engine::FaultyEngine;
pub use environment::FaultyEnvironment;
pub use injector::{Injected, Injector, Machine};
pub use kind::Kind;
pub use learner::FaultyLearner;
pub use plan::{Fault, Plan};
pub use random::{Rhythm, Setting, random};
pub use reward::FaultyReward;
pub use site::Site;
pub use store::{FaultyStore, Tear};
