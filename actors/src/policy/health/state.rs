//! The health of a run: looks at every step, and decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stateset_domain::{Adjustments, Directive, EpisodeId, Purpose, Ruling, StepMetrics, Stream};

use super::expression::{Condition, Known};
use super::rule::{Finding, Rule, Standing};
use super::settings::{Configured, carry_out};
use super::signals::{Beside, LOOKED_BACK_ON, Memory, Signals};
use super::statistics::Past;
use super::status::{HealthIssue, HealthLevel, HealthStatus};
use super::stopping::{EarlyStopping, Progressing};
use crate::policy::{Place, Plan, Task};

/// What is decided when: fixed for a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policies {
    /// The rules, in the order in which they are asked.
    pub rules: Vec<Rule>,
    /// When a run ends that has stopped getting better; `None`: never.
    pub early_stopping: Option<EarlyStopping>,
    /// Episodes that a step asks for.
    pub episodes_per_step: u64,
    /// Groups that they are in.
    pub groups_per_step: u64,
    /// The settings that directives change.
    pub configured: Configured,
}

/// What is remembered from step to step. A part of every checkpoint, so that a run that goes on decides as if it had never stopped.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Steps looked at, those that were taken back included.
    looks: u64,
    memory: Memory,
    past: Past,
    standings: BTreeMap<String, Standing>,
    progressing: Progressing,
    /// The step whose evaluation was looked at last.
    evaluated: Option<u64>,
    /// How the settings differ from the configured ones.
    pub adjustments: Adjustments,
    /// How often the run has gone back. Training episodes draw other random numbers after each time.
    pub rewinds: u64,
    /// A step at which the policy is to be evaluated though none is due.
    pub evaluate_at: Option<u64>,
    /// Why the run is to end, once it is.
    pub stopped: Option<String>,
    /// A rule that acts has something against the policy as it is now.
    pub doubtful: bool,
}

/// What becomes of a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// What was decided, and why.
    pub rulings: Vec<Ruling>,
    /// How the run is doing.
    pub status: HealthStatus,
    /// The step is to be taken back.
    pub skip: bool,
    /// The run is to go back to this step, or further.
    pub rewind: Option<u64>,
    /// The run is to wait.
    pub pause: Option<Duration>,
}

impl Policies {
    /// Whether a step may have to be taken back.
    #[must_use]
    pub fn may_skip(&self) -> bool {
        self.rules.iter().any(|rule| rule.acts && rule.directives.contains(&Directive::SkipStep))
    }

    /// Signals that a rule looks back on.
    fn looked_back_on(&self) -> BTreeSet<&str> {
        let conditions = self.rules.iter().flat_map(|rule| [Some(&rule.when), rule.clear.as_ref()]).flatten();
        conditions.flat_map(Condition::looks_back_on).chain(LOOKED_BACK_ON).collect()
    }
}

impl Health {
    /// Looks at a step that was just taken.
    pub fn examine(&mut self, policies: &Policies, metrics: &StepMetrics, beside: Beside) -> Verdict {
        self.looks += 1;
        let asked = |planned: u64| beside.rounds * planned as f64;
        let (episodes, groups) = (asked(policies.episodes_per_step), asked(policies.groups_per_step));
        let mut signals = self.memory.look(metrics, episodes, groups, &self.past);
        signals.extend(beside.signals());
        let now = |name: &str| signals.get(name).copied().unwrap_or(f64::NAN);
        let mut verdict = Verdict::default();
        verdict.status.step = metrics.step;
        self.doubtful = false;
        for rule in &policies.rules {
            let standing = self.standings.entry(rule.name.clone()).or_default();
            let known = Known { now: &now, past: &self.past };
            let finding = standing.look(rule, &known, self.looks, metrics.step);
            self.doubtful |= standing.doubted > 0 && rule.doubts();
            if let Some(since_step) = standing.since {
                note(&mut verdict.status, rule, finding, since_step, &signals);
            }
            let directives = match finding {
                Finding::Quiet | Finding::Lasting => continue,
                Finding::Fires if rule.acts => rule.directives.clone(),
                Finding::Fires => vec![Directive::Report],
                Finding::Exhausted if rule.acts && rule.directives.contains(&Directive::Rewind) => {
                    vec![Directive::Stop {
                        reason: format!("{} is still so after the run has gone back {} times", rule.name, rule.max),
                    }]
                }
                Finding::Exhausted => continue,
            };
            // A step shows what the step before it did to the policy; so the policy that two steps before led to was still well.
            let well = (metrics.step + 1).saturating_sub(standing.held.max(standing.doubted) + 2);
            let mut actions = Vec::new();
            for directive in &directives {
                actions.push(carry_out(directive, &policies.configured, &mut self.adjustments, metrics.learner.lr));
                self.course(directive, metrics.step, well, &mut verdict);
            }
            verdict.rulings.push(Ruling {
                rule: rule.name.clone(),
                step: metrics.step,
                when: rule.when.to_string(),
                evidence: evidence(rule, &signals),
                actions,
            });
        }
        for name in policies.looked_back_on() {
            self.past.entry(name.to_owned()).or_default().push(now(name));
        }
        verdict.status.metrics = signals.into_iter().filter(|(_, value)| value.is_finite()).collect();
        verdict
    }

