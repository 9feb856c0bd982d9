//! What a policy acts in.

use std::sync::Arc;

use anyhow::{Context, Result};
use stateset_environments::{DomainSpec, Environment, Ladder};

use crate::config::Config;
use crate::standing::Standing;

/// An environment, and the domain it was made from, if it was.
pub(super) struct World {
    pub(super) environment: Arc<dyn Environment>,
    pub(super) domain: Option<Domain>,
}

/// A domain's file, as it is now.
pub(super) struct Domain {
    pub(super) text: String,
    pub(super) ladder: Ladder,
}

impl World {
    /// `environment`, or else that of the domain which `config` names; both with its standing instructions.
    pub(super) fn of(environment: Option<Arc<dyn Environment>>, config: &Config) -> Result<Self> {
        let (environment, domain) = match environment {
            Some(environment) => (environment, None),
            None => {
                let domain = Domain::read(config)?;
                (Arc::new(domain.ladder.clone()) as Arc<dyn Environment>, Some(domain))
            }
        };
        Ok(Self { environment: Standing::over(environment, config.agent.system.clone()), domain })
    }
}

impl Domain {
    fn read(config: &Config) -> Result<Self> {
        let path = &config.environment.domain;
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the domain {}", path.display()))?;
        let spec = DomainSpec::from_yaml(&text).with_context(|| format!("cannot use the domain {}", path.display()))?;
        let ladder = Ladder::new(Arc::new(spec), &config.environment.rung, config.run.seed)?;
        Ok(Self { text, ladder })
    }
}
