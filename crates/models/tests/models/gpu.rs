//! What a decoder does on a GPU is what it does on the CPU. A CPU plays the GPU, and a GPU is asked too if there is one (`REQUIRE_GPU=1`
//! makes its absence a failure).

use std::sync::Arc;

use stateset_domain::{Sampling, Stream};
use stateset_kernels::cpu::Row;
use stateset_kernels::cuda::{Array, Device, Shim};
use stateset_models::gpu::{GpuDecode, GpuDecoder, GpuError, GpuWeights, refusal};
use stateset_models::{Autograd, Choice, Decode, Draw, HostWeights, ModelConfig, PackedBatch, Sampler, ServedWeights};

use crate::gradients::pulled;
use crate::{batch, config, tokens};

const TEMPERATURE: f32 = 0.8;
/// What rounding leaves of sums in another order.
const SUMMED_OTHERWISE: f64 = 2e-5;
/// What is left of products whose factors are rounded to 10 bits.
#[cfg(feature = "cuda")]
const TF32: f64 = 2e-2;

/// Runs `$check` with every device there is, and how far it may be from the CPU.
macro_rules! on_devices {
    ($check:ident) => {
        $check(&Arc::new(Shim { schedule: 2 }), SUMMED_OTHERWISE);
        #[cfg(feature = "cuda")]
        match stateset_kernels::cuda::Gpu::new(0) {
            Ok(gpu) => $check(&Arc::new(gpu), TF32),
            Err(error) => assert!(std::env::var_os("REQUIRE_GPU").is_none(), "REQUIRE_GPU is set, and {error}"),
        }
    };
}

fn random(config: &ModelConfig) -> HostWeights {
    let mut noise = Stream::new(2);
    HostWeights::random(config, 0.15, Stream::new(1))
        .map(|values| values.iter().map(|x| x + (0.1 * noise.normal()) as f32).collect())
}

/// Decoders that differ in everything that a GPU does.
fn decoders() -> Vec<HostWeights> {
    let json = |text: &str| {
        let rest = r#""vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 2, "max_position_embeddings": 96,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "eos_token_id": 0"#;
        ModelConfig::from_json(&format!("{{ {text}, {rest} }}")).unwrap()
    };
    let qwen2 = r#""model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "intermediate_size": 20,
        "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": true"#;
    let qwen3 = r#""model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "intermediate_size": 28,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": false"#;
    [config(true), config(false), json(qwen2), json(qwen3)].iter().map(random).collect()
}

/// Sequences alone, and some that begin alike.
fn mixed() -> PackedBatch {
    let mut mixed = batch(&[9, 2, 1, 40]);
    let (shared, rests) = (tokens(7, 12), [tokens(8, 5), tokens(9, 21), tokens(10, 1)]);
    let members: Vec<Vec<u32>> = rests.iter().map(|rest| [&shared[..], rest].concat()).collect();
    let scored: Vec<Vec<bool>> = members.iter().map(|it| (0..it.len()).map(|i| i >= 12).collect()).collect();
    mixed.push_family(12, members.iter().zip(&scored).map(|(tokens, scored)| (&tokens[..], &scored[..])));
    mixed
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: f64, what: &str) {
    let largest = expected.iter().fold(1e-3, |largest: f64, x| largest.max(f64::from(x.abs())));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let error = (f64::from(*found) - f64::from(*expected)).abs();
        assert!(error <= tolerance * largest, "{what}: {found} is not {expected}, of {largest}");
    }
}

fn learns_the_same<D: Device>(device: &Arc<D>, tolerance: f64) {
    for weights in decoders() {
        let (batch, model) = (mixed(), Autograd::new(&weights).unwrap());
        let mut recording = model.record(&batch).unwrap();
        let found = recording.score(TEMPERATURE).unwrap();
        let mut stream = Stream::new(3);
        let upstream: Vec<f32> = (0..2 * batch.targets.len()).map(|_| stream.normal() as f32).collect();
        let expected = pulled(&model, recording, &upstream).unwrap();

        let gpu = GpuDecoder::new(device.clone(), &weights).unwrap();
        let recording = gpu.record(&batch, TEMPERATURE).unwrap();
        let again = gpu.log_probs(&batch, TEMPERATURE).unwrap();
        let log_probs = recording.found().unwrap();
        assert_eq!(log_probs, again, "to record changes nothing");
        assert_near(&log_probs.concat(), &found.concat(), tolerance, "log-probs");
        let zeros = |values: &Array<D, f32>| Array::zeros(&**device, values.len()).unwrap();
        let mut sums: Vec<Array<D, f32>> = gpu.weights().values().iter().map(zeros).collect();
        gpu.backward(recording, upstream.split_at(batch.targets.len()), &mut sums).unwrap();
        for ((sum, expected), parameter) in sums.iter().zip(expected.iter()).zip(weights.config.parameters().iter()) {
            assert_near(&sum.to_vec(&**device).unwrap(), expected, 2.0 * tolerance, &parameter.name);
        }
    }
}

#[test]
fn log_probs_and_gradients_are_those_of_the_cpu() {
    on_devices!(learns_the_same);
}

