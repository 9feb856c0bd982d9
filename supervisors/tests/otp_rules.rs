//! The policy against a naive telling of OTP's rules, over random histories.
#![allow(clippy::unwrap_used, reason = "panicking is how a test fails")]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use stateset_domain::Stream;
use stateset_supervisors::policy::{ChildKey, Decision, Event, Plan, Supervision, Ticket};
use stateset_supervisors::{Backoff, Intensity, Restart, Strategy as Concern};
use stateset_telemetry::ExitCause;

/// One thing that happens to a supervisor.
#[derive(Debug, Clone)]
enum Step {
    /// The child at this place ends, if it is up.
    Exit(usize, ExitCause),
    /// Time passes, in seconds.
    Wait(u64),
    /// The next start of the child at this place fails.
    Break(usize),
}

/// What a supervisor did: `+` starts, `-` stops, by place.
type Log = Vec<String>;

/// OTP's supervisor as one reads it in its manual: lists, searched from the front; restarts at once.
struct Oracle {
    concern: Concern,
    intensity: Intensity,
    children: Vec<(Restart, bool, bool)>,
    broken: Vec<bool>,
    restarts: Vec<u64>,
    now: u64,
    log: Log,
    ended: bool,
}

impl Oracle {
    fn exit(&mut self, place: usize, abnormal: bool) {
        let (restart, up, present) = self.children[place];
        if self.ended || !up || !present {
            return;
        }
        self.children[place].1 = false;
        match restart {
            Restart::Temporary => self.children[place].2 = false,
            Restart::Transient if !abnormal => {}
            Restart::Transient | Restart::Permanent => self.restart(place),
        }
    }

    fn restart(&mut self, place: usize) {
        self.restarts.push(self.now);
        let within = self.intensity.within.as_secs();
        let recent = self.restarts.iter().filter(|then| self.now - **then <= within).count();
        if recent > self.intensity.max_restarts as usize {
            self.ended = true;
            self.log.push("ends".into());
            return;
        }
        let last = if self.concern == Concern::RestForOne { self.children.len() } else { place + 1 };
        for sibling in (place..last).rev() {
            if self.children[sibling].1 {
                self.log.push(format!("-{sibling}"));
                self.children[sibling].1 = false;
            }
            self.children[sibling].2 &= self.children[sibling].0 != Restart::Temporary;
        }
        for sibling in place..last {
            if !self.children[sibling].2 {
                continue;
            }
            if std::mem::take(&mut self.broken[sibling]) {
                return self.restart(sibling);
            }
            self.log.push(format!("+{sibling}"));
            self.children[sibling].1 = true;
        }
    }
}

/// Carries out the policy's decisions, as the actor does.
struct Carrier {
    policy: Supervision,
    keys: Vec<ChildKey>,
    broken: Vec<bool>,
    due: VecDeque<Ticket>,
    log: Log,
    ended: bool,
}

impl Carrier {
    fn on_event(&mut self, event: Event, now: Duration) {
        let mut decisions: VecDeque<_> = self.policy.on_event(event, now).into();
        while let Some(decision) = decisions.pop_front() {
            match decision {
                Decision::Stop(child) => self.log.push(format!("-{}", self.place(child))),
                Decision::Forget(_) => {}
                Decision::Restart(Plan { ticket, .. }) => self.due.push_back(ticket),
                Decision::Start(child) => {
                    let place = self.place(child);
                    assert!(!self.policy.is_up(child), "two incarnations of {place}");
                    if std::mem::take(&mut self.broken[place]) {
                        let cause = ExitCause::StartFailed("broken".into());
                        decisions = self.policy.on_event(Event::Exited { child, cause }, now).into();
                    } else {
                        self.log.push(format!("+{place}"));
                        assert_eq!(self.policy.on_event(Event::Started { child }, now), []);
                    }
                }
                Decision::GiveUp { .. } => {
                    self.ended = true;
                    self.log.push("ends".into());
                    return;
                }
            }
        }
    }

    fn settle(&mut self, now: Duration) {
        while let (Some(ticket), false) = (self.due.pop_front(), self.ended) {
            self.on_event(Event::Due { ticket }, now);
        }
    }

    fn place(&self, child: ChildKey) -> usize {
        self.keys.iter().position(|key| *key == child).unwrap()
    }
}

fn restart() -> impl Strategy<Value = Restart> {
    prop_oneof![3 => Just(Restart::Permanent), 2 => Just(Restart::Transient), 1 => Just(Restart::Temporary)]
}

