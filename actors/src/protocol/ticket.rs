//! The right to run one episode, and the promise to say what became of it.

use std::ops::Deref;

use stateset_domain::{EpisodeId, FailureKind, Sampling, Split, Stream, Trajectory};
use tokio::sync::OwnedSemaphorePermit;

use crate::protocol::{LearnerMsg, Port};

/// What is to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Which episode.
    pub episode: EpisodeId,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// The incarnation of the learner that wants it.
    pub epoch: u64,
    /// Names this attempt to the engine and in the table of live conversations; no two attempts share it.
    pub conversation: u64,
    /// Which half of the kit its scenario is from.
    pub split: Split,
    /// Which scenario of that half.
    pub index: u64,
    /// How its replies are sampled.
    pub sampling: Sampling,
    /// Drives what the episode samples.
    pub stream: Stream,
    /// Drives the simulated user, for every member of the group alike.
    pub group_stream: Stream,
}

/// The right to run one attempt at an episode.
///
/// It holds one of the run's permits, so that the number of live episodes is bounded where they begin. It ends in exactly one
/// message to the learner: [`complete`](Self::complete) and [`fail`](Self::fail) say how it went, and dropping it in any other way
/// says that the attempt was [abandoned](FailureKind::Abandoned).
#[must_use = "a ticket that is dropped aborts its episode"]
pub struct Ticket {
    assignment: Assignment,
    home: Port<LearnerMsg>,
    /// `None` once settled. Returned before the learner hears of it, so that the news finds a free permit.
    permit: Option<OwnedSemaphorePermit>,
}

impl Ticket {
    /// A ticket for `assignment`, to be settled at `home`.
    pub fn new(assignment: Assignment, home: Port<LearnerMsg>, permit: OwnedSemaphorePermit) -> Self {
        Self { assignment, home, permit: Some(permit) }
    }

    /// The episode is finished and judged.
    pub fn complete(mut self, trajectory: Trajectory) {
        self.settle(LearnerMsg::Completed { epoch: self.epoch, trajectory: Box::new(trajectory) });
    }

    /// This attempt at the episode failed.
    pub fn fail(mut self, failure: FailureKind) {
        self.abort(failure);
    }

    fn abort(&mut self, failure: FailureKind) {
        let Assignment { episode, attempt, epoch, .. } = self.assignment;
        self.settle(LearnerMsg::Aborted { episode, attempt, epoch, failure });
    }

    fn settle(&mut self, news: LearnerMsg) {
        drop(self.permit.take());
        // A learner that is down has forgotten the episode; its next incarnation issues its own ticket.
        let _ = self.home.send(news);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.permit.is_some() {
            self.abort(FailureKind::Abandoned);
        }
    }
}

impl Deref for Ticket {
    type Target = Assignment;

    fn deref(&self) -> &Assignment {
        &self.assignment
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stateset_domain::{GroupId, Purpose};
    use tokio::sync::Semaphore;
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;

    fn ticket(permits: &Arc<Semaphore>) -> (Ticket, UnboundedReceiver<LearnerMsg>) {
        let episode = EpisodeId { group: GroupId { purpose: Purpose::Train, step: 1, index: 0 }, member: 2 };
        let (home, news) = Port::channel();
        let assignment = Assignment {
            episode,
            attempt: 3,
            epoch: 9,
            conversation: 1,
            split: Split::Train,
            index: 0,
            sampling: Sampling::default(),
            stream: episode.stream(0),
            group_stream: episode.group.stream(0),
        };
        (Ticket::new(assignment, home, Arc::clone(permits).try_acquire_owned().unwrap()), news)
    }

    #[test]
    fn a_dropped_ticket_returns_home_and_frees_its_permit() {
        let permits = Arc::new(Semaphore::new(1));
        let (ticket, mut news) = ticket(&permits);
        assert_eq!(permits.available_permits(), 0);
        drop(ticket);
        assert_eq!(permits.available_permits(), 1);
        assert!(matches!(
            news.try_recv().unwrap(),
            LearnerMsg::Aborted { attempt: 3, epoch: 9, failure: FailureKind::Abandoned, .. }
        ));
    }

    #[test]
    fn a_settled_ticket_says_so_once() {
        let permits = Arc::new(Semaphore::new(1));
        let (completed, mut news) = ticket(&permits);
        let trajectory = Trajectory::new(completed.episode, "scenario");
        completed.complete(trajectory);
        assert!(matches!(news.try_recv().unwrap(), LearnerMsg::Completed { epoch: 9, .. }));
        assert!(news.try_recv().is_err());

        let (failed, mut news) = ticket(&permits);
        failed.fail(FailureKind::Judge("no score".into()));
        assert!(matches!(news.try_recv().unwrap(), LearnerMsg::Aborted { failure: FailureKind::Judge(_), .. }));
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn a_panic_while_holding_a_ticket_returns_it() {
        let (ticket, mut news) = ticket(&Arc::new(Semaphore::new(1)));
        let holder = std::thread::spawn(move || {
            let _held = ticket;
            panic!("injected");
        });
        assert!(holder.join().is_err());
        assert!(matches!(news.try_recv().unwrap(), LearnerMsg::Aborted { .. }));
    }
}
