//! What this machine offers, and what the program uses of it.
//!
//! [`Facts`] are looked up once, and a [`Diagnosis`] is a function of them and of nothing else: what is said of a machine can be tested
//! without having it.
//!
//! A model is looked at only if one is named: it is loaded, and run for a moment by the sampler and by the trainer.
//!
//! | Verdict | A run |
//! |---|---|
//! | `ok` | has what it wants |
//! | `note` | works; something is worth knowing |
//! | `problem` | fails, now or before long; what to do about it is said |

mod diagnosis;
mod facts;
mod folder;
mod gpu;
mod huge_pages;
mod memory;
mod model;
#[cfg(test)]
mod tests;

pub(crate) use diagnosis::Diagnosis;
pub(crate) use facts::Facts;
