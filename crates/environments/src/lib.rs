//! What happens next in the world: scripted users, tools and executed checks.
//!
//! | Environment            | Its scenarios                                                       |
//! |------------------------|---------------------------------------------------------------------|
//! | [`Ladder`]             | drawn without end from a [`DomainSpec`], at a difficulty it names   |
//! | [`ScriptedEnvironment`]| a fixed list                                                        |
//!
//! Both play their scripts through the same [`Episode`], so a reply is judged by the same rules in either.

mod environment;
mod episode;
mod ladder;
mod scripted;

pub use environment::{Action, Environment, EnvironmentError, Session, Start, Step};
pub use episode::{Episode, MAX_CALLS, Tools};
pub use ladder::{
    AccountFormat, DomainSpec, Habit, Issue, Ladder, Lookup, Mistakes, Problem, Remedy, Rung, SpecError, Tool, Wordings,
};
pub use scripted::ScriptedEnvironment;
