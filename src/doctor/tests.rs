//! What is said of machines that are made up.

use super::folder::Folder;
use super::gpu::{Device, Gpu};
use super::memory::Memory;
use super::{Diagnosis, Facts};
use crate::machine::Machine;

/// A machine that nothing is wrong with.
fn healthy() -> Facts {
    Facts {
        version: "1.2.3",
        machine: Machine {
            cpu: "Abacus 9".into(),
            cores: 4,
            vectors: "AVX2",
            system: "linux x86_64".into(),
            optimised: true,
        },
        threads: 4,
        memory: Some(Memory { total: 16_000_000_000, free: 8_000_000_000, limited: false }),
        huge_pages: Some("always".into()),
        output_dir: Folder { path: "runs".into(), exists: true, refused: None, free: Some(50_000_000_000) },
        gpu: Gpu::Found { driver: "13.0".into(), devices: vec![device()], nvrtc: Some("13.0".into()), cublas: true },
        model: None,
    }
}

fn device() -> Device {
    Device { name: "Loom 2".into(), compute_capability: "9.0".into(), memory: 80_000_000_000 }
}

/// The line of `check`, and how many problems there are, once `change` has been made to a healthy machine.
fn told(check: &str, change: impl FnOnce(&mut Facts)) -> (String, usize) {
    let mut facts = healthy();
    change(&mut facts);
    let diagnosis = Diagnosis::of(facts);
    let text = diagnosis.to_string();
    let line = text.lines().find(|line| line[9..].starts_with(check)).unwrap_or_else(|| panic!("no {check} in {text}"));
    (line.to_owned(), diagnosis.problems())
}

#[test]
fn a_healthy_machine_is_told_in_a_line_for_each_check() {
    let told = Diagnosis::of(healthy()).to_string();
    let wanted = "\
ok       build       stateset 1.2.3, optimised
ok       processor   Abacus 9, 4 hardware threads, of which kernels use 4, with AVX2
ok       memory      16.0 GB; 8.0 GB free
ok       huge pages  transparent ones are given unasked (always)
ok       output dir  runs can be written to
ok       disk        50.0 GB free for runs
ok       gpu         Loom 2 (compute capability 9.0, 80.0 GB); driver for CUDA 13.0; NVRTC 13.0; cuBLAS
ok       runs on     training and rollouts run on the CPU unless `run.device` is `cuda` or `auto`
";
    assert_eq!(told, wanted);
}

#[test]
fn what_only_slows_a_run_down_is_a_note_with_advice() {
    let (line, problems) = told("build", |facts| facts.machine.optimised = false);
    assert!(line.starts_with("note") && line.ends_with("-> build it with `cargo build --release`"), "{line}");
    assert_eq!(problems, 0);
    for threads in [1, 8] {
        let (line, problems) = told("processor", |facts| facts.threads = threads);
        assert!(line.starts_with("note") && line.contains(&format!("kernels use {threads},")), "{line}");
        assert_eq!(problems, 0);
    }
    let (line, problems) = told("huge pages", |facts| facts.huge_pages = Some("never".into()));
    assert_eq!(line, "note     huge pages  transparent ones are not given (never)");
    assert_eq!(problems, 0);
}

#[test]
fn too_little_memory_is_a_problem_and_unknown_memory_is_not() {
    let (line, problems) = told("memory", |facts| {
        facts.memory = Some(Memory { total: 512_000_000, free: 100_000_000, limited: true });
    });
    assert!(line.starts_with("problem  memory      512 MB, the limit of a control group; 100 MB free -> "), "{line}");
    assert_eq!(problems, 1);
    let (line, problems) = told("memory", |facts| facts.memory = None);
    assert!(line.starts_with("note") && problems == 0, "{line}");
}

#[test]
fn a_folder_that_refuses_and_a_full_disk_are_problems() {
    let (line, problems) = told("output dir", |facts| facts.output_dir.refused = Some("Permission denied".into()));
    let wanted = "problem  output dir  nothing can be kept in runs: Permission denied -> ";
    assert!(line.starts_with(wanted) && line.contains("--output-dir"), "{line}");
    assert_eq!(problems, 1);
    let (line, problems) = told("disk", |facts| facts.output_dir.free = Some(1_000_000));
    assert!(line.starts_with("problem  disk        1 MB free for runs -> make room"), "{line}");
    assert_eq!(problems, 1);
    let (line, problems) = told("output dir", |facts| facts.output_dir.exists = false);
    assert!(line.starts_with("ok") && line.contains("can be created") && problems == 0, "{line}");
}

#[test]
fn a_gpu_that_is_not_there_is_a_notice_with_its_reason() {
    let missing = Gpu::Missing { reason: "the driver finds no device".into(), nvrtc: None };
    let (line, problems) = told("gpu", |facts| facts.gpu = missing);
    assert_eq!(line, "note     gpu         runs on the CPU: the driver finds no device; no NVRTC");
    assert_eq!(problems, 0);
    let (line, problems) = told("gpu", |facts| facts.gpu = Gpu::NotBuilt);
    assert_eq!(line, "note     gpu         none is looked for: built without the feature `cuda`");
    assert_eq!(problems, 0);
    let uncompiled =
        Gpu::Found { driver: "12.4".into(), devices: vec![device(), device()], nvrtc: None, cublas: false };
    let (line, problems) = told("gpu", |facts| facts.gpu = uncompiled);
    assert!(
        line.starts_with("note") && line.contains("0 GB), Loom 2 (") && line.contains("; no NVRTC; no cuBLAS -> "),
        "{line}"
    );
    assert_eq!(problems, 0);
}

#[test]
fn json_has_the_checks_and_the_facts() {
    let mut facts = healthy();
    facts.output_dir.refused = Some("Read-only file system".into());
    let told = Diagnosis::of(facts).to_json();
    assert_eq!(told["problems"], 1);
    let failed = told["checks"].as_array().unwrap().iter().find(|check| check["verdict"] == "problem").unwrap();
    assert_eq!(failed["check"], "output dir");
    assert!(failed["advice"].as_str().unwrap().contains("--output-dir"), "{failed}");
    let facts = &told["facts"];
    assert_eq!((&facts["machine"]["vectors"], &facts["threads"]), (&"AVX2".into(), &4.into()));
    assert_eq!((&facts["gpu"]["status"], &facts["gpu"]["devices"][0]["name"]), (&"found".into(), &"Loom 2".into()));
}
