//! Standing instructions from the configuration, spoken before whatever the environment says first.

use std::sync::Arc;

use stateset_domain::{Message, Role, Scenario, Split, Stream};
use stateset_environments::{Environment, EnvironmentError, Start};

/// An environment whose conversations open with the same system message.
pub(crate) struct Standing {
    inner: Arc<dyn Environment>,
    system: String,
}

impl Standing {
    /// `inner`, with `system` before every opening if there is one.
    pub(crate) fn over(inner: Arc<dyn Environment>, system: Option<String>) -> Arc<dyn Environment> {
        match system {
            Some(system) => Arc::new(Self { inner, system }),
            None => inner,
        }
    }
}

impl Environment for Standing {
    fn scenario(&self, split: Split, index: u64) -> Scenario {
        self.inner.scenario(split, index)
    }

    fn start(&self, scenario: &Scenario, stream: Stream) -> Result<Start, EnvironmentError> {
        let mut start = self.inner.start(scenario, stream)?;
        start.opening.insert(0, Message::new(Role::System, &self.system));
        Ok(start)
    }
}
