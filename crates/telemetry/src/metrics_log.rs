//! Per-step metrics as JSON lines.

use std::path::Path;

use serde::Deserialize;
use stateset_domain::StepMetrics;

use crate::LogError;
use crate::json_lines::parse;
use crate::log_file::LogFile;

/// `metrics.jsonl`: a row for every optimizer step, in order.
#[derive(Debug)]
pub struct MetricsLog {
    file: LogFile,
}

impl MetricsLog {
    /// Appends to `path`, making it if need be, and lets the oldest rows go when there are more than `limit` bytes.
    ///
    /// # Errors
    /// [`LogError::Io`] if the file cannot be opened.
    pub fn append_to(path: &Path, limit: u64) -> Result<Self, LogError> {
        Ok(Self { file: LogFile::open(path, limit)? })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`LogError::Io`] if it cannot be written.
    pub fn append(&mut self, metrics: &StepMetrics) -> Result<(), LogError> {
        self.file.append(serde_json::to_string(metrics).expect("numbers and booleans always serialise"))
    }

    /// Drops the rows of every step after `step`: the run has gone back to it and will write them again.
    ///
    /// # Errors
    /// [`LogError::Io`] if the file cannot be rewritten; it is then as it was.
    pub fn truncate_after(&mut self, step: u64) -> Result<(), LogError> {
        self.file.retain(|line| serde_json::from_str::<Row>(line).is_ok_and(|row| row.step <= step))
    }

    /// Every row that is still there, in order; a row cut short by a crash is left out.
    ///
    /// # Errors
    /// [`LogError`] if the file cannot be read, or a whole line is not a row.
    pub fn read(path: &Path) -> Result<Vec<StepMetrics>, LogError> {
        parse(path)
    }
}

#[derive(Deserialize)]
struct Row {
    step: u64,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use stateset_domain::{PolicyVersion, StepReport};
    use tempfile::TempDir;

    use super::*;

    fn row(step: u64) -> StepMetrics {
        StepMetrics {
            step,
            policy_version: PolicyVersion(step),
            reward_mean: 0.1 * step as f64,
            reward_std: 0.5,
            success_rate: 0.25,
            episodes_failed: 0,
            rollout_tokens: 4096,
            rollout_seconds: 1.5,
            train_seconds: 0.5,
            learner: StepReport { loss: -0.01, lr: 3e-4, ..StepReport::default() },
        }
    }

    fn log_of(steps: u64) -> (TempDir, PathBuf, MetricsLog) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = MetricsLog::append_to(&path, u64::MAX).unwrap();
        (1..=steps).for_each(|step| log.append(&row(step)).unwrap());
        (folder, path, log)
    }

    #[test]
    fn rows_beyond_the_restored_step_are_cut_and_written_again() {
        let (_folder, path, mut log) = log_of(5);
        log.truncate_after(3).unwrap();
        log.append(&row(4)).unwrap();
        assert_eq!(MetricsLog::read(&path).unwrap(), [row(1), row(2), row(3), row(4)]);
    }

    #[test]
    fn a_run_that_goes_back_behind_a_full_log_cuts_both_its_halves() {
        let (_folder, path, _) = log_of(0);
        let size = serde_json::to_string(&row(1)).unwrap().len() as u64 + 20;
        let mut log = MetricsLog::append_to(&path, 8 * size).unwrap();
        (1..=7).for_each(|step| log.append(&row(step)).unwrap());
        log.truncate_after(2).unwrap();
        log.append(&row(3)).unwrap();
        assert_eq!(MetricsLog::read(&path).unwrap(), [row(1), row(2), row(3)]);
    }

    #[test]
    fn a_row_torn_by_a_crash_is_dropped() {
        let (_folder, path, log) = log_of(2);
        drop(log);
        let mut text = fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 9);
        fs::write(&path, text).unwrap();
        assert_eq!(MetricsLog::read(&path).unwrap(), [row(1)]);
        MetricsLog::append_to(&path, u64::MAX).unwrap().append(&row(2)).unwrap();
        assert_eq!(MetricsLog::read(&path).unwrap(), [row(1), row(2)]);
    }

    #[test]
    fn a_step_that_was_not_finite_can_be_read_back() {
        let (_folder, path, mut log) = log_of(0);
        let report = StepReport { loss: f64::NAN, grad_norm: f64::INFINITY, skipped: true, ..StepReport::default() };
        log.append(&StepMetrics { learner: report, ..row(1) }).unwrap();
        let read = MetricsLog::read(&path).unwrap();
        assert!(read[0].learner.loss.is_nan() && read[0].learner.grad_norm.is_nan() && read[0].learner.skipped);
    }

    #[test]
    fn a_log_that_was_never_written_has_no_rows() {
        assert_eq!(MetricsLog::read(Path::new("no/such/metrics.jsonl")).unwrap(), []);
    }
}
