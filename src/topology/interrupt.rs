//! How a run is asked to end before its time.

use std::time::Duration;

use stateset_actors::protocol::{LearnerMsg, Port};
use tokio::time::sleep;

/// How long a request to end may remain without effect.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Asks `learner` to save and end, and again while the run goes on: an incarnation that was asked may fail before it has heard.
pub(super) async fn interrupt(learner: Port<LearnerMsg>) {
    loop {
        // A learner that is away now is asked when it is back.
        let _ = learner.post(LearnerMsg::Interrupt, ASK_AGAIN).await;
        sleep(ASK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_learner_that_fails_before_it_has_heard_is_asked_again() {
        let (port, mut asked) = Port::channel();
        let asking = tokio::spawn(interrupt(port));
        for _ in 0..3 {
            assert!(matches!(asked.recv().await, Some(LearnerMsg::Interrupt)));
        }
        asking.abort();
    }
}
