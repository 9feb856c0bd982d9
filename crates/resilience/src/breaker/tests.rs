//! The breaker's rules, one at a time, with time and chance by hand.

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn settings() -> BreakerSettings {
    BreakerSettings {
        window: Window::Calls(4),
        min_calls: 4,
        failure_rate: 0.5,
        slow_call: ms(100),
        slow_rate: 1.0,
        open: ms(1000),
        open_max: ms(4000),
        probes: 2,
    }
}

fn breaker(settings: BreakerSettings) -> CircuitBreaker {
    CircuitBreaker::new(settings, Stream::new(3))
}

fn call(breaker: &CircuitBreaker, now: Duration) -> Call {
    breaker.admit(now).call.unwrap()
}

fn state(breaker: &CircuitBreaker, now: Duration) -> BreakerState {
    breaker.look(now).0
}

/// Fails calls at `now` until it opens; how long it is then open.
fn trip(breaker: &CircuitBreaker, now: Duration) -> Duration {
    loop {
        if let Some(transition) = call(breaker, now).failed(now) {
            return transition.open_for.unwrap();
        }
    }
}

#[test]
fn it_opens_at_the_failure_rate_and_not_before_it_has_seen_enough() {
    let breaker = breaker(settings());
    assert_eq!(call(&breaker, ms(0)).failed(ms(0)), None);
    assert_eq!(call(&breaker, ms(0)).succeeded(ms(0)), None);
    assert_eq!(call(&breaker, ms(0)).succeeded(ms(0)), None);
    let opened = call(&breaker, ms(0)).failed(ms(0)).unwrap();
    assert_eq!((opened.from, opened.to), (BreakerState::Closed, BreakerState::Open));
    assert_eq!((opened.reason, opened.tally), (Reason::Failures, Tally { calls: 4, failures: 2, slow: 0 }));
    assert!(breaker.admit(ms(1)).call.is_err());
}

#[test]
fn old_failures_leave_a_window_of_calls() {
    let breaker = breaker(settings());
    let calls = [true, false, false, false, true, false, false, false, true];
    for failed in calls {
        let made = call(&breaker, ms(0));
        assert_eq!(if failed { made.failed(ms(0)) } else { made.succeeded(ms(0)) }, None);
    }
    assert_eq!(breaker.look(ms(0)).1, Tally { calls: 4, failures: 1, slow: 0 });
}

#[test]
fn old_failures_leave_a_window_of_time() {
    let window = Window::Time { span: ms(1000), buckets: 10 };
    let breaker = breaker(BreakerSettings { window, ..settings() });
    (0..3).for_each(|_| assert_eq!(call(&breaker, ms(0)).failed(ms(0)), None));
    assert_eq!(call(&breaker, ms(1000)).failed(ms(1000)), None, "the three are a whole span old");
    assert_eq!(breaker.look(ms(1000)).1.calls, 1);
    assert_eq!(breaker.look(ms(900_000)).1.calls, 0);
}

#[test]
fn calls_that_are_answered_late_open_it_too() {
    let breaker = breaker(settings());
    (0..3).for_each(|_| assert_eq!(call(&breaker, ms(0)).succeeded(ms(100)), None));
    let opened = call(&breaker, ms(0)).succeeded(ms(100)).unwrap();
    assert_eq!((opened.reason, opened.tally.slow_rate()), (Reason::Slowness, 1.0));
}

#[test]
fn it_is_open_for_longer_each_time_that_probes_fail_and_never_beyond_its_limit() {
    let breaker = breaker(settings());
    let mut now = ms(0);
    let mut open_for = trip(&breaker, now);
    for ceiling in [1000, 2000, 4000, 4000] {
        assert!(open_for <= ms(ceiling) && open_for >= ms(ceiling / 2), "{open_for:?} of {ceiling} ms");
        assert_eq!(breaker.admit(now).call.unwrap_err(), Refused { wait: open_for });
        now += open_for;
        open_for = trip(&breaker, now);
    }
    now += open_for;
    let probes = [call(&breaker, now), call(&breaker, now)];
    let closed = probes.map(|probe| probe.succeeded(now))[1].unwrap();
    assert_eq!((closed.to, closed.reason), (BreakerState::Closed, Reason::ProbesPassed));
    assert!(trip(&breaker, now) <= ms(1000), "closing forgets how often it was open");
}

#[test]
fn open_times_differ_by_chance_and_equal_seeds_agree() {
    let open_for = |seed| trip(&CircuitBreaker::new(settings(), Stream::new(seed)), ms(0));
    assert_eq!(open_for(1), open_for(1));
    assert_ne!(open_for(1), open_for(2));
}

#[test]
fn half_open_lets_a_few_through_and_the_first_to_come_says_so() {
    let breaker = breaker(settings());
    let now = trip(&breaker, ms(0));
    let first = breaker.admit(now);
    let opened = first.transition.unwrap();
    assert_eq!((opened.to, opened.reason), (BreakerState::HalfOpen, Reason::OpenTimeOver));
    let second = breaker.admit(now);
    assert_eq!((second.call.is_ok(), second.transition), (true, None));
    assert_eq!(breaker.admit(now).call.unwrap_err(), Refused { wait: ms(1000) });
}

#[test]
fn a_dropped_probe_returns_its_place_and_is_no_result() {
    let breaker = breaker(settings());
    let now = trip(&breaker, ms(0));
    for _ in 0..10 {
        drop((call(&breaker, now), call(&breaker, now)));
    }
    let probes = [call(&breaker, now), call(&breaker, now)];
    assert!(breaker.admit(now).call.is_err());
    assert_eq!(probes.map(|probe| probe.succeeded(now).is_some()), [false, true]);
}

#[test]
fn a_result_from_before_the_state_changed_counts_for_nothing() {
    let breaker = breaker(settings());
    let (late, lost) = (call(&breaker, ms(0)), call(&breaker, ms(0)));
    let now = trip(&breaker, ms(0));
    let probe = call(&breaker, now);
    assert_eq!(late.failed(now), None);
    drop(lost);
    assert_eq!(breaker.look(now).1, Tally::default());
    assert_eq!(probe.succeeded(now), None, "one of two");
    assert_eq!(state(&breaker, now), BreakerState::HalfOpen);
}

#[test]
fn a_forced_breaker_stays_as_it_was_told_until_it_is_released() {
    let breaker = breaker(settings());
    assert_eq!(breaker.force_open().unwrap().reason, Reason::Forced);
    assert_eq!(breaker.force_open(), None);
    assert!(breaker.admit(ms(1_000_000)).call.is_err());
    assert_eq!(breaker.force_closed().unwrap().from, BreakerState::ForcedOpen);
    (0..100).for_each(|_| assert_eq!(call(&breaker, ms(0)).failed(ms(0)), None));
    assert_eq!(breaker.release().unwrap().to, BreakerState::Closed);
    assert_eq!((breaker.release(), breaker.look(ms(0)).1.calls), (None, 0));
    trip(&breaker, ms(0));
}
