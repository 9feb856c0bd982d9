//! A folder for one run, the run that is left alone, and what it means that another one equals it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use stateset_agents::report::Summary;
use stateset_agents::{RunFiles, RunFolder, Runtime, RuntimeBuilder, read_result};
use stateset_telemetry::{JsonLines, TimedEvent};
use tempfile::TempDir;

/// A place for runs, gone when this is dropped.
pub(crate) struct Lab(TempDir);

/// The configuration that is run throughout.
pub(crate) fn small() -> PathBuf {
    here().join("small.yaml")
}

/// The folder of these tests.
pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system")
}

/// The command, as built.
pub(crate) fn stateset() -> Command {
    Command::new(env!("CARGO_BIN_EXE_stateset"))
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where runs go.
    pub(crate) fn runs(&self) -> &Path {
        self.0.path()
    }

    /// The files of the run.
    pub(crate) fn run(&self) -> RunFiles {
        RunFolder::inspect(&self.runs().join("small")).unwrap()
    }

    /// `stateset train small.yaml` in this lab.
    pub(crate) fn train(&self) -> Command {
        train(self.runs())
    }

    /// `stateset train small.yaml --resume` in this lab.
    pub(crate) fn resume(&self) -> Command {
        let mut command = self.train();
        command.arg("--resume");
        command
    }

    /// The same run without the command around it.
    pub(crate) fn runtime(&self) -> RuntimeBuilder {
        let output = Value::from(self.runs().to_str().unwrap());
        Runtime::builder().config_file(small(), &[format!("run.output_dir={output}")]).unwrap()
    }

    /// A lab with a copy of the run that was left alone, its newest checkpoint only.
    pub(crate) fn after_the_run() -> Self {
        let lab = Self::new();
        let (from, to) = (undisturbed().folder().to_owned(), lab.runs().join("small"));
        let newest = "checkpoints/step-000006";
        fs::create_dir_all(to.join(newest)).unwrap();
        for folder in [Path::new(""), Path::new(newest)] {
            for file in fs::read_dir(from.join(folder)).unwrap().map(Result::unwrap).filter(|it| it.path().is_file()) {
                fs::copy(file.path(), to.join(folder).join(file.file_name())).unwrap();
            }
        }
        lab
    }
}

fn train(runs: &Path) -> Command {
    let mut command = stateset();
    command.arg("train").arg(small()).arg("--output-dir").arg(runs);
    command
}

/// Runs `command` to its end, and expects `code` of it.
pub(crate) fn expect(code: i32, command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}\n{}", stdout(&output), stderr(&output));
    output
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs `command` to its end with `input` typed into it.
pub(crate) fn typed(input: &str, command: &mut Command) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A command that is running, with what it says of itself.
pub(crate) struct Running {
    pub(crate) child: Child,
    says: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(child.stderr.take().unwrap());
        Self { child, says }
    }

    /// Reads on until it says `words`; the line that holds them.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let mut said = String::new();
        while !said.contains(words) {
            said.clear();
            assert_ne!(self.says.read_line(&mut said).unwrap(), 0, "it ended without saying \"{words}\"");
        }
        said
    }

    /// Reads on to the end; how it ended, and what it printed.
    pub(crate) fn end(mut self) -> Output {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.says, &mut rest).unwrap();
        self.child.wait_with_output().unwrap()
    }
}

/// The run as it goes when nobody disturbs it: made once, and only read.
pub(crate) fn undisturbed() -> &'static RunFiles {
    static RUN: OnceLock<RunFiles> = OnceLock::new();
    RUN.get_or_init(|| {
        let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("undisturbed");
        if runs.exists() {
            fs::remove_dir_all(&runs).unwrap();
        }
        expect(0, &mut train(&runs));
        let files = RunFolder::inspect(&runs.join("small")).unwrap();
        let steps: Vec<u64> = steps(&files).iter().map(|row| row["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
        files
    })
}

/// The rows of `metrics.jsonl`, without how long things took.
pub(crate) fn steps(run: &RunFiles) -> Vec<Value> {
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row.as_object_mut().unwrap().retain(|field, _| !field.ends_with("_seconds"));
        row
    };
    fs::read_to_string(run.metrics()).unwrap().lines().map(row).collect()
}

/// Every event of the run.
pub(crate) fn events(run: &RunFiles) -> Vec<TimedEvent> {
    JsonLines::read(&run.events()).unwrap()
}

/// The names of the checkpoints, whole or not.
pub(crate) fn checkpoints(run: &RunFiles) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(run.checkpoints()).unwrap().map(name).collect();
    names.sort();
    names
}

/// Panics unless `run` came to what the run that was left alone came to, by the same steps, with every episode counted once.
pub(crate) fn assert_undisturbed(run: &RunFiles) -> Summary {
    let (summary, wanted) = (read_result(run).unwrap(), read_result(undisturbed()).unwrap());
    assert_eq!(summary.policy_digest, wanted.policy_digest);
    assert_eq!((summary.base, summary.trained), (wanted.base, wanted.trained));
    assert_eq!((summary.steps, summary.episodes_completed), (6, 96));
    assert_eq!((summary.episodes_failed, summary.episodes_lost, summary.episodes_duplicated), (0, 0, 0));
    assert_eq!(steps(run), steps(undisturbed()));
    let checkpoints = checkpoints(run);
    assert_eq!(checkpoints.last().unwrap(), "step-000006");
    assert!(checkpoints.iter().all(|name| name.starts_with("step-")), "{checkpoints:?}");
    summary
}
