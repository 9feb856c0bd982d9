//! Kernels against the bandwidth of the GPU they run on: what each takes, what it has to move, and which share of the speed of a plain copy
//! that comes to. A copy is measured first, on the same device, and is the roof for whatever reads and writes every byte once.
//!
//! `just gpu-bench`; writes `benches/results/<gpu>.json`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on should panic, and it prints"
)]

use std::fmt::Write as _;
use std::path::Path;

use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use half::bf16;
use stateset_kernels::cpu::AdamW;
use stateset_kernels::cuda::{self, Array, CacheRow, Choice, Element, Found, Gpu, Real};

/// Each measurement is the fastest of so many, after as many to warm up.
const ROUNDS: usize = 20;
const VOCAB: usize = 151_936;

/// A kernel's time, and the bytes that it cannot do without moving.
struct Line {
    name: String,
    shape: String,
    bytes: usize,
    seconds: f64,
}

impl Line {
    fn bandwidth(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }
}

struct Bench {
    gpu: Gpu,
    lines: Vec<Line>,
}

impl Bench {
    fn time(&self, mut run: impl FnMut(&Gpu)) -> f64 {
        let stream = self.gpu.stream();
        let once = |run: &mut dyn FnMut(&Gpu)| {
            let start = stream.record_event(Some(CU_EVENT_DEFAULT)).unwrap();
            run(&self.gpu);
            let end = stream.record_event(Some(CU_EVENT_DEFAULT)).unwrap();
            f64::from(start.elapsed_ms(&end).unwrap()) / 1e3
        };
        (0..ROUNDS).for_each(|_| run(&self.gpu));
        (0..ROUNDS).map(|_| once(&mut run)).fold(f64::INFINITY, f64::min)
    }

    fn add(&mut self, name: &str, shape: String, bytes: usize, run: impl FnMut(&Gpu)) {
        let seconds = self.time(run);
        self.lines.push(Line { name: name.to_owned(), shape, bytes, seconds });
    }

    /// `len` numbers, the same few thousand again and again: what they are makes no difference to the time.
    fn array<T: Element>(&self, len: usize, number: impl Fn(f32) -> T) -> Array<Gpu, T> {
        let some: Vec<T> =
            (0..4093).map(|i| number(((i * 2_654_435_761u64 as usize) % 4093) as f32 / 2046.5 - 1.0)).collect();
        let mut all = some.repeat(len.div_ceil(some.len()));
        all.truncate(len);
        Array::from_slice(&self.gpu, &all).unwrap()
    }

    fn copy(&mut self) {
        let bytes = 1 << 30;
        let from = self.gpu.stream().alloc_zeros::<u8>(bytes).unwrap();
        let mut to = self.gpu.stream().alloc_zeros::<u8>(bytes).unwrap();
        self.add("copy", "1 GiB".to_owned(), 2 * bytes, |gpu| gpu.stream().memcpy_dtod(&from, &mut to).unwrap());
    }

    fn log_prob<T: Real>(&mut self, kept: &str, rows: usize, number: impl Fn(f32) -> T) {
        let logits = self.array(rows * VOCAB, |x| number(8.0 * x));
        let targets = self.array(rows, |x| ((x + 1.0) * 70_000.0) as u32);
        let mut found = cuda::LogProb::new(&self.gpu, rows).unwrap();
        let (g, mut gradient) = (self.array(rows, |x| x), Array::new(&self.gpu, rows * VOCAB).unwrap());
        let (shape, bytes) = (format!("{rows} x {VOCAB} {kept}"), size_of::<T>() * rows * VOCAB);
        self.add("log-prob", shape.clone(), bytes, |gpu| {
            cuda::log_prob(gpu, &logits, &targets, 1.0, VOCAB, &mut found).unwrap()
        });
        self.add("log-prob backward", shape, 2 * bytes, |gpu| {
            cuda::log_prob_backward(gpu, &logits, &targets, 1.0, &found, (&g, &g), &mut gradient).unwrap();
        });
    }

    fn rows(&mut self) {
        let (rows, h, n) = (16_384, 4096, 12_288);
        let number = bf16::from_f32;
        let (x, dy, w) = (self.array(rows * h, number), self.array(rows * h, number), self.array(h, |x| x));
        let (mut y, mut dx) = (Array::new(&self.gpu, rows * h).unwrap(), Array::new(&self.gpu, rows * h).unwrap());
        let (mut rstd, mut dw) = (Array::new(&self.gpu, rows).unwrap(), Array::new(&self.gpu, h).unwrap());
        let shape = format!("{rows} x {h} bf16");
        self.add("RMS norm", shape.clone(), 4 * rows * h, |gpu| {
            cuda::rms_norm(gpu, &x, &w, 1e-6, &mut y, &mut rstd).unwrap()
        });
        self.add("RMS norm backward", shape, 6 * rows * h, |gpu| {
            cuda::rms_norm_backward(gpu, &dy, &x, &w, &rstd, &mut dx, &mut dw).unwrap();
        });
        let (gate_up, dy) = (self.array(rows * 2 * n, number), self.array(rows * n, number));
        let (mut y, mut d) = (Array::new(&self.gpu, rows * n).unwrap(), Array::new(&self.gpu, rows * 2 * n).unwrap());
        let shape = format!("{rows} x {n} bf16");
        self.add("SwiGLU", shape.clone(), 6 * rows * n, |gpu| cuda::gate(gpu, &gate_up, &mut y, n).unwrap());
        self.add("SwiGLU backward", shape, 10 * rows * n, |gpu| {
            cuda::gate_backward(gpu, &dy, &gate_up, &mut d, n).unwrap()
        });
    }

