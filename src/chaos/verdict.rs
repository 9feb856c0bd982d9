//! Whether a run under faults kept what is guaranteed. Judged from its folder alone.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;
use stateset_domain::Digest;
use stateset_faults::Plan;
use stateset_telemetry::{Event, JsonLines, MetricsLog};

use super::calm::{Calm, expected};
use super::limits::Change;
use crate::config::{Config, load_faults};
use crate::report::Summary;
use crate::resume::Recorded;
use crate::run_folder::RunFiles;
use crate::runtime::read_result;

/// What a run left behind.
pub(crate) struct Evidence {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    pub(crate) changes: Vec<Change>,
    pub(crate) summary: Summary,
    pub(crate) events: Vec<Event>,
    /// The steps of the rows of `metrics.jsonl`.
    pub(crate) rows: Vec<u64>,
    /// The names in `checkpoints/`.
    pub(crate) checkpoints: Vec<String>,
    /// The weights of the newest checkpoint.
    pub(crate) saved: Option<Digest>,
}

/// One guarantee, and whether it held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What is guaranteed.
    pub(crate) guarantee: &'static str,
    /// Whether it held.
    pub(crate) holds: bool,
    /// What says so.
    pub(crate) evidence: String,
}

/// What is to be said of a run under faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// How many faults of each kind happened.
    pub(crate) faults: BTreeMap<String, u64>,
    /// The limits that were other ones than the configuration says.
    pub(crate) changes: Vec<Change>,
    /// Every guarantee.
    pub(crate) findings: Vec<Finding>,
}

impl Evidence {
    /// Reads the run in `files`.
    pub(crate) fn read(files: &RunFiles, changes: Vec<Change>) -> Result<Self> {
        let config = Recorded::of(files)?.config;
        let plan = load_faults(&files.faults(), config.training.steps)?;
        let entries = fs::read_dir(files.checkpoints()).context("cannot list the checkpoints")?;
        let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        Ok(Self {
            plan,
            changes,
            summary: read_result(files)?,
            events: JsonLines::read(&files.events())?.into_iter().map(|timed| timed.event).collect(),
            rows: MetricsLog::read(&files.metrics())?.iter().map(|row| row.step).collect(),
            checkpoints: entries.map(name).collect::<Result<_>>()?,
            saved: Recorded::checkpoint(files)?.map(|checkpoint| checkpoint.progress.policy_digest),
            config,
        })
    }

    fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| is(event)).count()
    }
}

impl Verdict {
    /// Judges a run, beside fault-free ones if there are any.
    pub(crate) fn of(evidence: &Evidence, calm: &[Calm]) -> Self {
        let mut faults = BTreeMap::new();
        for event in &evidence.events {
            if let Event::FaultInjected { kind, .. } = event {
                *faults.entry(kind.clone()).or_default() += 1;
            }
        }
        let findings = [ended, kept, told, stepped, bounded, acknowledged].map(|judge| judge(evidence));
        let findings = findings.into_iter().chain(learned(evidence, calm)).collect();
        Self { faults, changes: evidence.changes.clone(), findings }
    }

    /// Whether every guarantee held.
    pub(crate) fn holds(&self) -> bool {
        self.findings.iter().all(|finding| finding.holds)
    }
}

fn ended(evidence: &Evidence) -> Finding {
    let (wanted, Summary { steps, reason, restarts, .. }) = (evidence.config.training.steps, &evidence.summary);
    let processes = evidence.count(|event| matches!(event, Event::WorkerRestarted { .. }));
    // A policy that stops early for a reason has ended the run by itself, too.
    let holds = (reason == "completed" && *steps == wanted) || reason.starts_with("stopped");
    Finding {
        guarantee: "the run ends by itself",
        holds,
        evidence: format!(
            "{reason} after {steps} of {wanted} steps; {restarts} restarts of actors, {processes} of the process"
        ),
    }
}

