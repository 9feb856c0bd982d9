//! Faults at chosen places.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use stateset_actors::protocol::{Probe, Site, Visit};

/// Panics at chosen visits, each once. A restarted actor goes on counting where its predecessor stopped.
#[derive(Debug)]
pub struct FaultInjector {
    faults: Vec<(Site, u64)>,
    visits: Mutex<BTreeMap<Site, u64>>,
}

impl FaultInjector {
    /// Panics at the `n`-th visit, from 1, of each `(site, n)`.
    pub fn new(faults: impl IntoIterator<Item = (Site, u64)>) -> Self {
        Self { faults: faults.into_iter().collect(), visits: Mutex::default() }
    }

    /// How often `site` has been visited.
    pub fn visits(&self, site: Site) -> u64 {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner).get(&site).copied().unwrap_or(0)
    }
}

impl Probe for FaultInjector {
    fn visit(&self, site: Site) -> Visit {
        let visit = {
            let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
            let count = visits.entry(site).or_default();
            *count += 1;
            *count
        };
        assert!(!self.faults.contains(&(site, visit)), "injected fault: visit {visit} of {site}");
        Visit::Pass
    }
}
