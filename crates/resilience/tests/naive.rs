//! The breaker against a naive telling of its rules, over random histories: lists that are counted from the start each time.
#![allow(clippy::unwrap_used, reason = "panicking is how a test fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use stateset_domain::{BreakerState, Stream};
use stateset_resilience::{BreakerSettings, Call, CircuitBreaker, RetryBudget, Tally, Transition, Window};

/// One thing that happens to a breaker.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody asks.
    Admit,
    /// The call at this place among those in flight ends: answered, failed, or dropped.
    End(usize, End),
    /// Time passes, in milliseconds.
    Wait(u64),
    /// Somebody forces it open, or closed, or releases it.
    Force(Option<bool>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Answered,
    Failed,
    Dropped,
}

/// The rules, as one would tell them.
struct Naive {
    settings: BreakerSettings,
    state: BreakerState,
    now: u64,
    until: u64,
    /// Every settled call since the state changed: when, failed, slow.
    settled: Vec<(u64, bool, bool)>,
    /// Calls in flight since the state changed, by their number: when they began.
    flying: BTreeMap<u64, u64>,
    /// Openings in a row.
    openings: u32,
}

impl Naive {
    fn tally(&self) -> Tally {
        let counts = |(at, ..): &&(u64, bool, bool)| match self.settings.window {
            _ if self.state == BreakerState::HalfOpen => true,
            Window::Calls(_) => true,
            Window::Time { span, buckets } => {
                let width = (span / buckets).as_millis() as u64;
                self.now / width - at / width < u64::from(buckets)
            }
        };
        let mut calls: Vec<_> = self.settled.iter().filter(counts).collect();
        if let (Window::Calls(most), true) = (self.settings.window, self.state == BreakerState::Closed) {
            let most = most as usize;
            calls.drain(..calls.len().saturating_sub(most));
        }
        Tally {
            calls: calls.len() as u32,
            failures: calls.iter().filter(|(_, failed, _)| *failed).count() as u32,
            slow: calls.iter().filter(|(.., slow)| *slow).count() as u32,
        }
    }

    fn enter(&mut self, state: BreakerState) {
        self.state = state;
        self.settled.clear();
        self.flying.clear();
        match state {
            BreakerState::Open => self.openings += 1,
            BreakerState::HalfOpen => {}
            BreakerState::Closed | BreakerState::ForcedOpen | BreakerState::ForcedClosed => self.openings = 0,
        }
    }

    fn admit(&mut self, number: u64) -> bool {
        if self.state == BreakerState::Open && self.now >= self.until {
            self.enter(BreakerState::HalfOpen);
        }
        let admitted = match self.state {
            BreakerState::Closed | BreakerState::ForcedClosed => true,
            BreakerState::Open | BreakerState::ForcedOpen => false,
            BreakerState::HalfOpen => self.flying.len() + self.settled.len() < self.settings.probes as usize,
        };
        if admitted {
            self.flying.insert(number, self.now);
        }
        admitted
    }

    /// What the state should now be, if it changes.
    fn end(&mut self, number: u64, end: End) -> Option<BreakerState> {
        let began = self.flying.remove(&number)?;
        if end == End::Dropped || self.state == BreakerState::ForcedClosed {
            return None;
        }
        let slow = self.now - began >= self.settings.slow_call.as_millis() as u64;
        self.settled.push((self.now, end == End::Failed, slow));
        let (tally, half_open) = (self.tally(), self.state == BreakerState::HalfOpen);
        let needed = if half_open { self.settings.probes } else { self.settings.min_calls };
        let bad = tally.failure_rate() >= self.settings.failure_rate || tally.slow_rate() >= self.settings.slow_rate;
        if tally.calls < needed {
            None
        } else if bad {
            Some(BreakerState::Open)
        } else {
            half_open.then_some(BreakerState::Closed)
        }
    }
}

/// Both, side by side.
struct Pair {
    naive: Naive,
    breaker: CircuitBreaker,
    flying: Vec<(u64, Call)>,
    made: u64,
}

impl Pair {
    fn now(&self) -> Duration {
        Duration::from_millis(self.naive.now)
    }

    fn admit(&mut self) {
        self.made += 1;
        let admission = self.breaker.admit(self.now());
        let was = self.naive.state;
        assert_eq!(admission.call.is_ok(), self.naive.admit(self.made), "in {was}");
        assert_eq!(admission.transition.is_some(), was != self.naive.state);
        if let Ok(call) = admission.call {
            self.flying.push((self.made, call));
        }
        let probes = self.naive.flying.len() as u32;
        assert!(self.naive.state != BreakerState::HalfOpen || probes <= self.naive.settings.probes);
    }

    fn end(&mut self, place: usize, end: End) {
        if self.flying.is_empty() {
            return;
        }
        let (number, call) = self.flying.swap_remove(place % self.flying.len());
        let expected = self.naive.end(number, end);
        let transition = match end {
            End::Answered => call.succeeded(self.now()),
            End::Failed => call.failed(self.now()),
            End::Dropped => {
                drop(call);
                None
            }
        };
        assert_eq!(transition.map(|transition| transition.to), expected);
        if let Some(state) = expected {
            self.changed(state, transition.unwrap());
        }
    }

