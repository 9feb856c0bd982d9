//! From a run's records to its result: `summary.json` and `report.html`.

use std::time::Duration;

use anyhow::{Context, Result};
use stateset_actors::policy::HealthStatus;
use stateset_actors::protocol::{Evaluation, FinishReason, RunFinished};
use stateset_domain::Purpose;
use stateset_telemetry::{Event, JsonLines, MetricsLog};

use super::recorder::read_evaluations;
use crate::config::Config;
use crate::report::{Measure, Pair, Report, Summary};
use crate::run_folder::{RunFiles, write_whole};

/// What is known at the end that is in no file.
pub(super) struct Measured<'a> {
    /// Seed of the run.
    pub(super) seed: u64,
    /// How it ended.
    pub(super) finished: &'a RunFinished,
    /// How long it took.
    pub(super) wall: Duration,
    /// How it was doing.
    pub(super) health: HealthStatus,
}

/// Conversations shown side by side.
const PAIRS: usize = 6;

pub(super) fn conclude(files: &RunFiles, config: &Config, measured: &Measured<'_>) -> Result<Summary> {
    let evaluations = read_evaluations(&files.evaluations())?;
    let events = JsonLines::read(&files.events())?;
    let restarts = events.iter().filter(|timed| matches!(timed.event, Event::RestartScheduled { .. })).count();
    let finished = measured.finished;
    let trained = finished.step > 0 && finished.reason != FinishReason::Interrupted;
    let summary = Summary {
        seed: measured.seed,
        steps: finished.step,
        reason: finished.said.clone(),
        health: measured.health.clone(),
        wall_seconds: measured.wall.as_secs_f64(),
        base: measure(&evaluations, 0),
        trained: measure(&evaluations, finished.step).filter(|_| trained),
        policy_digest: finished.policy_digest,
        restarts: restarts as u64,
        episodes_completed: finished.episodes.completed,
        episodes_failed: finished.episodes.failed,
        episodes_lost: finished.episodes.lost(),
        episodes_duplicated: finished.episodes.duplicated,
    };
    write_whole(&files.summary(), &format!("{}\n", serde_json::to_string_pretty(&summary)?))?;
    let report = Report {
        name: &config.run.name,
        summary: &summary,
        metrics: &MetricsLog::read(&files.metrics())?,
        events: &events,
        conversations: &pairs(&evaluations, finished.step),
        config: &config.to_yaml(),
    };
    write_whole(&files.report(), &report.render())?;
    Ok(summary)
}

fn find(evaluations: &[Evaluation], step: u64, purpose: Purpose) -> Option<&Evaluation> {
    evaluations.iter().find(|evaluation| evaluation.at_step == step && evaluation.purpose == purpose)
}

fn measure(evaluations: &[Evaluation], step: u64) -> Option<Measure> {
    let sampled = find(evaluations, step, Purpose::EvaluateSampled)?;
    let greedy = find(evaluations, step, Purpose::EvaluateGreedy)?;
    Some(Measure {
        episodes: sampled.episodes,
        success_rate: sampled.success_rate,
        success_rate_greedy: greedy.success_rate,
        reward_mean: sampled.reward_mean,
    })
}

fn pairs(evaluations: &[Evaluation], step: u64) -> Vec<Pair> {
    let samples = |step| find(evaluations, step, Purpose::EvaluateSampled).map_or(&[][..], |found| &found.samples);
    let (before, after) = (samples(0), samples(step));
    let same = |scenario: &str| after.iter().find(|trajectory| trajectory.scenario == scenario);
    let pair = |trajectory: &stateset_domain::Trajectory| {
        let scenario = trajectory.scenario.clone();
        let after = same(&scenario)?.into();
        Some(Pair { scenario, before: trajectory.into(), after })
    };
    before.iter().filter_map(pair).take(PAIRS).collect::<Vec<Pair>>()
}

/// The result of a finished run.
///
/// # Errors
/// If it has none yet, or the file cannot be read.
pub fn read_result(files: &RunFiles) -> Result<Summary> {
    let path = files.summary();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_paired_with_the_same_scenario_only() {
        let trajectory = |scenario: &str| {
            let group = stateset_domain::GroupId { purpose: Purpose::EvaluateSampled, step: 0, index: 0 };
            stateset_domain::Trajectory::new(stateset_domain::EpisodeId { group, member: 0 }, scenario)
        };
        let evaluation = |at_step, scenarios: &[&str]| Evaluation {
            at_step,
            purpose: Purpose::EvaluateSampled,
            episodes: 2,
            failed: 0,
            success_rate: 0.5,
            reward_mean: 0.5,
            reward_std: 0.5,
            samples: scenarios.iter().map(|scenario| trajectory(scenario)).collect(),
        };
        let evaluations = [evaluation(0, &["a", "b"]), evaluation(4, &["b", "c"])];
        let scenarios: Vec<String> = pairs(&evaluations, 4).into_iter().map(|pair| pair.scenario).collect();
        assert_eq!(scenarios, ["b"]);
    }
}
