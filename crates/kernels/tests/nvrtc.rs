//! Every kernel is compiled to machine code for the architectures of the A100 and the H100, and fits them. Needs NVRTC, no GPU;
//! `REQUIRE_NVRTC=1` makes its absence a failure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use stateset_kernels::cuda::{DeviceError, Gpu, Missing, UNITS, Unit, compile, probe};

const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];

/// What a kernel takes of the hardware.
#[derive(Debug, PartialEq)]
struct Needs {
    kernel: String,
    stack: u32,
    spills: u32,
    registers: u32,
    shared: u32,
}

/// Reads what the assembler says of each kernel: its name, then a line about its stack, then one about its registers.
fn needs(log: &str) -> Vec<Needs> {
    let mut kernels: Vec<Needs> = Vec::new();
    for line in log.lines() {
        let before = |unit: &str| -> u32 {
            let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
            let unit: Vec<&str> = unit.split(' ').collect();
            let at = words.windows(unit.len()).position(|words| words == unit);
            at.map_or(0, |at| words[at - 1].parse().unwrap())
        };
        if let Some((_, kernel)) = line.split_once("Function properties for ") {
            let kernel = kernel.trim().to_owned();
            kernels.push(Needs { kernel, stack: 0, spills: u32::MAX, registers: 0, shared: 0 });
        }
        let Some(kernel) = kernels.last_mut() else { continue };
        if line.contains("spill stores") {
            kernel.stack = before("bytes stack frame");
            kernel.spills = before("bytes spill stores") + before("bytes spill loads");
        } else if line.contains("registers") {
            kernel.registers = before("registers");
            kernel.shared = before("bytes smem");
        }
    }
    kernels
}

fn nvrtc_is_missing() -> bool {
    let missing = probe().nvrtc.is_none();
    if missing {
        assert!(std::env::var_os("REQUIRE_NVRTC").is_none(), "REQUIRE_NVRTC is set, and libnvrtc is not there");
        eprintln!("skipped: libnvrtc is not there");
    }
    missing
}

#[test]
fn every_kernel_is_compiled_for_each_architecture_and_spills_nothing() {
    if nvrtc_is_missing() {
        return;
    }
    for (unit, architecture) in UNITS.iter().flat_map(|unit| ARCHITECTURES.map(|architecture| (unit, architecture))) {
        let compiled = compile(unit, architecture).unwrap_or_else(|error| panic!("{error}"));
        assert!(compiled.image.starts_with(b"\x7fELF"), "{} for {architecture} is no machine code", unit.name);
        let mut found = needs(&compiled.log);
        found.sort_by(|a, b| a.kernel.cmp(&b.kernel));
        let mut expected: Vec<&str> = unit.entries().collect();
        expected.sort_unstable();
        assert_eq!(found.iter().map(|it| it.kernel.as_str()).collect::<Vec<_>>(), expected, "{}", unit.name);
        assert!(!expected.is_empty());
        for it in &found {
            assert!(it.spills == 0 && it.stack == 0, "{architecture}: {it:?}");
            // What a block may have without asking for more, and what every kernel takes at least.
            assert!(it.shared <= 48 << 10 && (8..=255).contains(&it.registers), "{architecture}: {it:?}");
            eprintln!("{architecture} {:<28} {:>3} registers, {:>5} bytes shared", it.kernel, it.registers, it.shared);
        }
    }
}

static WRONG: Unit = Unit { name: "wrong", text: "extern \"C\" __global__ void wrong(float* x) { *x = y; }" };

static LARGE: Unit = Unit {
    name: "large",
    text: "extern \"C\" __global__ void large(float* x) { __shared__ float y[20480]; y[threadIdx.x] = *x; __syncthreads(); *x = y[7]; }",
};

static GREEDY: Unit = Unit {
    name: "greedy",
    text: "extern \"C\" __global__ void __launch_bounds__(1024, 2) greedy(float* x) {
               float y[96];
               for (int i = 0; i < 96; i++) y[i] = x[i * 1024 + threadIdx.x];
               for (int n = 0; n < 9; n++)
                   for (int i = 0; i < 96; i++) y[i] = y[i] * y[(i * 7 + 5) % 96] + y[(i + 1) % 96];
               for (int i = 0; i < 96; i++) x[i * 1024 + threadIdx.x] = y[i];
           }",
};

#[test]
fn what_does_not_compile_or_does_not_fit_is_told() {
    if nvrtc_is_missing() {
        return;
    }
    for (unit, told) in [(&WRONG, "identifier \"y\" is undefined"), (&LARGE, "81920 bytes smem")] {
        let error = compile(unit, "sm_90").expect_err("it is wrong");
        assert!(matches!(&error, DeviceError::Compile { log, .. } if log.contains(told)), "{error}");
    }
    let found = needs(&compile(&GREEDY, "sm_90").unwrap().log);
    assert!(found.len() == 1 && found[0].spills > 0 && found[0].spills < u32::MAX, "{found:?}");
}

#[test]
fn asking_for_a_gpu_never_panics() {
    let report = probe();
    let gpu = Gpu::new(0);
    match report.driver {
        Ok((version, devices)) => {
            assert!(version >= (11, 0) && !devices.is_empty() && devices.iter().all(|it| it.memory > 1 << 28));
            assert!(gpu.is_ok() || report.nvrtc.is_none(), "{gpu:?}");
        }
        Err(missing) => {
            let driver = ["libcuda.so.1", "libcuda.so"].iter().any(|name| {
                // The loader's own search path, which is what the bindings use.
                std::process::Command::new("ldconfig")
                    .arg("-p")
                    .output()
                    .is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(name))
            });
            assert!(driver || missing == Missing::Library, "{missing}");
            assert!(matches!(gpu, Err(DeviceError::Unavailable(_))), "{gpu:?}");
        }
    }
}
