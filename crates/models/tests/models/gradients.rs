//! Values and gradients of the whole decoder.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use stateset_domain::{NamedTensor, Stream};
use stateset_kernels::cpu::KEPT_LOGITS;
use stateset_models::{Autograd, Decoder, HostWeights, LlamaConfig, PackedBatch, Recording};

use crate::composed::Composed;
use crate::{batch, llama, tokens, weights};

const LENGTHS: [usize; 4] = [9, 2, 1, 70];
const TEMPERATURE: f32 = 0.8;

/// What multiplies log-probabilities and entropies, `[2, scored]`: any numbers will do, as long as they differ.
fn upstream(scored: usize) -> Vec<f32> {
    let mut stream = Stream::new(3);
    (0..2 * scored).map(|_| stream.normal() as f32).collect()
}

/// What `model` finds of `batch` `[2, scored]`, and the gradient of every weight.
fn differentiated(model: &Autograd, batch: &PackedBatch, upstream: &[f32]) -> Result<(Vec<f32>, Decoder<Vec<f32>>)> {
    let mut recording = model.record(batch)?;
    let found = recording.score(TEMPERATURE)?;
    Ok((found.concat(), pulled(model, recording, upstream)?))
}

/// The gradient of every weight, from those of log-probabilities and entropies that were scored.
pub(crate) fn pulled(model: &Autograd, mut recording: Recording, upstream: &[f32]) -> Result<Decoder<Vec<f32>>> {
    let mut sums: Vec<Vec<f32>> = model.learnt().iter().map(|it| vec![0.0; it.len()]).collect();
    recording.pull_scores(upstream.split_at(upstream.len() / 2), &mut sums)?;
    recording.backward(&mut sums)?;
    let mut sums = sums.into_iter();
    model.config().parameters().try_map(|_| Ok(sums.next().unwrap()))
}

#[test]
fn values_and_gradients_are_those_of_the_composed_decoder() -> Result<()> {
    for tied in [true, false] {
        let weights = weights(tied);
        let (model, composed) = (Autograd::new(&weights)?, Composed::new(&weights)?);
        let batch = batch(&LENGTHS);
        let upstream = upstream(batch.targets.len());
        let (found, values) = differentiated(&model, &batch, &upstream)?;
        let scored = LENGTHS.into_iter().enumerate().filter(|(_, length)| *length > 1);
        let parts = scored.map(|(i, n)| composed.log_probs(&tokens(i as u64, n), f64::from(TEMPERATURE)));
        let expected = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?;
        let both = found.iter().zip(expected.flatten_all()?.to_vec1::<f64>()?);
        let distance = both.map(|(found, expected)| (f64::from(*found) - expected).abs()).fold(0.0, f64::max);
        assert!(distance < 1e-5, "values differ by {distance:e}");

        let actual = HostWeights::new(&weights.config, &values).to_tensors();
        let along = Tensor::from_slice(&upstream, expected.shape(), &Device::Cpu)?.to_dtype(DType::F64)?;
        let expected = (expected * along)?.sum_all()?.backward()?;
        for NamedTensor { name, data, .. } in actual {
            let expected = expected.get(&composed.variables[&name]).unwrap().flatten_all()?.to_vec1::<f64>()?;
            let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            let error = |(x, y): (&f32, &f64)| (f64::from(*x) - y).abs();
            let error = data.iter().zip(&expected).map(error).fold(0.0, f64::max);
            assert!(largest > 0.0 && error < 1e-5 * largest, "{name}: {error:e} of {largest:e}");
        }
    }
    Ok(())
}

#[test]
fn the_gradient_is_the_slope_along_random_directions() -> Result<()> {
    const STEP: f64 = 2e-4;
    let (weights, batch) = (weights(true), batch(&LENGTHS));
    let upstream = upstream(batch.targets.len());
    let loss = |weights: &HostWeights| -> Result<f64> {
        let found = Autograd::new(weights)?.log_probs(&batch, TEMPERATURE)?.concat();
        Ok(found.iter().zip(&upstream).map(|(found, along)| f64::from(*found) * f64::from(*along)).sum())
    };
    let model = Autograd::new(&weights)?;
    let (_, gradient) = differentiated(&model, &batch, &upstream)?;
    let norm = gradient.iter().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    for direction in 0..4 {
        let moved = |sign: f64| {
            let mut stream = Stream::new(10 + direction);
            let mut shift = |x: &f32| (f64::from(*x) + sign * STEP * stream.normal()) as f32;
            weights.map(|values| values.iter().map(&mut shift).collect())
        };
        let slope = (loss(&moved(1.0))? - loss(&moved(-1.0))?) / (2.0 * STEP);
        let mut stream = Stream::new(10 + direction);
        let expected: f64 = gradient.iter().flatten().map(|g| f64::from(*g) * stream.normal()).sum();
        assert!((slope - expected).abs() < 2e-3 * norm, "{slope} is not {expected}; the gradient is {norm} long");
    }
    Ok(())
}