    fn optimizer(&mut self) {
        let n = 1 << 28;
        let mut parameter = self.array(n, |x| x);
        let gradient = self.array(n, |x| x);
        let mut moments = cuda::Moments { mean: self.array(n, |_| 0.0), square: self.array(n, |_| 0.0) };
        let mut clip = cuda::Clip::new(&self.gpu, &[n]).unwrap();
        let with = AdamW { lr: 1e-5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, step: 1 };
        let shape = format!("{n} f32");
        self.add("sum of squares", shape.clone(), 4 * n, |gpu| {
            cuda::sum_of_squares(gpu, &[&gradient], &mut clip).unwrap()
        });
        self.add("AdamW", shape, 28 * n, |gpu| {
            cuda::adamw(gpu, &mut parameter, &gradient, &mut moments, Some((&clip, 1.0)), with).unwrap();
        });
    }

    fn decode(&mut self, rows: usize, positions: usize) {
        let (heads, kv_heads, d) = (32, 8, 128);
        let tables = cuda::Rope::new(&self.gpu, positions, d, 1e6).unwrap();
        let mut cache = cuda::KvCache::<Gpu, bf16>::new(&self.gpu, rows, kv_heads, d, positions).unwrap();
        let qkv = self.array(rows * (heads + 2 * kv_heads) * d, bf16::from_f32);
        let mut out = Array::new(&self.gpu, rows * heads * d).unwrap();
        let last: Vec<CacheRow> =
            (0..rows as u32).map(|slot| CacheRow { slot, position: positions as u32 - 1 }).collect();
        let last = Array::from_slice(&self.gpu, &last).unwrap();
        let bytes = 2 * 2 * rows * kv_heads * positions * d;
        self.add(
            "decode attention",
            format!("{rows} rows over {positions}, 32 / 8 heads of 128, bf16"),
            bytes,
            |gpu| {
                cuda::decode_attention(gpu, &mut cache, &tables, heads, (&last, positions), &qkv, &mut out).unwrap();
            },
        );
    }

    fn sample(&mut self, name: &str, rows: usize, top_k: u32, top_p: f32) {
        let logits = self.array(rows * VOCAB, |x| 8.0 * x);
        let choice = |row| Choice { key: 7, position: row, temperature: 1.0, top_p, min_p: 0.0, top_k };
        let choices: Vec<Choice> = (0..rows as u64).map(choice).collect();
        let choices = Array::from_slice(&self.gpu, &choices).unwrap();
        let (mut tokens, mut log_probs) = (Array::new(&self.gpu, rows).unwrap(), Array::new(&self.gpu, rows).unwrap());
        self.add(name, format!("{rows} x {VOCAB} f32"), 4 * rows * VOCAB, |gpu| {
            cuda::sample(gpu, &logits, &choices, &mut tokens, &mut log_probs).unwrap();
        });
    }
}

fn main() {
    let report = cuda::probe();
    let Found { name, compute_capability: (major, minor), .. } = match report.driver {
        Ok((_, devices)) => devices[0].clone(),
        Err(missing) => {
            println!("nothing to measure: {missing}");
            std::process::exit(2);
        }
    };
    let mut bench = Bench { gpu: Gpu::new(0).unwrap(), lines: Vec::new() };
    bench.copy();
    bench.log_prob("bf16", 8192, bf16::from_f32);
    bench.log_prob("f32", 4096, |x| x);
    bench.rows();
    bench.optimizer();
    [(64, 4096), (1, 32_768)].into_iter().for_each(|(rows, positions)| bench.decode(rows, positions));
    bench.sample("sample", 64, 0, 1.0);
    bench.sample("sample, top-k and top-p", 64, 50, 0.95);
    let roof = bench.lines[0].bandwidth();
    println!("{name}, compute capability {major}.{minor}\n");
    println!("| Kernel | Shape | Microseconds | GB/s | Of a copy |\n|---|---|---|---|---|");
    let mut entries = String::new();
    for line in &bench.lines {
        let (micros, gigabytes, share) = (line.seconds * 1e6, line.bandwidth() / 1e9, line.bandwidth() / roof);
        println!("| {} | {} | {micros:.1} | {gigabytes:.0} | {:.0} % |", line.name, line.shape, 100.0 * share);
        let comma = if entries.is_empty() { "" } else { "," };
        let Line { name, shape, bytes, .. } = line;
        let numbers = format!("\"bytes\": {bytes}, \"microseconds\": {micros:.2}, \"share_of_copy\": {share:.4}");
        write!(entries, "{comma}\n    {{ \"kernel\": \"{name}\", \"shape\": \"{shape}\", {numbers} }}").unwrap();
    }
    let text = format!(
        "{{\n  \"gpu\": \"{name}\",\n  \"compute_capability\": \"{major}.{minor}\",\n  \"kernels\": [{entries}\n  ]\n}}\n"
    );
    let file = name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/results").join(format!("{file}.json"));
    std::fs::write(&path, text).unwrap();
    println!("\nwritten to {}", path.display());
}