fn step() -> impl Strategy<Value = Step> {
    let cause = prop_oneof![
        Just(ExitCause::Normal),
        Just(ExitCause::Killed),
        Just(ExitCause::Panic("p".into())),
        Just(ExitCause::Error("e".into()))
    ];
    prop_oneof![
        4 => (0..5usize, cause).prop_map(|(place, cause)| Step::Exit(place, cause)),
        3 => (0..8u64).prop_map(Step::Wait),
        1 => (0..5usize).prop_map(Step::Break),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn the_policy_does_what_otp_would(
        concern in prop_oneof![Just(Concern::OneForOne), Just(Concern::RestForOne)],
        max_restarts in 0..5u32,
        kinds in prop::collection::vec(restart(), 1..=5),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let intensity = Intensity { max_restarts, within: Duration::from_secs(10) };
        let count = kinds.len();
        let mut oracle = Oracle {
            concern, intensity, now: 0, log: vec![], ended: false, restarts: vec![],
            children: kinds.iter().map(|kind| (*kind, true, true)).collect(), broken: vec![false; count],
        };
        let mut policy = Supervision::new(concern, intensity, Backoff::NONE, Stream::new(1));
        let keys: Vec<_> = kinds.iter().map(|kind| policy.add(*kind)).collect();
        let mut carrier =
            Carrier { policy, keys, broken: vec![false; count], due: VecDeque::new(), log: vec![], ended: false };
        for child in carrier.keys.clone() {
            carrier.on_event(Event::Started { child }, Duration::ZERO);
        }
        for step in steps {
            let now = Duration::from_secs(oracle.now);
            match step {
                Step::Wait(seconds) => oracle.now += seconds,
                Step::Break(place) if place < count => (oracle.broken[place], carrier.broken[place]) = (true, true),
                Step::Exit(place, cause) if place < count && !carrier.ended => {
                    oracle.exit(place, cause.is_abnormal());
                    let child = carrier.keys[place];
                    if carrier.policy.is_up(child) {
                        carrier.on_event(Event::Exited { child, cause }, now);
                        carrier.settle(now);
                    }
                }
                Step::Break(_) | Step::Exit(..) => {}
            }
            prop_assert_eq!(&carrier.log, &oracle.log);
            if !carrier.ended {
                let up: Vec<_> = carrier.keys.iter().map(|key| carrier.policy.is_up(*key)).collect();
                prop_assert_eq!(up, oracle.children.iter().map(|(_, up, _)| *up).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn with_waits_no_child_lives_twice_and_no_window_holds_too_many_restarts(
        concern in prop_oneof![Just(Concern::OneForOne), Just(Concern::RestForOne)],
        max_restarts in 0..5u32,
        kinds in prop::collection::vec(restart(), 1..=5),
        steps in prop::collection::vec(step(), 0..40),
        seed in any::<u64>(),
    ) {
        let within = Duration::from_secs(10);
        let backoff = Backoff { first: Duration::from_secs(1), cap: within, reset_after: within };
        let mut policy = Supervision::new(concern, Intensity { max_restarts, within }, backoff, Stream::new(seed));
        let keys: Vec<_> = kinds.iter().map(|kind| policy.add(*kind)).collect();
        for child in &keys {
            policy.on_event(Event::Started { child: *child }, Duration::ZERO);
        }
        let (mut now, mut timers, mut restarts) = (Duration::ZERO, Vec::<(Duration, Ticket)>::new(), Vec::new());
        for step in steps {
            let mut events = Vec::new();
            match step {
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    events.extend(timers.extract_if(.., |(at, _)| *at <= now).map(|(_, ticket)| Event::Due { ticket }));
                }
                Step::Exit(place, cause) if place < keys.len() => events.push(Event::Exited { child: keys[place], cause }),
                Step::Break(_) | Step::Exit(..) => {}
            }
            for event in events {
                let before: Vec<_> = keys.iter().filter(|key| policy.is_up(**key)).copied().collect();
                let failed = if let Event::Exited { child, .. } = &event { Some(*child) } else { None };
                for decision in policy.on_event(event, now) {
                    match decision {
                        Decision::Stop(child) => prop_assert!(before.contains(&child) && failed != Some(child)),
                        Decision::Start(child) => {
                            prop_assert!(!before.contains(&child));
                            policy.on_event(Event::Started { child }, now);
                        }
                        Decision::Restart(plan) => {
                            prop_assert!(plan.delay < within && plan.restarting.iter().all(|child| !policy.is_up(*child)));
                            timers.push((now + plan.delay, plan.ticket));
                            restarts.push(now);
                            let recent = restarts.iter().filter(|then| **then + within >= now).count();
                            prop_assert!(recent <= max_restarts as usize);
                        }
                        Decision::Forget(_) => {}
                        Decision::GiveUp { .. } => return Ok(()),
                    }
                }
            }
        }
    }
}
