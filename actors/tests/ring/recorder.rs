//! An observer that remembers.

use std::sync::{Mutex, OnceLock};

use stateset_actors::protocol::{Evaluation, LearnerMsg, Observer, Port, RunFinished};
use stateset_domain::{Purpose, StepMetrics};
use tokio::sync::Notify;

/// Remembers a run, as the files of a run directory would.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) restored: Mutex<Vec<u64>>,
    pub(crate) steps: Mutex<Vec<StepMetrics>>,
    pub(crate) evaluations: Mutex<Vec<Evaluation>>,
    pub(crate) finished: OnceLock<RunFinished>,
    pub(crate) over: Notify,
    /// Whom to interrupt after which step.
    pub(crate) interrupt: OnceLock<(u64, Port<LearnerMsg>)>,
}

impl Observer for Recorder {
    fn on_restored(&self, step: u64) {
        self.restored.lock().unwrap().push(step);
        self.steps.lock().unwrap().retain(|row| row.step <= step);
        self.evaluations.lock().unwrap().retain(|evaluation| evaluation.at_step <= step);
    }

    fn on_step(&self, metrics: &StepMetrics) {
        self.steps.lock().unwrap().push(metrics.clone());
        if let Some((step, learner)) = self.interrupt.get()
            && *step == metrics.step
        {
            learner.send(LearnerMsg::Interrupt).unwrap();
        }
    }

    fn evaluation(&self, step: u64, purpose: Purpose) -> Option<f64> {
        let made = self.evaluations.lock().unwrap();
        made.iter().find(|made| (made.at_step, made.purpose) == (step, purpose)).map(|made| made.success_rate)
    }

    fn on_evaluation(&self, evaluation: &Evaluation) {
        self.evaluations.lock().unwrap().push(evaluation.clone());
    }

    fn on_finished(&self, finished: &RunFinished) {
        self.finished.set(finished.clone()).unwrap();
        self.over.notify_one();
    }
}
