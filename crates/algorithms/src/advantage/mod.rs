//! Credit: how much better an answer was than could be expected.

mod components;
mod estimator;
mod gae;
mod group;
mod to_go;
mod turns;
mod whiten;

pub use components::measure_apart;
pub use estimator::{Advantage, Answer};
pub use gae::Gae;
pub use to_go::return_to_go;
pub use whiten::whiten;
