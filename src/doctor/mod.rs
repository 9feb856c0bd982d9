//! What this machine offers, and what the program uses of it.
//!
//! [`Facts`] are looked up once, and a [`Diagnosis`] is a function of them and of nothing else: what is said of a machine can be tested
//! without having it.
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
#[cfg(test)]
mod tests;

pub(crate) use diagnosis::Diagnosis;
pub(crate) use facts::Facts;
