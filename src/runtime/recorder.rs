//! Writes a run down as it happens, and tells whoever listens.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use stateset_actors::protocol::{Evaluation, Observer, RunFinished};
use stateset_domain::{Purpose, StepMetrics};
use stateset_telemetry::MetricsLog;
use tokio::sync::oneshot;

use crate::run_folder::{RunFiles, write_whole};

/// So many of the newest evaluations are kept with their conversations, and the first; the others are numbers.
const WITH_CONVERSATIONS: usize = 64;

/// What a listener hears of, in order.
#[derive(Debug, Clone)]
pub enum Update {
    /// The run goes on from this step; what was heard of later ones is void.
    Restored(u64),
    /// A step was taken.
    Step(StepMetrics),
    /// The policy was evaluated.
    Evaluated(Evaluation),
}

/// Hears of a run's progress. A slow listener slows the run.
pub type Listener = Arc<dyn Fn(&Update) + Send + Sync>;

/// The run's observer.
pub(crate) struct Recorder {
    state: Mutex<State>,
    listener: Option<Listener>,
}

struct State {
    metrics: MetricsLog,
    files: RunFiles,
    evaluations: Vec<Evaluation>,
    finished: Option<oneshot::Sender<RunFinished>>,
    /// The first thing that could not be written.
    failure: Option<String>,
}

impl Recorder {
    /// Goes on from what is in the folder.
    pub(crate) fn open(
        files: RunFiles,
        log_size: u64,
        listener: Option<Listener>,
        finished: oneshot::Sender<RunFinished>,
    ) -> anyhow::Result<Self> {
        let metrics = MetricsLog::append_to(&files.metrics(), log_size)?;
        let evaluations = read_evaluations(&files.evaluations())?;
        let state = State { metrics, files, evaluations, finished: Some(finished), failure: None };
        Ok(Self { state: Mutex::new(state), listener })
    }

    /// What could not be written, if anything.
    pub(crate) fn failure(&self) -> Option<String> {
        self.locked(|state| state.failure.clone())
    }

    fn locked<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, update: &Update) {
        if let Some(listener) = &self.listener {
            listener(update);
        }
    }
}

impl State {
    fn note(&mut self, written: Result<(), String>) {
        if let (Err(failure), None) = (written, &self.failure) {
            self.failure = Some(failure);
        }
    }

    /// Of the evaluation that is no longer among the newest.
    fn forget_conversations(&mut self) {
        let aged = self.evaluations.iter_mut().rev().nth(WITH_CONVERSATIONS);
        if let Some(aged) = aged.filter(|evaluation| evaluation.at_step > 0) {
            aged.samples.clear();
        }
    }

    fn write_evaluations(&mut self) {
        let lines: Result<Vec<String>, _> = self.evaluations.iter().map(serde_json::to_string).collect();
        let written = lines.map_err(|error| error.to_string()).and_then(|lines| {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            write_whole(&self.files.evaluations(), &text).map_err(|error| error.to_string())
        });
        self.note(written);
    }
}

/// Every evaluation recorded in a run's folder, in order.
pub(crate) fn read_evaluations(path: &Path) -> anyhow::Result<Vec<Evaluation>> {
    match fs::read_to_string(path) {
        Ok(text) => text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot read {}", path.display()))),
    }
}

impl Observer for Recorder {
    fn on_restored(&self, step: u64) {
        let known = self.locked(|state| {
            let cut = state.metrics.truncate_after(step).map_err(|error| error.to_string());
            state.note(cut);
            state.evaluations.retain(|evaluation| evaluation.at_step <= step);
            state.write_evaluations();
            !state.evaluations.is_empty()
        });
        if step > 0 || known {
            self.tell(&Update::Restored(step));
        }
    }

    fn on_step(&self, metrics: &StepMetrics) {
        self.locked(|state| {
            let appended = state.metrics.append(metrics).map_err(|error| error.to_string());
            state.note(appended);
        });
        self.tell(&Update::Step(metrics.clone()));
    }

    fn evaluation(&self, step: u64, purpose: Purpose) -> Option<f64> {
        let made = |evaluation: &&Evaluation| evaluation.at_step == step && evaluation.purpose == purpose;
        self.locked(|state| state.evaluations.iter().find(made).map(|evaluation| evaluation.success_rate))
    }

    fn on_evaluation(&self, evaluation: &Evaluation) {
        self.locked(|state| {
            state.evaluations.push(evaluation.clone());
            state.forget_conversations();
            state.write_evaluations();
        });
        self.tell(&Update::Evaluated(evaluation.clone()));
    }

    fn on_finished(&self, finished: &RunFinished) {
        if let Some(sender) = self.locked(|state| state.finished.take()) {
            // Nobody waits any more if the tree is already being taken down.
            let _ = sender.send(finished.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{EpisodeId, GroupId, Trajectory};

    use super::*;
    use crate::run_folder::RunFolder;

    #[test]
    fn the_first_and_the_newest_evaluations_keep_their_conversations() {
        let parent = tempfile::tempdir().unwrap();
        let files = RunFolder::create(parent.path(), "night").unwrap().files();
        let recorder = Recorder::open(files.clone(), u64::MAX, None, oneshot::channel().0).unwrap();
        let count = WITH_CONVERSATIONS as u64 + 10;
        for at_step in 0..count {
            let purpose = Purpose::EvaluateSampled;
            let group = GroupId { purpose, step: at_step, index: 0 };
            let samples = vec![Trajectory::new(EpisodeId { group, member: 0 }, "scenario")];
            let (success_rate, reward_mean, reward_std) = (0.5, 0.5, 0.5);
            recorder.on_evaluation(&Evaluation {
                at_step,
                purpose,
                episodes: 1,
                failed: 0,
                success_rate,
                reward_mean,
                reward_std,
                samples,
            });
        }
        let read = read_evaluations(&files.evaluations()).unwrap();
        let with: Vec<u64> = read.iter().filter(|it| !it.samples.is_empty()).map(|it| it.at_step).collect();
        assert_eq!(read.len() as u64, count, "their numbers are all kept");
        assert_eq!(with, std::iter::once(0).chain(10..count).collect::<Vec<_>>());
    }
}