    /// What `directive` means for where the run goes next.
    fn course(&mut self, directive: &Directive, step: u64, well: u64, verdict: &mut Verdict) {
        match directive {
            Directive::SkipStep => verdict.skip = true,
            Directive::Rewind => verdict.rewind = Some(verdict.rewind.map_or(well, |other| other.min(well))),
            Directive::Evaluate => self.evaluate_at = Some(step),
            Directive::Pause { seconds } => verdict.pause = Some(Duration::from_secs_f64(*seconds)),
            Directive::Stop { reason } => self.stopped = self.stopped.take().or_else(|| Some(reason.clone())),
            Directive::Report
            | Directive::ScaleLr(_)
            | Directive::ScaleKl(_)
            | Directive::SetKl { .. }
            | Directive::ScaleTemperature(_)
            | Directive::TightenStaleness => {}
        }
    }

    /// Looks at a sampled evaluation of the policy after `step`, once.
    pub fn evaluated(&mut self, policies: &Policies, step: u64, success_rate: f64) -> Option<Ruling> {
        if self.evaluated.is_some_and(|last| step <= last) {
            return None;
        }
        self.evaluated = Some(step);
        self.memory.evaluated(success_rate);
        let reason = self.progressing.look(policies.early_stopping.as_ref()?, step, success_rate)?;
        let stop = Directive::Stop { reason: reason.clone() };
        self.stopped = self.stopped.take().or(Some(reason));
        Some(Ruling {
            rule: "early_stopping".into(),
            step,
            when: "held-out success does not improve".into(),
            evidence: BTreeMap::from([("held_out_success".into(), Some(success_rate))]),
            actions: vec![carry_out(&stop, &policies.configured, &mut self.adjustments, 0.0)],
        })
    }

    /// What comes next: what `plan` says, but that a run that is to end does, and that an evaluation that was asked for is made.
    pub fn next(&self, plan: &Plan, step: u64, evaluated: impl Fn(Purpose) -> bool) -> Task {
        let steps = if self.stopped.is_some() { step.min(plan.steps) } else { plan.steps };
        let asked = self.evaluate_at == Some(step) && plan.eval_episodes > 0;
        match (Plan { steps, ..plan.clone() }).next(step, &evaluated) {
            task @ (Task::Train | Task::Finish) if asked => {
                let missing = Purpose::EVALUATIONS.into_iter().find(|purpose| !evaluated(*purpose));
                missing.map_or(task, Task::Evaluate)
            }
            task => task,
        }
    }

    /// The last step whose round may begin after `step`: as `plan` says, with the staleness as adjusted.
    #[must_use]
    pub fn horizon(&self, plan: &Plan, step: u64) -> u64 {
        let max_staleness = self.adjustments.max_staleness.unwrap_or(plan.max_staleness);
        (Plan { max_staleness, ..plan.clone() }).horizon(step)
    }

    /// Where `episode` takes place: where `plan` says, at the temperature as adjusted if it is trained on.
    #[must_use]
    pub fn place(&self, plan: &Plan, episode: EpisodeId) -> Place {
        let mut place = plan.place(episode);
        if let (Purpose::Train, Some(temperature)) = (episode.group.purpose, self.adjustments.temperature) {
            place.sampling.temperature = temperature;
        }
        place
    }

    /// The seed of what `episode` samples. A run that goes back draws other numbers the next time, or the same steps would lead to the
    /// same place; evaluations always draw the same, to be comparable.
    #[must_use]
    pub fn seed(&self, plan: &Plan, episode: EpisodeId) -> u64 {
        match (episode.group.purpose, self.rewinds) {
            (Purpose::EvaluateSampled | Purpose::EvaluateGreedy, _) | (Purpose::Train, 0) => plan.seed,
            (Purpose::Train, rewinds) => Stream::new(plan.seed).fork(rewinds).at(0),
        }
    }

    /// What is remembered once the run has gone back to where `then` was remembered; `None` is its beginning. What was measured
    /// since is forgotten; what was decided is not, or it would be decided again for ever.
    #[must_use]
    pub fn rewound(self, then: Option<Self>) -> Self {
        let then = then.unwrap_or_default();
        Self {
            looks: self.looks,
            standings: self.standings.into_iter().map(|(name, standing)| (name, standing.rewound())).collect(),
            adjustments: self.adjustments,
            rewinds: self.rewinds + 1,
            evaluate_at: None,
            stopped: self.stopped,
            doubtful: false,
            ..then
        }
    }
}

fn evidence(rule: &Rule, signals: &Signals) -> BTreeMap<String, Option<f64>> {
    let value = |name: &str| signals.get(name).copied().filter(|value| value.is_finite());
    rule.when.signals().into_iter().map(|name| (name.to_owned(), value(name))).collect()
}

fn note(status: &mut HealthStatus, rule: &Rule, finding: Finding, since_step: u64, signals: &Signals) {
    let level = if rule.is_critical() { HealthLevel::Critical } else { HealthLevel::Warning };
    status.status = status.status.max(level);
    status.issues.push(HealthIssue {
        rule: rule.name.clone(),
        when: rule.when.to_string(),
        since_step,
        level,
        evidence: evidence(rule, signals),
    });
    if !rule.acts || finding == Finding::Exhausted {
        let advice = rule.directives.iter().filter(|directive| **directive != Directive::Report);
        status.recommended_actions.extend(advice.map(|directive| format!("{}: {directive}", rule.name)));
    }
}
