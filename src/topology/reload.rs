//! Going on with another configuration.
//!
//! In two phases. First everything is looked at: the new configuration as a whole, what it takes to put each change into effect, and new
//! actors for those that are told something else. Nothing has happened until then, so a refusal leaves no trace. Then what stands is
//! replaced and actors are restarted, and if one of them does not come up, all of it is taken back.
//!
//! A restart on purpose loses no episode: an actor finishes what waits for it, and a ticket that is dropped after all goes home.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;

use super::current::Standing;
use super::seats::Prepared;
use super::{Blueprint, Kinds, SeatError, Topology};
use crate::config::{Change, Config, Effect, Problem};

/// Why a run does not go on with another configuration. It goes on with the one that it had.
#[derive(Debug, Error)]
pub enum ReloadRefused {
    /// It cannot be run at all.
    #[error("it cannot be run:\n{}", lines(.0))]
    Problems(Vec<Problem>),
    /// Something in it cannot be changed while the run goes on.
    #[error("it cannot be taken over by a run that goes on:\n{}", lines(.0))]
    Inapplicable(Vec<Change>),
    /// A kind cannot be made with what it is told.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// An actor did not come up with it, so everything was taken back.
    #[error("{actor} did not come up with it, and what was changed was taken back: {cause}")]
    RolledBack {
        /// Which.
        actor: String,
        /// Why, as far as its supervisor knows.
        cause: String,
    },
    /// There is nothing left to go on.
    #[error("the run is over")]
    Over,
    /// It could not be recorded, so everything was taken back.
    #[error("it cannot be recorded: {0}")]
    Unrecorded(String),
}

fn lines<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("  {item}")).collect::<Vec<_>>().join("\n")
}

impl Topology {
    /// What stands now.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.current.now()
    }

    /// Goes on with `next`. Returns what changed.
    pub(crate) async fn reload(&self, next: Config, kinds: &Kinds) -> Result<Vec<Change>, ReloadRefused> {
        let blueprint = Blueprint::of(&next, kinds).map_err(ReloadRefused::Problems)?;
        let old = self.current.now();
        let changes = Change::between(&old.config, &next, |kind| old.blueprint.named(kind));
        let inapplicable: Vec<Change> = changes.iter().filter(|it| !it.effect.is_applicable()).cloned().collect();
        if !inapplicable.is_empty() {
            return Err(ReloadRefused::Inapplicable(inapplicable));
        }
        let next = Arc::new(Standing { config: next, blueprint });
        let restarts: BTreeSet<&str> = changes.iter().filter_map(restarted).collect();
        let prepared = self.prepare(&restarts, &old, &next)?;
        self.stand(&old, &next);
        let mut touched = BTreeSet::new();
        for (id, prepared) in prepared {
            touched.insert(id);
            if let Err(cause) = self.seats.restart(&self.tree.view(), id, prepared).await {
                self.take_back(&touched, &next, &old).await;
                return Err(ReloadRefused::RolledBack { actor: id.to_owned(), cause });
            }
        }
        Ok(changes)
    }

    /// New actors for those that are told something else; the others are only started again.
    fn prepare<'a>(
        &self,
        restarts: &BTreeSet<&'a str>,
        from: &Standing,
        to: &Standing,
    ) -> Result<Vec<(&'a str, Option<Prepared>)>, SeatError> {
        let prepare = |id: &'a str| {
            let (before, after) = (from.blueprint.actors.get(id), to.blueprint.actors.get(id));
            let told = after.filter(|after| before != Some(*after));
            Ok((id, told.map(|placed| self.seats.prepare(placed)).transpose()?))
        };
        restarts.iter().map(|id| prepare(id)).collect()
    }

    fn stand(&self, from: &Standing, to: &Arc<Standing>) {
        self.current.replace(to.clone());
        let live = |standing: &Standing| standing.config.supervision.max_live_episodes;
        resize(&self.permits, live(from), live(to));
    }

    async fn take_back(&self, touched: &BTreeSet<&str>, from: &Standing, to: &Arc<Standing>) {
        self.stand(from, to);
        // What was made once can be made again.
        for (id, prepared) in self.prepare(touched, from, to).into_iter().flatten() {
            if let Err(cause) = self.seats.restart(&self.tree.view(), id, prepared).await {
                // Its supervisor goes on trying, with what it had.
                tracing::warn!("{id} is not up again yet: {cause}");
            }
        }
    }
}

fn restarted(change: &Change) -> Option<&str> {
    match &change.effect {
        Effect::Restart(actor) => Some(actor),
        Effect::Live | Effect::Resume | Effect::AnotherRun => None,
    }
}

/// Permits that are out are taken away as they come home.
fn resize(permits: &Arc<Semaphore>, from: usize, to: usize) {
    if to > from {
        permits.add_permits(to - from);
    }
    let surplus = u32::try_from(from.saturating_sub(to)).unwrap_or(u32::MAX);
    if surplus > 0 {
        let permits = permits.clone();
        tokio::spawn(async move {
            // Closed only when the run is over.
            if let Ok(taken) = permits.acquire_many(surplus).await {
                taken.forget();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_that_are_out_are_taken_away_as_they_come_home() {
        let permits = Arc::new(Semaphore::new(4));
        let out = permits.clone().acquire_many_owned(3).await.unwrap();
        resize(&permits, 4, 2);
        tokio::task::yield_now().await;
        assert!(permits.try_acquire().is_err(), "the one that was free is gone");
        drop(out);
        tokio::task::yield_now().await;
        assert_eq!(permits.available_permits(), 2);
        resize(&permits, 2, 5);
        assert_eq!(permits.available_permits(), 5);
    }
}
