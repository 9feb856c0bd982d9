//! The configuration as it is now: the one place where whatever may change while a run goes on is read.

use std::sync::{Arc, PoisonError, RwLock};

use stateset_actors::policy::Retries;
use stateset_actors::protocol::{Deadlines, Settings};

use super::blueprint::Blueprint;
use crate::config::{self, Config};

/// A configuration and the topology that it describes.
pub(crate) struct Standing {
    pub(crate) config: Config,
    pub(crate) blueprint: Blueprint,
}

/// What stands now. Whoever reads it has one configuration, whole, whatever is put in its place meanwhile.
#[derive(Clone)]
pub(crate) struct Current(Arc<RwLock<Arc<Standing>>>);

impl Current {
    pub(crate) fn new(config: Config, blueprint: Blueprint) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Standing { config, blueprint }))))
    }

    pub(crate) fn now(&self) -> Arc<Standing> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, standing: Arc<Standing>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// What actors may be told anew at any time.
    pub(crate) fn settings(&self) -> Settings {
        let standing = self.now();
        let config::Supervision { attempts, backoff, deadlines, .. } = &standing.config.supervision;
        let config::Deadlines { generate, environment, judge, load, save, thread, stall: _ } = *deadlines;
        Settings {
            deadlines: Deadlines { generate, environment, judge, load, save, thread },
            retries: Retries { attempts: *attempts, first_delay: backoff.min, max_delay: backoff.max },
            save_every: standing.config.training.save_every,
            eval_every: standing.config.training.eval_every,
        }
    }
}
