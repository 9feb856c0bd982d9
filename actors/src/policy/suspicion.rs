//! Who is to blame when nothing moves.

use std::time::Duration;

use crate::protocol::{Sight, Site};

/// The actor to restart after nothing has moved for `limit`: the one whose thread has been busy longest, if that is most of the time (what
/// moved last may have been its own beginning); else the one for whom somebody has waited longest; else the learner, who should have begun
/// something.
#[must_use]
pub fn suspect(sight: &Sight, limit: Duration) -> Site {
    let busy = sight.threads.iter().filter_map(|(site, thread)| Some((thread.busy?, *site)));
    let stuck = busy.filter(|(busy, _)| *busy * 2 >= limit).max_by_key(|(busy, _)| *busy);
    let awaited =
        || sight.waiting.iter().map(|waiting| (waiting.waited, waiting.site)).max_by_key(|(waited, _)| *waited);
    stuck.or_else(awaited).map_or(Site::Learner, |(_, site)| site)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ThreadReading;
    use crate::protocol::{Reading, Waiting};

    const LIMIT: Duration = Duration::from_secs(10);

    fn thread(site: Site, busy: Option<u64>) -> (Site, ThreadReading) {
        (site, ThreadReading { epoch: 1, busy: busy.map(Duration::from_secs), zombies: 0 })
    }

    fn waiting(site: Site, seconds: u64) -> Waiting {
        Waiting { site, conversations: 1, episode: "train-1-0-0".into(), turn: 1, waited: Duration::from_secs(seconds) }
    }

    fn sight(threads: Vec<(Site, ThreadReading)>, waiting: Vec<Waiting>) -> Sight {
        Sight { reading: Reading::default(), threads, waiting, live: 1 }
    }

    #[test]
    fn a_thread_that_hangs_is_to_blame_whoever_waits_for_whom() {
        let threads = vec![thread(Site::Learner, None), thread(Site::Inference, Some(9))];
        assert_eq!(suspect(&sight(threads, vec![waiting(Site::Judge, 99)]), LIMIT), Site::Inference);
    }

    #[test]
    fn without_one_it_is_who_is_awaited_longest() {
        let waits = vec![waiting(Site::Environment, 30), waiting(Site::Judge, 20)];
        assert_eq!(suspect(&sight(vec![thread(Site::Inference, Some(4))], waits), LIMIT), Site::Environment);
    }

    #[test]
    fn if_nobody_waits_it_is_the_learner_who_should_have_begun_something() {
        assert_eq!(suspect(&sight(vec![thread(Site::Learner, None)], vec![]), LIMIT), Site::Learner);
    }
}