fn generates_the_same<D: Device>(device: &Arc<D>, tolerance: f64) {
    let (mut drawn, mut otherwise) = (0, 0);
    for weights in decoders() {
        let (served, mut cpu) = (ServedWeights::of(&weights), Decode::new(&weights.config, 3, 64));
        let held = GpuWeights::from_tensors(&**device, &weights.config, &weights.to_tensors()).unwrap();
        let mut gpu = GpuDecode::new(device.clone(), &weights.config, 3, 64).unwrap();
        let (first, second) = (tokens(1, 30), tokens(2, 7));
        let row = |slot: usize| move |position: usize| Row { position, slot };
        // The first conversation is read in two pieces beside the second; a third goes on from what the first has read.
        let steps = [
            ([&first[..20], &second[..]].concat(), (0..20).map(row(0)).chain((0..7).map(row(1))).collect::<Vec<_>>()),
            (first[20..].to_vec(), (20..30).map(row(0)).collect()),
            (vec![5, 6, 7], vec![row(2)(20), row(2)(21), row(1)(7)]),
        ];
        for (at, (tokens, rows)) in steps.iter().enumerate() {
            if at == 2 {
                cpu.copy(0, 2, 20);
                gpu.copy(0, 2, 20).unwrap();
            }
            let selected: Vec<usize> = (0..rows.len()).step_by(2).collect();
            let logits = cpu.step(&served, tokens, rows, &selected);
            for sampling in [
                Sampling { temperature: 0.0, ..Sampling::default() },
                Sampling { temperature: 1.2, top_p: 0.9, ..Sampling::default() },
            ] {
                let stream = Stream::new(at as u64);
                let draw = |row: &usize| Draw { row: *row, sampling: &sampling, stream, position: *row as u64 };
                let asked: Vec<_> = selected.iter().map(draw).collect();
                let chosen = gpu.step(&held, tokens, rows, &asked).unwrap();
                for ((row, Choice { token, log_prob }), index) in logits.chunks_exact(37).zip(chosen).zip(&selected) {
                    let expected =
                        Sampler::default().choose(&mut row.to_vec(), &sampling, stream.uniform_at(*index as u64));
                    drawn += 1;
                    if token == expected.token {
                        assert_near(&[log_prob], &[expected.log_prob], 10.0 * tolerance, "log-prob");
                    } else {
                        otherwise += 1;
                    }
                }
            }
        }
    }
    // Where products are rounded, a draw near an edge may fall on its other side.
    let allowed = if tolerance == SUMMED_OTHERWISE { 0 } else { drawn / 10 };
    assert!(otherwise <= allowed, "{otherwise} of {drawn} tokens are not the CPU's");
}

#[test]
fn generation_chooses_what_the_cpu_chooses() {
    on_devices!(generates_the_same);
}

fn company_does_not_matter<D: Device>(device: &Arc<D>, _: f64) {
    let weights = random(&config(true));
    let held = GpuWeights::of(&**device, &weights).unwrap();
    let own = tokens(1, 30);
    let sampling = Sampling::default();
    // What is drawn behind every token of a conversation, which begins after `before` rows of others in each of two steps.
    let found = |before: usize| -> Vec<(u32, u32)> {
        let mut gpu = GpuDecode::new(device.clone(), &weights.config, 3, 96).unwrap();
        let mut all = Vec::new();
        for piece in [0..17, 17..30] {
            let others = tokens(2, before);
            let fed: Vec<u32> = others.iter().chain(&own[piece.clone()]).copied().collect();
            let place = |slot: usize| move |position: usize| Row { position, slot };
            let rows: Vec<Row> = (0..before).map(place(piece.start % 2)).chain(piece.clone().map(place(2))).collect();
            let draw = |row: usize| Draw {
                row,
                sampling: &sampling,
                stream: Stream::new(5),
                position: row as u64 - before as u64,
            };
            let draws: Vec<_> = (before..fed.len()).map(draw).collect();
            let chosen = gpu.step(&held, &fed, &rows, &draws).unwrap();
            all.extend(chosen.iter().map(|choice| (choice.token, choice.log_prob.to_bits())));
        }
        all
    };
    let alone = found(0);
    for before in [1, 40, 63, 90] {
        assert_eq!(found(before), alone, "after {before} rows of others");
    }
}

#[test]
fn what_is_generated_does_not_depend_on_its_company() {
    on_devices!(company_does_not_matter);
}

#[test]
fn weights_come_back_as_they_were_and_what_is_not_done_is_named() {
    let device = Arc::new(Shim { schedule: 0 });
    let weights = random(&config(false));
    let held = GpuWeights::of(&*device, &weights).unwrap();
    assert_eq!(held.to_tensors(&*device).unwrap(), weights.to_tensors());
    assert_eq!(refusal(&weights.config), None);
    let mut other = weights.clone();
    other.config.logit_soft_cap = Some(30.0);
    let refused = GpuDecoder::new(device.clone(), &other).err().unwrap();
    assert_eq!(refused, GpuError::Family("soft caps"));
    assert!(refused.to_string().contains("soft caps are only computed on the CPU"), "{refused}");
    let mut long = PackedBatch::default();
    long.push(&[1; 98], &[true; 98]);
    let refused = GpuDecoder::new(device, &weights).unwrap().log_probs(&long, 1.0).unwrap_err().to_string();
    assert!(refused.contains("97 tokens exceeds the context of 96"), "{refused}");
}
