//! What happens next in the world: scripted users, tools and executed checks.

mod environment;

pub use environment::{Action, Environment, EnvironmentError, Session, Start, Step};
