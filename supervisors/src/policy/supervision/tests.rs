use super::*;

const SECOND: Duration = Duration::from_secs(1);
const INTENSITY: Intensity = Intensity { max_restarts: 2, within: Duration::from_secs(10) };

/// A supervisor whose children, one per restart type given, are all up.
fn running(strategy: Strategy, restarts: &[Restart]) -> (Supervision, Vec<ChildKey>) {
    let mut supervision = Supervision::new(strategy, INTENSITY, Backoff::NONE, Stream::new(1));
    let keys: Vec<_> = restarts.iter().map(|restart| supervision.add(*restart)).collect();
    for child in &keys {
        assert_eq!(supervision.on_event(Event::Started { child: *child }, Duration::ZERO), []);
    }
    (supervision, keys)
}

fn fail(supervision: &mut Supervision, child: ChildKey, now: Duration) -> Vec<Decision> {
    supervision.on_event(Event::Exited { child, cause: ExitCause::Panic("p".into()) }, now)
}

fn plan(decisions: &[Decision]) -> &Plan {
    match decisions.last() {
        Some(Decision::Restart(plan)) => plan,
        other => panic!("expected a restart, not {other:?}"),
    }
}

#[test]
fn one_for_one_restarts_the_failed_child_alone() {
    let (mut supervision, keys) = running(Strategy::OneForOne, &[Restart::Permanent; 3]);
    let decisions = fail(&mut supervision, keys[1], SECOND);
    assert_eq!(decisions.len(), 1);
    let Plan { ticket, restarting, .. } = plan(&decisions).clone();
    assert_eq!(restarting, [keys[1]]);
    assert_eq!(supervision.on_event(Event::Due { ticket }, SECOND), [Decision::Start(keys[1])]);
}

#[test]
fn rest_for_one_stops_the_rest_in_reverse_and_starts_it_in_order() {
    let (mut supervision, keys) = running(Strategy::RestForOne, &[Restart::Permanent; 4]);
    let decisions = fail(&mut supervision, keys[1], SECOND);
    assert_eq!(decisions[..2], [Decision::Stop(keys[3]), Decision::Stop(keys[2])]);
    let ticket = plan(&decisions).ticket;
    let starts = [keys[1], keys[2], keys[3]].map(Decision::Start);
    assert_eq!(supervision.on_event(Event::Due { ticket }, SECOND), starts);
    assert!(supervision.is_up(keys[0]));
}

#[test]
fn rest_for_one_dismisses_temporary_siblings_and_revives_finished_ones() {
    let (mut supervision, keys) =
        running(Strategy::RestForOne, &[Restart::Permanent, Restart::Temporary, Restart::Transient]);
    supervision.on_event(Event::Exited { child: keys[2], cause: ExitCause::Normal }, SECOND);
    let decisions = fail(&mut supervision, keys[0], SECOND);
    assert_eq!(decisions[..2], [Decision::Stop(keys[1]), Decision::Forget(keys[1])]);
    assert_eq!(plan(&decisions).restarting, [keys[0], keys[2]]);
}

#[test]
fn a_temporary_child_is_forgotten_and_concerns_nobody() {
    let (mut supervision, keys) = running(Strategy::RestForOne, &[Restart::Temporary, Restart::Permanent]);
    assert_eq!(fail(&mut supervision, keys[0], SECOND), [Decision::Forget(keys[0])]);
    assert_eq!(supervision.len(), 1);
}

#[test]
fn one_failure_too_many_within_the_window_gives_up() {
    let (mut supervision, keys) = running(Strategy::OneForOne, &[Restart::Permanent; 3]);
    plan(&fail(&mut supervision, keys[0], SECOND));
    plan(&fail(&mut supervision, keys[1], SECOND * 2));
    let (cause, reason) = (ExitCause::Panic("p".into()), GiveUpReason::TooManyRestarts);
    let given_up = Decision::GiveUp { child: keys[2], cause, reason, restarts_in_window: 3 };
    assert_eq!(fail(&mut supervision, keys[2], SECOND * 11), [given_up]);
}

#[test]
fn a_start_that_fails_is_another_failure_and_takes_the_rest_along() {
    let (mut supervision, keys) = running(Strategy::RestForOne, &[Restart::Permanent; 3]);
    let ticket = plan(&fail(&mut supervision, keys[0], SECOND)).ticket;
    supervision.on_event(Event::Due { ticket }, SECOND);
    supervision.on_event(Event::Started { child: keys[0] }, SECOND);
    let failed = Event::Exited { child: keys[1], cause: ExitCause::StartFailed("s".into()) };
    let decisions = supervision.on_event(failed, SECOND);
    assert_eq!(decisions.len(), 1, "what has not been started need not be stopped");
    assert_eq!((&plan(&decisions).restarting[..], plan(&decisions).restarts_in_window), (&keys[1..], 2));
    assert!(supervision.is_up(keys[0]));
}

#[test]
fn an_earlier_siblings_failure_takes_over_those_that_wait() {
    let (mut supervision, keys) = running(Strategy::RestForOne, &[Restart::Permanent; 2]);
    let stale = plan(&fail(&mut supervision, keys[1], SECOND)).ticket;
    let decisions = fail(&mut supervision, keys[0], SECOND);
    assert_eq!(plan(&decisions).restarting, keys);
    assert_eq!(supervision.on_event(Event::Due { ticket: stale }, SECOND), []);
}

#[test]
fn an_unstoppable_child_gives_up_whatever_the_intensity() {
    let (mut supervision, keys) = running(Strategy::OneForOne, &[Restart::Permanent]);
    let unstoppable = Event::Unstoppable { child: keys[0], cause: ExitCause::Killed };
    let (cause, reason) = (ExitCause::Killed, GiveUpReason::Unstoppable);
    let given_up = Decision::GiveUp { child: keys[0], cause, reason, restarts_in_window: 0 };
    assert_eq!(supervision.on_event(unstoppable, SECOND), [given_up]);
}
