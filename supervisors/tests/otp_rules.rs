//! The policy against a naive telling of OTP's rules, over 120,000 random histories in every `cargo test`.
#![allow(clippy::unwrap_used, reason = "panicking is how a test fails")]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use stateset_domain::Stream;
use stateset_supervisors::policy::{ChildKey, ChildRules, Decision, Event, Plan, Rules, Supervision, Ticket};
use stateset_supervisors::{AutoShutdown, Backoff, Excess, Intensity, Restart, Strategy as Concern};
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

/// A child as the oracle sees it.
struct Told {
    restart: Restart,
    significant: bool,
    /// Failures of its own that are borne, if they are counted.
    bears: Option<usize>,
    up: bool,
    present: bool,
    failures: Vec<u64>,
}

/// OTP's supervisor as one reads it in its manual: lists, searched from the front; restarts at once. New is only that a child's
/// failures may also be counted alone.
struct Oracle {
    concern: Concern,
    intensity: Intensity,
    auto_shutdown: AutoShutdown,
    children: Vec<Told>,
    broken: Vec<bool>,
    restarts: Vec<u64>,
    now: u64,
    log: Log,
    ended: bool,
}

impl Oracle {
    fn recent(&self, restarts: &[u64]) -> usize {
        restarts.iter().filter(|then| self.now - **then <= self.intensity.within.as_secs()).count()
    }

    fn end(&mut self, how: &str) {
        self.ended = true;
        self.log.push(how.into());
    }

    fn exit(&mut self, place: usize, abnormal: bool) {
        let Told { restart, up, present, .. } = self.children[place];
        if self.ended || !up || !present {
            return;
        }
        self.children[place].up = false;
        match restart {
            Restart::Temporary => {
                self.children[place].present = false;
                self.done(place);
            }
            Restart::Transient if !abnormal => self.done(place),
            Restart::Transient | Restart::Permanent => self.restart(place),
        }
    }

    fn done(&mut self, place: usize) {
        let rest = self.children.iter().any(|child| child.significant && child.up);
        let finished = match self.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => self.children[place].significant,
            AutoShutdown::AllSignificant => self.children[place].significant && !rest,
        };
        if finished {
            self.end("finishes");
        }
    }

    fn restart(&mut self, place: usize) {
        self.restarts.push(self.now);
        self.children[place].failures.push(self.now);
        let (all, alone) = (self.recent(&self.restarts), self.recent(&self.children[place].failures));
        let alone_too_often = self.children[place].bears.is_some_and(|bears| alone > bears);
        if alone_too_often || all > self.intensity.max_restarts as usize {
            return self.end("gives up");
        }
        let concerned = match self.concern {
            Concern::OneForOne => place..place + 1,
            Concern::OneForAll => 0..self.children.len(),
            Concern::RestForOne => place..self.children.len(),
        };
        for sibling in concerned.clone().rev() {
            if self.children[sibling].up {
                self.log.push(format!("-{sibling}"));
                self.children[sibling].up = false;
            }
            self.children[sibling].present &= self.children[sibling].restart != Restart::Temporary;
        }
        for sibling in concerned {
            if !self.children[sibling].present {
                continue;
            }
            if std::mem::take(&mut self.broken[sibling]) {
                return self.restart(sibling);
            }
            self.log.push(format!("+{sibling}"));
            self.children[sibling].up = true;
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
                Decision::SetAside(aside) => panic!("{aside:?}, where the supervisor gives up"),
                Decision::Finish { .. } => return self.end("finishes"),
                Decision::GiveUp { .. } => return self.end("gives up"),
            }
        }
    }

    fn end(&mut self, how: &str) {
        self.ended = true;
        self.log.push(how.into());
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

fn concern() -> impl Strategy<Value = Concern> {
    prop_oneof![Just(Concern::OneForOne), Just(Concern::OneForAll), Just(Concern::RestForOne)]
}

fn auto_shutdown() -> impl Strategy<Value = AutoShutdown> {
    prop_oneof![Just(AutoShutdown::Never), Just(AutoShutdown::AnySignificant), Just(AutoShutdown::AllSignificant)]
}

fn child() -> impl Strategy<Value = ChildRules> {
    let restart =
        prop_oneof![3 => Just(Restart::Permanent), 3 => Just(Restart::Transient), 1 => Just(Restart::Temporary)];
    let alone =
        prop::option::weighted(0.3, (0..3u32).prop_map(|max_restarts| Intensity { max_restarts, within: WITHIN }));
    let rules = (restart, any::<bool>(), alone);
    rules.prop_map(|(restart, significant, intensity)| ChildRules { restart, significant, intensity })
}

/// The children that a supervisor takes: a significant one that it refuses is an ordinary one.
fn admitted(auto_shutdown: AutoShutdown, children: Vec<ChildRules>) -> Vec<ChildRules> {
    let admit = |rules: ChildRules| {
        let significant = auto_shutdown.admit(rules.restart, rules.significant).is_ok() && rules.significant;
        ChildRules { significant, ..rules }
    };
    children.into_iter().map(admit).collect()
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

/// The window of every count.
const WITHIN: Duration = Duration::from_secs(10);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100_000) })]

    #[test]
    fn the_policy_does_what_otp_would(
        concern in concern(),
        auto_shutdown in auto_shutdown(),
        max_restarts in 0..5u32,
        children in prop::collection::vec(child(), 1..=5),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let intensity = Intensity { max_restarts, within: WITHIN };
        let children = admitted(auto_shutdown, children);
        let count = children.len();
        let told = |rules: &ChildRules| {
            let bears = rules.intensity.map(|intensity| intensity.max_restarts as usize);
            let ChildRules { restart, significant, .. } = *rules;
            Told { restart, significant, bears, up: true, present: true, failures: vec![] }
        };
        let mut oracle = Oracle {
            concern, intensity, auto_shutdown, now: 0, log: vec![], ended: false, restarts: vec![],
            children: children.iter().map(told).collect(), broken: vec![false; count],
        };
        let rules = Rules { strategy: concern, intensity, backoff: Backoff::NONE, excess: Excess::GiveUp, auto_shutdown };
        let mut policy = Supervision::new(rules, Stream::new(1));
        let keys: Vec<_> = children.iter().map(|rules| policy.add(*rules).unwrap()).collect();
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
                prop_assert_eq!(up, oracle.children.iter().map(|child| child.up).collect::<Vec<_>>());
            }
        }
    }
}