fn kept(evidence: &Evidence) -> Finding {
    let Summary { steps, episodes_completed, episodes_failed, episodes_lost, episodes_duplicated, .. } =
        evidence.summary;
    let (groups, episodes) = evidence.config.training.sampled();
    let wanted = steps * u64::from(groups) * u64::from(episodes);
    // Groups that were made up for come on top.
    let all = wanted..=wanted * (1 + u64::from(evidence.config.training.max_resamples));
    let accounted = all.contains(&(episodes_completed + episodes_failed));
    Finding {
        guarantee: "every episode is accounted for, once",
        holds: episodes_lost == 0 && episodes_duplicated == 0 && accounted,
        evidence: format!(
            "{episodes_completed} of {wanted} learned from, {episodes_failed} given up on, {episodes_lost} lost, {episodes_duplicated} counted twice"
        ),
    }
}

fn told(evidence: &Evidence) -> Finding {
    let planned = evidence.plan.0.len();
    let mut lines = vec![0_u32; planned];
    let mut strangers = 0;
    for event in &evidence.events {
        if let Event::FaultInjected { id, .. } = event {
            match lines.get_mut(*id as usize) {
                Some(count) => *count += 1,
                None => strangers += 1,
            }
        }
    }
    let missing: Vec<String> = (0..planned)
        .filter(|id| lines[*id] == 0)
        .map(|id| format!("{id} ({} at {})", evidence.plan.0[id].kind, evidence.plan.0[id].site))
        .collect();
    let repeated = lines.iter().filter(|count| **count > 1).count();
    let never = if missing.is_empty() { String::new() } else { format!("; never came: {}", missing.join(", ")) };
    Finding {
        guarantee: "every fault has its line, once",
        holds: missing.is_empty() && repeated == 0 && strangers == 0,
        evidence: format!(
            "{} of {planned} in events.jsonl, {repeated} more than once, {strangers} unplanned{never}",
            planned - missing.len()
        ),
    }
}

fn stepped(evidence: &Evidence) -> Finding {
    let wanted: Vec<u64> = (1..=evidence.summary.steps).collect();
    Finding {
        guarantee: "every step is recorded, once",
        holds: evidence.rows == wanted,
        evidence: format!("{} rows in metrics.jsonl", evidence.rows.len()),
    }
}

fn bounded(evidence: &Evidence) -> Finding {
    let keep = evidence.config.training.keep_checkpoints;
    let whole = evidence.checkpoints.iter().filter(|name| name.starts_with("step-")).count();
    let torn = evidence.checkpoints.len() - whole;
    Finding {
        guarantee: "checkpoints are whole and bounded",
        holds: torn == 0 && (1..=keep).contains(&whole),
        evidence: format!("{whole} whole ones of at most {keep}, {torn} leftovers"),
    }
}

fn acknowledged(evidence: &Evidence) -> Finding {
    let served = evidence.events.iter().rev().find_map(|event| match event {
        Event::WeightsLoaded { digest, .. } => Some(*digest),
        _ => None,
    });
    let learned = evidence.summary.policy_digest;
    let short = |digest: Option<Digest>| {
        digest.map_or_else(|| "nothing".into(), |digest| format!("{:.12}", digest.to_string()))
    };
    Finding {
        guarantee: "what is served and saved is what was learned",
        holds: served == Some(learned) && evidence.saved == Some(learned),
        evidence: format!(
            "learned {}, served {}, saved {}",
            short(Some(learned)),
            short(served),
            short(evidence.saved)
        ),
    }
}

fn learned(evidence: &Evidence, calm: &[Calm]) -> Option<Finding> {
    let (low, high) = expected(calm)?;
    let success = evidence.summary.trained.as_ref().map(|trained| trained.success_rate);
    let found = success.map_or_else(|| "not measured".into(), |success| format!("{:.1} %", 100.0 * success));
    Some(Finding {
        guarantee: "what is learned is what a fault-free run learns",
        holds: success.is_some_and(|success| (low..=high).contains(&success)),
        evidence: format!(
            "held-out success {found}; 95 % of runs like these {} lie within {:.1} % and {:.1} %",
            calm.len(),
            100.0 * low,
            100.0 * high
        ),
    })
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.faults.values().sum();
        let kinds: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        writeln!(f, "  {total} faults: {}", kinds.join(", "))?;
        for Finding { guarantee, holds, evidence } in &self.findings {
            writeln!(f, "  {:6}  {guarantee}: {evidence}", if *holds { "holds" } else { "BROKEN" })?;
        }
        writeln!(f, "  {}", if self.holds() { "every guarantee held" } else { "a guarantee is broken" })
    }
}

