use super::*;

const SECOND: Duration = Duration::from_secs(1);
const INTENSITY: Intensity = Intensity { max_restarts: 2, within: Duration::from_secs(10) };

fn rules(strategy: Strategy) -> Rules {
    let (excess, auto_shutdown) = (Excess::GiveUp, AutoShutdown::Never);
    Rules { strategy, intensity: INTENSITY, backoff: Backoff::NONE, excess, auto_shutdown }
}

/// A supervisor whose children, one per restart type given, are all up.
fn running(strategy: Strategy, restarts: &[Restart]) -> (Supervision, Vec<ChildKey>) {
    let children: Vec<_> = restarts.iter().copied().map(ChildRules::from).collect();
    ruled(rules(strategy), &children)
}

fn ruled(rules: Rules, children: &[ChildRules]) -> (Supervision, Vec<ChildKey>) {
    let mut supervision = Supervision::new(rules, Stream::new(1));
    let keys: Vec<_> = children.iter().map(|rules| supervision.add(*rules).unwrap()).collect();
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

#[test]
fn one_for_all_stops_all_in_reverse_and_starts_all_in_order() {
    let (mut supervision, keys) = running(Strategy::OneForAll, &[Restart::Permanent; 3]);
    let decisions = fail(&mut supervision, keys[1], SECOND);
    assert_eq!(decisions[..2], [Decision::Stop(keys[2]), Decision::Stop(keys[0])]);
    let ticket = plan(&decisions).ticket;
    let starts = [keys[0], keys[1], keys[2]].map(Decision::Start);
    assert_eq!(supervision.on_event(Event::Due { ticket }, SECOND), starts);
}

fn significant(restart: Restart) -> ChildRules {
    ChildRules { significant: true, ..restart.into() }
}

#[test]
fn the_end_of_any_or_of_all_significant_children_finishes_the_supervisor() {
    let children = [significant(Restart::Transient), significant(Restart::Temporary), Restart::Permanent.into()];
    let ends = |auto_shutdown| {
        let (mut supervision, keys) = ruled(Rules { auto_shutdown, ..rules(Strategy::OneForOne) }, &children);
        let first = supervision.on_event(Event::Exited { child: keys[0], cause: ExitCause::Normal }, SECOND);
        (first, fail(&mut supervision, keys[1], SECOND), keys)
    };
    let (first, _, keys) = ends(AutoShutdown::AnySignificant);
    assert_eq!(first, [Decision::Finish { child: keys[0] }]);
    let (first, second, keys) = ends(AutoShutdown::AllSignificant);
    assert_eq!(first, []);
    assert_eq!(second, [Decision::Finish { child: keys[1] }]);
}

#[test]
fn a_significant_child_that_is_restarted_is_not_done() {
    let children = [significant(Restart::Transient), significant(Restart::Transient)];
    let all = Rules { auto_shutdown: AutoShutdown::AllSignificant, ..rules(Strategy::OneForOne) };
    let (mut supervision, keys) = ruled(all, &children);
    plan(&fail(&mut supervision, keys[0], SECOND));
    let other = supervision.on_event(Event::Exited { child: keys[1], cause: ExitCause::Normal }, SECOND);
    assert_eq!(other, [], "the first is only waiting");
}

#[test]
fn a_child_may_be_borne_less_often_than_the_rest() {
    let once = Intensity { max_restarts: 1, within: SECOND };
    let children = [ChildRules { intensity: Some(once), ..Restart::Permanent.into() }, Restart::Permanent.into()];
    let (mut supervision, keys) = ruled(rules(Strategy::OneForOne), &children);
    let ticket = plan(&fail(&mut supervision, keys[0], SECOND)).ticket;
    supervision.on_event(Event::Due { ticket }, SECOND);
    supervision.on_event(Event::Started { child: keys[0] }, SECOND);
    let (cause, reason) = (ExitCause::Panic("p".into()), GiveUpReason::ChildTooManyRestarts);
    let given_up = Decision::GiveUp { child: keys[0], cause, reason, restarts_in_window: 2 };
    assert_eq!(fail(&mut supervision, keys[0], SECOND * 2), [given_up]);
}

fn aside(decisions: &[Decision]) -> &SetAside {
    match decisions.first() {
        Some(Decision::SetAside(aside)) => aside,
        other => panic!("expected a child set aside, not {other:?}"),
    }
}

#[test]
fn a_quarantined_child_is_left_alone_and_comes_back_with_a_clean_record() {
    let (none, cool_off) = (Intensity { max_restarts: 0, ..INTENSITY }, SECOND * 60);
    let rules = Rules { intensity: none, excess: Excess::Quarantine { cool_off }, ..rules(Strategy::OneForAll) };
    let (mut supervision, keys) = ruled(rules, &[Restart::Permanent.into(); 2]);
    let decisions = fail(&mut supervision, keys[0], SECOND);
    let (ticket, wait) = aside(&decisions).quarantine.unwrap();
    assert_eq!((wait, decisions.len()), (cool_off, 1));
    assert!(supervision.is_up(keys[1]), "its sibling goes on");
    let decisions = supervision.on_event(Event::Due { ticket }, SECOND * 61);
    assert_eq!(decisions[0], Decision::Stop(keys[1]), "coming back concerns those whom a failure concerns");
    assert_eq!((plan(&decisions).delay, plan(&decisions).restarts_in_window), (Duration::ZERO, 0));
}

#[test]
fn a_degraded_child_stays_down_whatever_its_siblings_do_until_it_is_asked_for() {
    let none = Intensity { max_restarts: 0, ..INTENSITY };
    let rules = Rules { intensity: none, excess: Excess::Degrade, ..rules(Strategy::RestForOne) };
    let (mut supervision, keys) = ruled(rules, &[Restart::Permanent.into(); 2]);
    assert_eq!(aside(&fail(&mut supervision, keys[1], SECOND)).quarantine, None);
    let decisions = supervision.on_event(Event::Asked { child: keys[0] }, SECOND);
    assert_eq!(plan(&decisions).restarting, [keys[0]]);
    let decisions = supervision.on_event(Event::Asked { child: keys[1] }, SECOND);
    assert_eq!(plan(&decisions).restarting, [keys[1]]);
}

#[test]
fn those_that_were_to_be_started_after_a_child_that_is_set_aside_are_started() {
    let one = Intensity { max_restarts: 1, ..INTENSITY };
    let rules = Rules { intensity: one, excess: Excess::Degrade, ..rules(Strategy::OneForAll) };
    let (mut supervision, keys) = ruled(rules, &[Restart::Permanent.into(); 3]);
    let ticket = plan(&fail(&mut supervision, keys[0], SECOND)).ticket;
    supervision.on_event(Event::Due { ticket }, SECOND);
    supervision.on_event(Event::Started { child: keys[0] }, SECOND);
    let failed = Event::Exited { child: keys[1], cause: ExitCause::StartFailed("s".into()) };
    assert_eq!(supervision.on_event(failed, SECOND)[1..], [Decision::Start(keys[2])]);
}

#[test]
fn a_restart_that_is_asked_for_counts_as_no_failure() {
    let (mut supervision, keys) = running(Strategy::RestForOne, &[Restart::Permanent, Restart::Permanent]);
    for _ in 0..9 {
        let decisions = supervision.on_event(Event::Asked { child: keys[0] }, SECOND);
        assert_eq!(decisions[..2], [Decision::Stop(keys[1]), Decision::Stop(keys[0])]);
        let Plan { ticket, delay, restarts_in_window, .. } = *plan(&decisions);
        assert_eq!((delay, restarts_in_window), (Duration::ZERO, 0));
        supervision.on_event(Event::Due { ticket }, SECOND);
        keys.iter().for_each(|child| drop(supervision.on_event(Event::Started { child: *child }, SECOND)));
    }
}
