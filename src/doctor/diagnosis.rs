//! What is said of the facts.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::Facts;
use super::folder::Folder;
use super::gpu::{Device, Gpu};
use super::memory::Memory;
use super::model::{Model, findings};

/// Bytes of memory that a run of `config/quickstart.yaml` takes at the most, and a little more.
const MEMORY: u64 = 700_000_000;
/// Twice the bytes on disk that such a run leaves behind.
const DISK: u64 = 100_000_000;

/// Where the halves of a run are computed today.
const RUNS_ON: &str = "training and rollouts run on the CPU unless `run.device` is `cuda` or `auto`";

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// A run works; something is worth knowing.
    Note,
    /// A run fails, now or before long.
    Problem,
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it; a problem always has it.
    advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: String) -> Self {
        Self { check, verdict: Verdict::Ok, found, advice: None }
    }

    pub(super) fn note(check: &'static str, found: String) -> Self {
        Self { check, verdict: Verdict::Note, found, advice: None }
    }

    pub(super) fn advising(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    pub(super) fn problem(check: &'static str, found: String, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, found, advice: Some(advice.into()) }
    }
}

/// Every check, in the order in which it is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Diagnosis {
    facts: Facts,
    checks: Vec<Finding>,
}

impl Diagnosis {
    /// What is to be said of `facts`.
    pub(crate) fn of(facts: Facts) -> Self {
        let mut checks = vec![
            build(&facts),
            processor(&facts),
            memory(facts.memory),
            huge_pages(facts.huge_pages.as_deref()),
            output_dir(&facts.output_dir),
            disk(&facts.output_dir),
            gpu(&facts.gpu),
            Finding::ok("runs on", RUNS_ON.into()),
        ];
        checks.extend(facts.model.iter().flat_map(|model| findings(model, facts.memory)));
        Self { facts, checks }
    }

    /// How many problems there are.
    pub(crate) fn problems(&self) -> usize {
        self.checks.iter().filter(|finding| finding.verdict == Verdict::Problem).count()
    }

    /// One object with everything, facts included.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "problems": self.problems(), "checks": self.checks, "facts": self.facts })
    }
}

/// A line for each check, and the parts of a model's memory plan.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { check, verdict, found, advice } in &self.checks {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Note => "note",
                Verdict::Problem => "problem",
            };
            let advice = advice.as_ref().map(|advice| format!(" -> {advice}")).unwrap_or_default();
            writeln!(f, "{verdict:<8} {check:<11} {found}{advice}")?;
        }
        if let Some(Model::Loaded(model)) = &self.facts.model {
            writeln!(f, "{}", model.plan)?;
        }
        Ok(())
    }
}

fn build(facts: &Facts) -> Finding {
    let version = facts.version;
    if facts.machine.optimised {
        Finding::ok("build", format!("stateset {version}, optimised"))
    } else {
        Finding::note("build", format!("stateset {version}, a debug build, which is slower"))
            .advising("build it with `cargo build --release`")
    }
}

fn processor(facts: &Facts) -> Finding {
    let (machine, threads) = (&facts.machine, facts.threads);
    let found = format!(
        "{}, {} hardware threads, of which kernels use {threads}, with {}",
        machine.cpu, machine.cores, machine.vectors
    );
    if threads == machine.cores {
        Finding::ok("processor", found)
    } else {
        Finding::note("processor", found).advising("unset RAYON_NUM_THREADS to use each once")
    }
}

fn memory(memory: Option<Memory>) -> Finding {
    let Some(Memory { total, free, limited }) = memory else {
        return Finding::note("memory", "the system does not tell how much there is".into());
    };
    let whose = if limited { ", the limit of a control group" } else { "" };
    let found = format!("{}{whose}; {} free", size(total), size(free));
    if free < MEMORY {
        let wanted =
            format!("end other programs or raise the limit: `config/quickstart.yaml` takes about {}", size(MEMORY));
        Finding::problem("memory", found, wanted)
    } else {
        Finding::ok("memory", found)
    }
}

fn huge_pages(setting: Option<&str>) -> Finding {
    match setting {
        Some("always") => Finding::ok("huge pages", "transparent ones are given unasked (always)".into()),
        // The allocator asks for them when it reserves its arenas.
        Some("madvise") => {
            Finding::ok("huge pages", "transparent ones are given if asked for (madvise), as is done".into())
        }
        Some(setting) => Finding::note("huge pages", format!("transparent ones are not given ({setting})")),
        None => Finding::note("huge pages", "the system tells of no transparent ones".into()),
    }
}

fn output_dir(folder: &Folder) -> Finding {
    let path = folder.path.display();
    match (&folder.refused, folder.exists) {
        (None, true) => Finding::ok("output dir", format!("{path} can be written to")),
        (None, false) => Finding::ok("output dir", format!("{path} is not there yet, and can be created")),
        (Some(reason), _) => {
            let advice = "make it a folder that can be written to, or choose another with --output-dir";
            Finding::problem("output dir", format!("nothing can be kept in {path}: {reason}"), advice)
        }
    }
}

fn disk(folder: &Folder) -> Finding {
    let path = folder.path.display();
    match folder.free {
        None => Finding::note("disk", format!("the system does not tell how much is free for {path}")),
        Some(free) if free < DISK => {
            let leaves = format!("make room: `config/quickstart.yaml` leaves about {} behind", size(DISK / 2));
            Finding::problem("disk", format!("{} free for {path}", size(free)), leaves)
        }
        Some(free) => Finding::ok("disk", format!("{} free for {path}", size(free))),
    }
}

fn gpu(gpu: &Gpu) -> Finding {
    let compiler =
        |nvrtc: &Option<String>| nvrtc.as_ref().map_or("no NVRTC".into(), |version| format!("NVRTC {version}"));
    let products = |cublas: bool| if cublas { "cuBLAS" } else { "no cuBLAS" };
    match gpu {
        Gpu::NotBuilt => Finding::note("gpu", "none is looked for: built without the feature `cuda`".into()),
        Gpu::Missing { reason, nvrtc } => {
            Finding::note("gpu", format!("runs on the CPU: {reason}; {}", compiler(nvrtc)))
        }
        Gpu::Found { driver, devices, nvrtc, cublas } => {
            let devices: Vec<String> = devices.iter().map(device).collect();
            let parts = (devices.join(", "), compiler(nvrtc), products(*cublas));
            let found = format!("{}; driver for CUDA {driver}; {}; {}", parts.0, parts.1, parts.2);
            match (nvrtc, cublas) {
                (Some(_), true) => Finding::ok("gpu", found),
                (None, _) => Finding::note("gpu", found).advising(
                    "to compile kernels, `pip install nvidia-cuda-nvrtc` and put its lib into LD_LIBRARY_PATH",
                ),
                (_, false) => Finding::note("gpu", found)
                    .advising("to multiply matrices, `pip install nvidia-cublas` and put its lib into LD_LIBRARY_PATH"),
            }
        }
    }
}

fn device(Device { name, compute_capability, memory }: &Device) -> String {
    format!("{name} (compute capability {compute_capability}, {})", size(*memory as u64))
}

/// In gigabytes, or megabytes if there are few.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1_000_000_000 { format!("{} MB", bytes / 1_000_000) } else { format!("{:.1} GB", bytes as f64 / 1e9) }
}