#[cfg(test)]
mod tests {
    use stateset_actors::policy::HealthStatus;
    use stateset_domain::PolicyVersion;
    use stateset_faults::{Fault, Kind, Site};

    use super::*;

    fn digest(byte: u8) -> Digest {
        serde_json::from_value(format!("{byte:02x}").repeat(32).into()).unwrap()
    }

    /// A run of two steps of 2 x 2 episodes, with two faults, in which everything held.
    fn evidence() -> Evidence {
        let mut config = Config::default();
        (config.training.steps, config.training.groups_per_step, config.training.group_size) = (2, 2, 2);
        let fault = |id, kind: Kind| Event::FaultInjected {
            id,
            kind: kind.to_string(),
            site: "judge".into(),
            step: 0,
            detail: String::new(),
        };
        let (plan, weights) = (vec![Fault::new(0, 1, Site::Judge, Kind::Panic); 2], digest(7));
        Evidence {
            config,
            plan: Plan(plan),
            changes: Vec::new(),
            summary: Summary { steps: 2, policy_digest: weights, episodes_completed: 7, episodes_failed: 1, ..blank() },
            events: vec![
                fault(1, Kind::Panic),
                fault(0, Kind::Panic),
                Event::WeightsLoaded { version: PolicyVersion(2), digest: weights },
            ],
            rows: vec![1, 2],
            checkpoints: vec!["step-000001".into(), "step-000002".into()],
            saved: Some(weights),
        }
    }

    fn blank() -> Summary {
        Summary {
            seed: 0,
            steps: 0,
            reason: "completed".into(),
            wall_seconds: 0.0,
            base: None,
            trained: None,
            policy_digest: digest(0),
            restarts: 0,
            episodes_completed: 0,
            episodes_failed: 0,
            episodes_lost: 0,
            episodes_duplicated: 0,
            health: HealthStatus::default(),
        }
    }

    fn broken(damage: impl Fn(&mut Evidence)) -> Vec<&'static str> {
        let mut evidence = evidence();
        damage(&mut evidence);
        let verdict = Verdict::of(&evidence, &[]);
        verdict.findings.iter().filter(|finding| !finding.holds).map(|finding| finding.guarantee).collect()
    }

    #[test]
    fn a_run_that_kept_everything_is_told_so() {
        assert_eq!(broken(|_| {}), [""; 0]);
        let told = Verdict::of(&evidence(), &[]).to_string();
        assert!(told.contains("2 faults: 2 panic") && told.contains("every guarantee held"), "{told}");
    }

    #[test]
    fn each_guarantee_can_be_broken_alone() {
        assert_eq!(broken(|run| run.summary.reason = "interrupted".into()), ["the run ends by itself"]);
        assert_eq!(broken(|run| run.summary.episodes_lost = 1), ["every episode is accounted for, once"]);
        assert_eq!(broken(|run| run.summary.episodes_completed = 6), ["every episode is accounted for, once"]);
        assert_eq!(broken(|run| drop(run.events.remove(0))), ["every fault has its line, once"]);
        assert_eq!(broken(|run| run.events.push(run.events[0].clone())), ["every fault has its line, once"]);
        assert_eq!(broken(|run| run.rows.push(2)), ["every step is recorded, once"]);
        assert_eq!(broken(|run| run.checkpoints.push(".writing-000002".into())), ["checkpoints are whole and bounded"]);
        assert_eq!(broken(|run| run.saved = None), ["what is served and saved is what was learned"]);
    }

    #[test]
    fn a_run_is_held_against_fault_free_ones() {
        let calm = [Calm { success: 0.9, episodes: 256 }];
        let verdict = Verdict::of(&evidence(), &calm);
        assert!(!verdict.holds(), "it was not even measured");
        let mut evidence = evidence();
        let measure = |success_rate| crate::report::Measure {
            episodes: 256,
            success_rate,
            success_rate_greedy: 1.0,
            reward_mean: 1.0,
        };
        for (success, holds) in [(0.91, true), (0.7, false)] {
            evidence.summary.trained = Some(measure(success));
            assert_eq!(Verdict::of(&evidence, &calm).holds(), holds);
        }
    }
}
