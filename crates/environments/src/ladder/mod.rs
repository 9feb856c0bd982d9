//! The episode ladder: support conversations without end, every reply checkable, at difficulties that a [`DomainSpec`] names.
//!
//! A user gives an account reference once, brings issues one by one, refuses some remedies, and at last asks for a summary. A reply
//! is right if it names the reference and carries the proof of the right remedy and of no other. Some issues have to be looked up
//! first; their right remedy depends on what is found.
//!
//! ```
//! # use std::sync::Arc;
//! # use stateset_domain::Split;
//! # use stateset_environments::{DomainSpec, Environment, Ladder};
//! let spec = DomainSpec::from_yaml(include_str!("../../../../config/domains/support_desk.yaml"))?;
//! let ladder = Ladder::new(Arc::new(spec), "standard", 7)?;
//! let scenario = ladder.scenario(Split::Train, 17);
//! assert_eq!(scenario.id, "support_desk/standard/train/17");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod account;
mod demonstration;
mod plan;
mod spec;
mod validate;
mod wording;

use std::sync::Arc;

use stateset_domain::{Message, Scenario, Split, Stream};

use self::demonstration::Demonstrator;
use self::plan::Plan;
pub use self::spec::{
    AccountFormat, DomainSpec, Habit, Issue, Lookup, Mistakes, Problem, Remedy, Rung, SpecError, Tool, Wordings,
};
use crate::{Environment, EnvironmentError, Episode, Start, Tools};

/// The held-out scenarios are the same for every seed, so that runs can be compared.
const HELD_OUT_SEED: u64 = 0x6865_6c64_5f6f_7574;

/// One rung of a domain, as an environment.
#[derive(Debug, Clone)]
pub struct Ladder {
    spec: Arc<DomainSpec>,
    rung_name: String,
    rung: Rung,
    train: Stream,
    held_out: Stream,
    tools: Tools,
}

impl Ladder {
    /// The rung of `spec` called `rung`. The training scenarios depend on `seed`; the held-out ones do not.
    ///
    /// # Errors
    /// [`SpecError::Invalid`] or [`SpecError::UnknownRung`].
    pub fn new(spec: Arc<DomainSpec>, rung: &str, seed: u64) -> Result<Self, SpecError> {
        spec.validate()?;
        let Some(found) = spec.rungs.get(rung).cloned() else {
            return Err(SpecError::UnknownRung { name: rung.into(), known: spec.rungs.keys().cloned().collect() });
        };
        let tools = spec.tools.iter().map(|(name, tool)| (name.clone(), tool.unknown.clone())).collect();
        Ok(Self {
            rung_name: rung.into(),
            rung: found,
            train: Stream::new(seed),
            held_out: Stream::new(HELD_OUT_SEED),
            tools: Arc::new(tools),
            spec,
        })
    }

    /// The domain it is a rung of.
    #[must_use]
    pub fn spec(&self) -> &DomainSpec {
        &self.spec
    }

    /// The conversation of `scenario` with every reply right.
    ///
    /// # Errors
    /// If the scenario is not of this domain.
    pub fn ideal(&self, scenario: &Scenario) -> Result<Vec<Message>, EnvironmentError> {
        Demonstrator { spec: &self.spec, slips: None }.converse(scenario)
    }

    /// The conversation of `scenario` with mistakes at the domain's rates, drawn from `stream`.
    ///
    /// # Errors
    /// If the scenario is not of this domain.
    pub fn demonstration(&self, scenario: &Scenario, stream: &mut Stream) -> Result<Vec<Message>, EnvironmentError> {
        Demonstrator { spec: &self.spec, slips: Some(stream) }.converse(scenario)
    }

    fn id_prefix(&self) -> String {
        format!("{}/{}/", self.spec.name, self.rung_name)
    }
}

impl Environment for Ladder {
    fn scenario(&self, split: Split, index: u64) -> Scenario {
        let (half, kit) = match split {
            Split::Train => ("train", self.train),
            Split::HeldOut => ("held_out", self.held_out),
        };
        let mut stream = kit.fork(index);
        let plan = Plan::draw(&self.spec, &self.rung, split, &mut stream);
        Scenario {
            id: format!("{}{half}/{index}", self.id_prefix()),
            split,
            system: self.spec.system.clone(),
            script: plan.script(&self.spec, &mut stream),
            details: plan.details(),
        }
    }

    fn start(&self, scenario: &Scenario, _stream: Stream) -> Result<Start, EnvironmentError> {
        if !scenario.id.starts_with(&self.id_prefix()) {
            return Err(EnvironmentError(format!("scenario {} is not one of {}", scenario.id, self.id_prefix())));
        }
        Episode::start(scenario, self.tools.clone())
    }
}

#[cfg(test)]
mod tests;
