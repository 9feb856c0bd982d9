//! Supervision trees: restart policies as pure state machines, carried out by thin actors.
//!
//! Whatever fails, fails by ending; its supervisor sees the end, decides by OTP's rules, and starts a fresh incarnation. Callers hold a
//! [`Handle`], which outlives incarnations. [`policy`] decides and can be read without knowing the runtime; the rest carries out.
//!
//! | Guarantee                             | How                                                                                       |
//! |---------------------------------------|-------------------------------------------------------------------------------------------|
//! | No two incarnations of a child        | a restart waits until the old task is gone and its state dropped; a child that cannot be ended is never replaced: the tree gives up |
//! | Nobody is killed for his parent's end | a supervisor takes its children down the [`Budgets`] ladder, last started first, *before* it ends |
//! | An end is named for what it was       | children are wrapped at [`StartContext::spawn`]: a kill is not a stop, a panic not an error |
//! | Every wait is bounded                 | calls, starts and each rung of the ladder have a deadline                                 |
//! | Nobody has to be asked                | the tree as it is ([`View`]) and what reached nobody ([`DeadLetters`]) can be read while everyone is stuck |
//!
//! Start functions run while their supervisor waits: they must be quick. A child that has much to load begins with nothing, and loads
//! in its own thread.
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
//! # use stateset_domain::Stream;
//! use stateset_supervisors::{ChildSpec, Handle, Restart, Strategy, SupervisorHandle, SupervisorSpec, Tree};
//! # use stateset_telemetry::Nowhere;
//!
//! struct Counter;
//!
//! impl Actor for Counter {
//!     type Msg = RpcReplyPort<u64>;
//!     type State = u64;
//!     type Arguments = u64;
//!     # async fn pre_start(&self, _: ActorRef<Self::Msg>, first: u64) -> Result<u64, ActorProcessingErr> { Ok(first) }
//!
//!     async fn handle(&self, _: ActorRef<Self::Msg>, reply: Self::Msg, count: &mut u64) -> Result<(), ActorProcessingErr> {
//!         *count += 1;
//!         assert!(*count != 13, "unlucky");
//!         let _ = reply.send(*count);
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let counter = Handle::new("counter");
//! let spec = ChildSpec::actor(&counter, Restart::Permanent, |_incarnation| (Counter, 11));
//! let root = SupervisorSpec::new(&SupervisorHandle::new("root"), Strategy::OneForOne, vec![spec]);
//! let tree = Tree::start(root, Arc::new(Nowhere), Stream::new(7)).await?;
//!
//! let second = Duration::from_secs(1);
//! assert_eq!(counter.call(|reply| reply, second).await?, 12);
//! assert!(counter.call(|reply| reply, second).await.is_err(), "13 is a panic");
//! counter.wait_up(second).await?;
//! assert_eq!(counter.call(|reply| reply, second).await?, 12);
//! tree.shutdown().await;
//! # Ok(()) }
//! ```

mod child_spec;
mod dead_letters;
mod error;
mod family;
mod handle;
mod handover;
mod incarnation;
mod line;
pub mod policy;
mod shutdown;
mod supervisor;
mod tree;
mod view;

pub use child_spec::{ChildSpec, StartContext};
pub use dead_letters::{DeadCount, DeadLetter, DeadLetters, DeadReason};
pub use error::{GaveUp, RestartError, SpawnError, StartError};
pub use handle::{CallError, Handle, Undelivered};
pub use handover::Handover;
pub use incarnation::Incarnation;
pub use line::State;
pub use policy::{AutoShutdown, Backoff, Excess, GiveUpReason, Intensity, Restart, Strategy};
pub use shutdown::{Budgets, Stopped};
pub use supervisor::{SupervisorHandle, SupervisorSpec};
pub use tree::Tree;
pub use view::{Node, View};
