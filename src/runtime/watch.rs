//! What the watchdog can do: restart an actor, and at last end the process.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stateset_actors::Restarter;
use stateset_actors::protocol::Site;
use stateset_supervisors::View;

use crate::topology::Blueprint;

/// How long a supervisor may take to bring down whoever is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A view of the tree, for those who are part of it: there is none before the tree has started.
#[derive(Clone)]
pub(super) struct LateView {
    view: Arc<OnceLock<View>>,
    /// What each actor is called in the topology.
    names: BTreeMap<Site, String>,
}

impl LateView {
    pub(super) fn of(blueprint: &Blueprint) -> Self {
        let named = |site: Site| Some((site, blueprint.named(site.name())?));
        Self { view: Arc::default(), names: Site::ALL.into_iter().filter_map(named).collect() }
    }

    pub(super) fn set(&self, view: View) {
        // A run starts one tree, so this is said once.
        let _ = self.view.set(view);
    }

    /// Restarts an actor through its supervisor. Nobody waits for it: whoever asks must not get stuck too.
    pub(super) fn restarter(&self) -> Restarter {
        let late = self.clone();
        Arc::new(move |site| {
            let (Some(view), Some(name)) = (late.view.get().cloned(), late.names.get(&site).cloned()) else { return };
            tokio::spawn(async move {
                if let Err(error) = view.restart(&name, PATIENCE).await {
                    tracing::error!("{name} could not be restarted: {error}");
                }
            });
        })
    }
}