/// Three sequences that begin with the same `shared` tokens, of which none is scored; packed apart and as a family.
fn families(shared: usize, rest: [usize; 3], seed: u64) -> [PackedBatch; 2] {
    let beginning = tokens(seed, shared);
    let member = |i: usize| {
        let all = [beginning.clone(), tokens(seed + 1 + i as u64, rest[i])].concat();
        let scored: Vec<bool> =
            (0..all.len()).map(|at| at >= shared && at > 0 && !(at + i).is_multiple_of(3)).collect();
        (all, scored)
    };
    let members = [0, 1, 2].map(member);
    let (mut apart, mut family) = (batch(&[5]), batch(&[5]));
    members.iter().for_each(|(tokens, scored)| apart.push(tokens, scored));
    family.push_family(shared, members.iter().map(|(tokens, scored)| (&tokens[..], &scored[..])));
    [apart, family]
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_shared_beginning_changes_neither_values_nor_gradients(
        shared in 1..70usize, rest in [1..12usize, 1..5, 1..20], seed in 0..100u64,
    ) {
        let [apart, family] = families(shared, rest, seed);
        // One of which nothing is scored is not read at all.
        let members = apart.segments.len() - 1;
        prop_assert_eq!(family.tokens.len() + members.saturating_sub(1) * shared, apart.tokens.len());
        prop_assert_eq!(&family.targets, &apart.targets);
        let model = Autograd::new(&weights(true)).unwrap();
        let upstream = upstream(apart.targets.len());
        let (found, gradient) = differentiated(&model, &apart, &upstream).unwrap();
        let (found_shared, gradient_shared) = differentiated(&model, &family, &upstream).unwrap();
        let worst = found.iter().zip(&found_shared).map(|(apart, shared)| (apart - shared).abs()).fold(0.0, f32::max);
        prop_assert!(worst < 2e-5, "{worst:e}");
        for (own, shared) in gradient.iter().zip(gradient_shared.iter()) {
            let length = distance(own, &vec![0.0; own.len()]);
            let apart = distance(own, shared);
            prop_assert!(apart < 1e-5 * length, "{apart:e} of {length:e}");
        }
    }
}

#[test]
fn shared_beginnings_give_the_same_bits_on_one_thread_as_on_two() {
    let [_, family] = families(66, [9, 70 - 66, 20], 4);
    let upstream = upstream(family.targets.len());
    let bits = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let run = || differentiated(&Autograd::new(&weights(true))?, &family, &upstream);
        let (found, gradient) = pool.install(run).unwrap();
        found.iter().chain(gradient.iter().flatten()).map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    assert_eq!(bits(1), bits(2));
}

#[test]
fn checkpoints_change_no_bit_of_the_gradient_and_neither_does_used_memory() -> Result<()> {
    let batch = batch(&LENGTHS);
    let upstream = upstream(batch.targets.len());
    let model = Autograd::new(&weights(false))?;
    let (_, whole) = differentiated(&model, &batch, &upstream)?;
    let checkpointed = Autograd::new(&weights(false))?.like(&model).checkpointing(true);
    for _ in 0..2 {
        let (_, replayed) = differentiated(&checkpointed, &batch, &upstream)?;
        assert!(whole.iter().flatten().map(|x| x.to_bits()).eq(replayed.iter().flatten().map(|x| x.to_bits())));
    }
    Ok(())
}

#[test]
fn logits_too_many_to_be_kept_are_made_again_with_the_same_gradient() -> Result<()> {
    // The same sequences over again: all of them have too many logits, and half of them do not.
    let (length, half) = (94, 6);
    let vocab_size = KEPT_LOGITS / (2 * half * (length - 1)) + 1;
    let config = LlamaConfig { vocab_size, hidden_size: 8, num_hidden_layers: 1, ..llama(true) }.decoder().unwrap();
    let model = Autograd::new(&HostWeights::random(&config, 0.3, Stream::new(1)))?;
    let few = batch(&vec![length; half]);
    let mut many = few.clone();
    (0..half).for_each(|seed| many.push(&tokens(seed as u64, length), &vec![true; length]));
    assert!(few.targets.len() * vocab_size <= KEPT_LOGITS && many.targets.len() * vocab_size > KEPT_LOGITS);
    let upstream = vec![1.0; 2 * few.targets.len()];
    let (scores, once) = differentiated(&model, &few, &upstream)?;
    let (twice_scores, twice) = differentiated(&model, &many, &vec![1.0; 2 * many.targets.len()])?;
    let (first, again) = twice_scores[..many.targets.len()].split_at(few.targets.len());
    assert!(first == again && first.iter().zip(&scores).all(|(made_again, kept)| (made_again - kept).abs() < 1e-4));
    for (once, twice) in once.iter().zip(twice.iter()) {
        let halved: Vec<f32> = twice.iter().map(|it| it / 2.0).collect();
        let (apart, length) = (distance(once, &halved), distance(once, &vec![0.0; once.len()]));
        assert!(length > 0.0 && apart < 1e-4 * length, "{apart:e} of {length:e}");
    }
    Ok(())
}

#[test]
fn a_recording_is_walked_back_again_with_the_same_bits() -> Result<()> {
    let (model, batch) = (Autograd::new(&weights(true))?, batch(&LENGTHS));
    let upstream = upstream(batch.targets.len());
    let recording = model.record(&batch)?;
    let walk = |mut recording: Recording| {
        recording.score(TEMPERATURE)?;
        pulled(&model, recording, &upstream)
    };
    let first = walk(recording.again())?;
    assert!(first.iter().all(|sum| sum.iter().any(|x| *x != 0.0)));
    assert!(first.iter().eq(walk(recording)?.iter()));
    Ok(())
}