    /// The length of an open time is drawn by chance: the naive telling is told, and checks its bounds.
    fn changed(&mut self, state: BreakerState, transition: Transition) {
        let before = self.naive.openings;
        self.naive.enter(state);
        let Some(open_for) = transition.open_for else { return };
        let BreakerSettings { open, open_max, .. } = self.naive.settings;
        let ceiling = (open * 2u32.pow(before.min(16))).min(open_max);
        assert!(open_for <= ceiling && open_for >= ceiling / 2, "{open_for:?} of {ceiling:?}");
        // The naive telling counts whole milliseconds.
        self.naive.until = self.naive.now + open_for.as_nanos().div_ceil(1_000_000) as u64;
    }

    fn force(&mut self, to: Option<bool>) {
        let (transition, state) = match to {
            Some(true) => (self.breaker.force_open(), BreakerState::ForcedOpen),
            Some(false) => (self.breaker.force_closed(), BreakerState::ForcedClosed),
            None => (self.breaker.release(), BreakerState::Closed),
        };
        let forced = matches!(self.naive.state, BreakerState::ForcedOpen | BreakerState::ForcedClosed);
        let changes = self.naive.state != state && (to.is_some() || forced);
        assert_eq!(transition.map(|transition| transition.to), changes.then_some(state));
        if changes {
            self.naive.enter(state);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Admit => self.admit(),
            Step::End(place, end) => self.end(place, end),
            Step::Wait(millis) => self.naive.now += millis,
            Step::Force(to) => self.force(to),
        }
        let (state, tally, _) = self.breaker.look(self.now());
        assert_eq!(state, self.naive.state);
        let expected = match state {
            BreakerState::Closed | BreakerState::HalfOpen => self.naive.tally(),
            BreakerState::Open | BreakerState::ForcedOpen | BreakerState::ForcedClosed => Tally::default(),
        };
        assert_eq!(tally, expected, "in {state}");
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![3 => Just(End::Answered), 3 => Just(End::Failed), 1 => Just(End::Dropped)];
    let step = prop_oneof![
        10 => Just(Step::Admit),
        10 => (any::<usize>(), end).prop_map(|(place, end)| Step::End(place, end)),
        4 => (0u64..300).prop_map(Step::Wait),
        1 => (0u64..5000).prop_map(Step::Wait),
        1 => prop_oneof![Just(Some(true)), Just(Some(false)), Just(None)].prop_map(Step::Force),
    ];
    prop::collection::vec(step, 1..200)
}

fn settings() -> impl Strategy<Value = BreakerSettings> {
    let window = prop_oneof![
        (1u32..12).prop_map(Window::Calls),
        (1u32..8, 1u64..200)
            .prop_map(|(buckets, width)| Window::Time { span: Duration::from_millis(width) * buckets, buckets }),
    ];
    (window, 1u32..8, 0.05f64..1.0, 1u64..400, 0.05f64..1.0, 1u64..400, 1u32..5).prop_map(
        |(window, min_calls, failure_rate, slow, slow_rate, open, probes)| BreakerSettings {
            window,
            min_calls,
            failure_rate,
            slow_call: Duration::from_millis(slow),
            slow_rate,
            open: Duration::from_millis(open),
            open_max: Duration::from_millis(open * 5),
            probes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_does_what_its_rules_say_and_counts_what_counting_from_the_start_would(
        settings in settings(),
        seed in any::<u64>(),
        steps in steps(),
    ) {
        let naive = Naive {
            settings,
            state: BreakerState::Closed,
            now: 0,
            until: 0,
            settled: Vec::new(),
            flying: BTreeMap::new(),
            openings: 0,
        };
        let breaker = CircuitBreaker::new(settings, Stream::new(seed));
        let mut pair = Pair { naive, breaker, flying: Vec::new(), made: 0 };
        for step in steps {
            pair.step(step);
        }
    }

    #[test]
    fn retries_never_exceed_the_reserve_and_what_calls_and_time_have_earned(
        share in 0.0f64..1.0,
        per_second in 0.1f64..5.0,
        reserve in 1u32..20,
        steps in prop::collection::vec(prop_oneof![Just(None), (0u64..500).prop_map(Some)], 1..300),
    ) {
        let mut budget = RetryBudget::new(share, per_second, reserve);
        let (mut now, mut calls, mut retries) = (Duration::ZERO, 0u32, 0u32);
        for step in steps {
            match step {
                None => {
                    calls += 1;
                    budget.earn();
                }
                Some(wait) => {
                    now += Duration::from_millis(wait);
                    retries += u32::from(budget.spend(now).is_ok());
                }
            }
            let earned = f64::from(reserve) + share * f64::from(calls) + per_second * now.as_secs_f64();
            prop_assert!(f64::from(retries) <= earned + 1e-6, "{retries} of {earned}");
        }
    }
}
