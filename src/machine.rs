//! The machine that this process runs on, and how much memory it has held there at the most.

use serde::Serialize;

/// What a number means nothing without.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// The processor, by its own name.
    pub(crate) cpu: String,
    /// Hardware threads that this process may use.
    pub(crate) cores: usize,
    /// The widest vector instructions that its kernels use here.
    pub(crate) vectors: &'static str,
    /// System and architecture.
    pub(crate) system: String,
    /// Whether the program was built with all optimisation: what a debug build measures is no measurement.
    pub(crate) optimised: bool,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: name.map_or_else(|| "an unknown processor".into(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            vectors: stateset_kernels::cpu::vectors(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            optimised: !cfg!(debug_assertions),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cpu, cores, vectors, system, optimised } = self;
        let build = if *optimised { "" } else { "; a debug build" };
        write!(f, "{cpu}, {cores} hardware threads, {vectors}, {system}{build}")
    }
}

/// The most bytes of memory that this process has held at once, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?)
}