fn excess() -> impl Strategy<Value = Excess> {
    let quarantine = (0..20u64).prop_map(|seconds| Excess::Quarantine { cool_off: Duration::from_secs(seconds) });
    prop_oneof![Just(Excess::GiveUp), Just(Excess::Degrade), quarantine]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn with_waits_no_child_lives_twice_and_no_window_holds_too_many_restarts(
        concern in concern(),
        excess in excess(),
        max_restarts in 0..5u32,
        children in prop::collection::vec(child(), 1..=5),
        steps in prop::collection::vec(step(), 0..40),
        seed in any::<u64>(),
    ) {
        let backoff = Backoff { first: Duration::from_secs(1), cap: WITHIN, reset_after: WITHIN };
        let intensity = Intensity { max_restarts, within: WITHIN };
        let auto_shutdown = AutoShutdown::Never;
        let rules = Rules { strategy: concern, intensity, backoff, excess, auto_shutdown };
        let mut policy = Supervision::new(rules, Stream::new(seed));
        let keys: Vec<_> =
            admitted(auto_shutdown, children).into_iter().map(|rules| policy.add(rules).unwrap()).collect();
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
                Step::Break(place) if place < keys.len() => events.push(Event::Asked { child: keys[place] }),
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
                            prop_assert!(plan.delay < WITHIN && plan.restarting.iter().all(|child| !policy.is_up(*child)));
                            timers.push((now + plan.delay, plan.ticket));
                            if failed.is_some() {
                                restarts.push(now);
                            }
                            let recent = restarts.iter().filter(|then| **then + WITHIN >= now).count();
                            prop_assert!(recent <= max_restarts as usize);
                        }
                        Decision::SetAside(aside) => {
                            prop_assert!(excess != Excess::GiveUp && !policy.is_up(aside.child));
                            timers.extend(aside.quarantine.map(|(ticket, wait)| (now + wait, ticket)));
                            restarts.clear();
                        }
                        Decision::Forget(_) => {}
                        Decision::Finish { .. } => prop_assert!(false, "nobody is significant here"),
                        Decision::GiveUp { .. } => {
                            prop_assert_eq!(excess, Excess::GiveUp);
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}
