//! The breaker's states and what leads from one to the next.

use std::time::Duration;

use stateset_domain::{BreakerState, Stream};

use super::{BreakerSettings, Reason, Refused, Transition};
use crate::Tally;
use crate::window::Outcomes;

#[derive(Debug)]
enum Phase {
    Closed,
    Open {
        until: Duration,
    },
    HalfOpen {
        /// Probes without a result so far.
        out: u32,
        /// Those with one.
        tally: Tally,
    },
    ForcedOpen,
    ForcedClosed,
}

#[derive(Debug)]
pub(super) struct Machine {
    settings: BreakerSettings,
    random: Stream,
    phase: Phase,
    /// Counts changes of state, so that a result of before one is known for it.
    generation: u64,
    /// Openings since it was last closed.
    openings: u32,
    outcomes: Outcomes,
}

impl Machine {
    pub(super) fn new(settings: BreakerSettings, random: Stream) -> Self {
        let outcomes = Outcomes::new(settings.window);
        Self { settings, random, phase: Phase::Closed, generation: 0, openings: 0, outcomes }
    }

    /// The generation that a call at `now` belongs to, if it may be made.
    pub(super) fn admit(&mut self, now: Duration) -> (Result<u64, Refused>, Option<Transition>) {
        let transition = match self.phase {
            Phase::Open { until } if now >= until => {
                let probing = Phase::HalfOpen { out: 0, tally: Tally::default() };
                Some(self.enter(probing, Tally::default(), Reason::OpenTimeOver))
            }
            _ => None,
        };
        let again = Refused { wait: self.settings.open };
        let admitted = match &mut self.phase {
            Phase::Closed | Phase::ForcedClosed => Ok(self.generation),
            Phase::HalfOpen { out, tally } if *out + tally.calls < self.settings.probes => {
                *out += 1;
                Ok(self.generation)
            }
            Phase::HalfOpen { .. } | Phase::ForcedOpen => Err(again),
            Phase::Open { until } => Err(Refused { wait: until.saturating_sub(now) }),
        };
        (admitted, transition)
    }

    /// A call of `generation` has a result.
    pub(super) fn settle(
        &mut self,
        generation: u64,
        failed: bool,
        took: Duration,
        now: Duration,
    ) -> Option<Transition> {
        if generation != self.generation {
            return None;
        }
        let call = Tally::one(failed, took >= self.settings.slow_call);
        match &mut self.phase {
            Phase::Closed => {
                self.outcomes.count(call, now);
                let tally = self.outcomes.tally(now);
                if tally.calls < self.settings.min_calls {
                    return None;
                }
                let reason = self.verdict(tally, [Reason::Failures, Reason::Slowness])?;
                Some(self.open(now, tally, reason))
            }
            Phase::HalfOpen { out, tally } => {
                *out -= 1;
                *tally += call;
                let tally = *tally;
                if tally.calls < self.settings.probes {
                    return None;
                }
                Some(match self.verdict(tally, [Reason::ProbesFailed, Reason::ProbesSlow]) {
                    Some(reason) => self.open(now, tally, reason),
                    None => self.enter(Phase::Closed, tally, Reason::ProbesPassed),
                })
            }
            Phase::Open { .. } | Phase::ForcedOpen | Phase::ForcedClosed => None,
        }
    }

    /// A call of `generation` will never have a result.
    pub(super) fn abandon(&mut self, generation: u64) {
        if let Phase::HalfOpen { out, .. } = &mut self.phase
            && generation == self.generation
        {
            *out -= 1;
        }
    }

    pub(super) fn force(&mut self, state: BreakerState) -> Option<Transition> {
        let phase = if state == BreakerState::ForcedOpen { Phase::ForcedOpen } else { Phase::ForcedClosed };
        (self.state() != state).then(|| self.enter(phase, Tally::default(), Reason::Forced))
    }

    pub(super) fn release(&mut self) -> Option<Transition> {
        matches!(self.phase, Phase::ForcedOpen | Phase::ForcedClosed)
            .then(|| self.enter(Phase::Closed, Tally::default(), Reason::Released))
    }

    pub(super) fn look(&mut self, now: Duration) -> (BreakerState, Tally, Duration) {
        let (tally, left) = match self.phase {
            Phase::HalfOpen { tally, .. } => (tally, Duration::ZERO),
            Phase::Open { until } => (Tally::default(), until.saturating_sub(now)),
            Phase::Closed | Phase::ForcedOpen | Phase::ForcedClosed => (self.outcomes.tally(now), Duration::ZERO),
        };
        (self.state(), tally, left)
    }

    /// Which of the two rates is too high, if one is.
    fn verdict(&self, tally: Tally, [failures, slowness]: [Reason; 2]) -> Option<Reason> {
        if tally.failure_rate() >= self.settings.failure_rate {
            Some(failures)
        } else if tally.slow_rate() >= self.settings.slow_rate {
            Some(slowness)
        } else {
            None
        }
    }

    fn open(&mut self, now: Duration, tally: Tally, reason: Reason) -> Transition {
        let BreakerSettings { open, open_max, .. } = self.settings;
        let ceiling = open.saturating_mul(1 << self.openings.min(31)).min(open_max);
        self.openings += 1;
        // Half of it is certain: a breaker that may open for no time at all protects nobody.
        let open_for = ceiling.mul_f64(0.5 + 0.5 * self.random.uniform());
        let transition = self.enter(Phase::Open { until: now.saturating_add(open_for) }, tally, reason);
        Transition { open_for: Some(open_for), ..transition }
    }

    fn enter(&mut self, phase: Phase, tally: Tally, reason: Reason) -> Transition {
        let from = self.state();
        self.phase = phase;
        self.generation += 1;
        self.outcomes.clear();
        if !matches!(self.phase, Phase::Open { .. } | Phase::HalfOpen { .. }) {
            self.openings = 0;
        }
        Transition { from, to: self.state(), tally, reason, open_for: None }
    }

    fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::ForcedOpen => BreakerState::ForcedOpen,
            Phase::ForcedClosed => BreakerState::ForcedClosed,
        }
    }
}
