//! How far a download has come: a bar on a terminal, plain lines in a pipe.

use std::io::{self, IsTerminal};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::listing::Listed;

const TEMPLATE: &str = "{msg} {bar:28.cyan/blue} {bytes}/{total_bytes}  {bytes_per_sec}  ETA {eta}";

/// Shows one file's download on standard error.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Begins with `file` of `repo`.
    pub(super) fn new(repo: &str, file: &Listed) -> Self {
        let live = io::stderr().is_terminal();
        if !live {
            eprintln!("downloading {} of {repo} ({})", file.name, HumanBytes(file.size));
        }
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(file.size), target).with_message(file.name.clone());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self(bar)
    }

    /// So many bytes are there.
    pub(super) fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
