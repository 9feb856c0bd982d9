//! How far a run has come: a live bar on a terminal, plain lines in a pipe.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stateset_actors::protocol::{Evaluation, Vitals};
use stateset_domain::{Purpose, StepMetrics};

use crate::{Runtime, Update};

/// Shows a run's progress on standard error.
pub struct Progress {
    bar: ProgressBar,
    live: bool,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    last: Option<StepMetrics>,
    tokens_per_second: f64,
    restarts: u64,
}

const TEMPLATE: &str = "{prefix:>10} {bar:28.cyan/blue} {pos}/{len}  {msg}  ETA {eta}";
const TICK: Duration = Duration::from_millis(250);
/// Ticks over which the rate is taken: ten seconds, so that rollouts and optimizer steps both have their say.
const RECENT: usize = 40;

impl Progress {
    /// Nothing is shown yet.
    #[must_use]
    pub fn new() -> Self {
        let live = io::stderr().is_terminal();
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        Self { bar, live, shown: Mutex::default() }
    }

    /// Announces the run.
    pub fn begin(&self, runtime: &Runtime) {
        let config = runtime.config();
        let training = &config.training;
        self.note(&format!(
            "{} (seed {}): {} steps of {} in {}",
            config.run.name,
            config.run.seed,
            training.steps,
            training.diet(),
            runtime.files().folder().display()
        ));
        self.bar.set_length(training.steps);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            self.bar.set_style(style.progress_chars("━╸─"));
        }
        self.bar.set_prefix("evaluating");
        self.bar.enable_steady_tick(TICK);
    }

    /// Takes the bar off the screen.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints a line above the bar.
    pub fn note(&self, line: &str) {
        if self.live {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    /// A writer whose lines appear above the bar.
    pub fn writer(self: &Arc<Self>) -> impl Write + use<> {
        Lines { progress: self.clone(), pending: Vec::new() }
    }

    /// Shows what happened.
    pub fn tell(&self, update: &Update) {
        match update {
            Update::Restored(step) => {
                self.bar.set_position(*step);
                self.bar.reset_eta();
                self.note(&format!("going on from step {step}"));
            }
            Update::Step(metrics) => self.step(metrics),
            Update::Evaluated(evaluation) => self.note(&evaluated(evaluation)),
        }
    }

    fn step(&self, metrics: &StepMetrics) {
        self.bar.set_prefix("training");
        self.bar.set_position(metrics.step);
        self.locked(|shown| shown.last = Some(metrics.clone()));
        let line = self.line();
        self.bar.set_message(line.clone());
        if !self.live {
            eprintln!("step {:>4}/{}  {line}", metrics.step, self.bar.length().unwrap_or(0));
        }
    }

    fn line(&self) -> String {
        self.locked(|shown| {
            let Some(metrics) = &shown.last else { return String::new() };
            let rate = shown.tokens_per_second;
            let rate = if rate > 0.0 { format!("  {:.1}k tok/s", rate / 1000.0) } else { String::new() };
            let learner = &metrics.learner;
            // Without episodes there is nothing to succeed in.
            let standing = match metrics.reward_mean.is_nan() {
                true => format!("loss {:.4}  entropy {:.3}", learner.loss, learner.entropy),
                false => {
                    let success = 100.0 * metrics.success_rate;
                    format!("success {success:3.0} %  reward {:.3}  kl {:.4}", metrics.reward_mean, learner.kl)
                }
            };
            format!("{standing}{rate}  restarts {}", shown.restarts)
        })
    }

    /// Reads the counters now and then, which works even while every mailbox is stuck.
    pub async fn watch(self: Arc<Self>, vitals: Arc<Vitals>, restarts: impl Fn() -> u64 + Send + Sync) {
        let mut readings = VecDeque::from([(Instant::now(), vitals.read().tokens)]);
        loop {
            tokio::time::sleep(TICK).await;
            let (now, tokens) = (Instant::now(), vitals.read().tokens);
            let (then, before) = if readings.len() < RECENT { readings.front().copied() } else { readings.pop_front() }
                .unwrap_or((now, tokens));
            readings.push_back((now, tokens));
            self.locked(|shown| {
                shown.tokens_per_second = (tokens - before) as f64 / (now - then).as_secs_f64();
                shown.restarts = restarts();
            });
            self.bar.set_message(self.line());
        }
    }

    fn locked<R>(&self, f: impl FnOnce(&mut Shown) -> R) -> R {
        f(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

fn evaluated(evaluation: &Evaluation) -> String {
    let how = match evaluation.purpose {
        Purpose::EvaluateGreedy => "greedy",
        Purpose::EvaluateSampled | Purpose::Train => "sampled",
    };
    format!(
        "step {:>4}  held-out {how:<7} success {:5.1} %  reward {:.3}  ({} episodes)",
        evaluation.at_step,
        100.0 * evaluation.success_rate,
        evaluation.reward_mean,
        evaluation.episodes
    )
}

/// Gathers bytes into lines.
struct Lines {
    progress: Arc<Progress>,
    pending: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).trim_end().to_owned();
        if !text.is_empty() {
            self.progress.note(&text);
        }
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Into memory and onto the screen; neither fails.
        let _ = self.flush();
    }
}
