//! Values and gradients of the whole decoder.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor};
use stateset_domain::{NamedTensor, Stream};
use stateset_models::{Autograd, HostWeights};

use crate::composed::Composed;
use crate::{batch, tokens, weights};

const LENGTHS: [usize; 4] = [9, 2, 1, 70];
const TEMPERATURE: f32 = 0.8;

/// What multiplies log-probabilities and entropies, `[2, scored]`: any numbers will do, as long as they differ.
fn upstream(scored: usize) -> Vec<f64> {
    let mut stream = Stream::new(3);
    (0..2 * scored).map(|_| f64::from(stream.normal() as f32)).collect()
}

fn weighted(found: &Tensor, upstream: &[f64]) -> Result<Tensor> {
    let upstream = Tensor::from_slice(upstream, found.shape(), &Device::Cpu)?.to_dtype(found.dtype())?;
    (found * upstream)?.sum_all()
}

/// Gradients under the names and shapes of the weights.
fn by_name(model: &Autograd, weights: &HostWeights, found: &GradStore) -> Vec<NamedTensor> {
    let gradient = |var: &candle_core::Var| found.get(var.as_tensor()).unwrap().flatten_all()?.to_vec1();
    let values = model.variables().try_map(gradient).unwrap();
    HostWeights { config: weights.config.clone(), values }.to_tensors()
}

#[test]
fn values_and_gradients_are_those_of_the_composed_decoder() -> Result<()> {
    for tied in [true, false] {
        let weights = weights(tied);
        let (model, composed) = (Autograd::new(&weights)?, Composed::new(&weights)?);
        let found = model.log_probs(&batch(&LENGTHS), TEMPERATURE)?;
        let scored = LENGTHS.into_iter().enumerate().filter(|(_, length)| *length > 1);
        let parts = scored.map(|(i, n)| composed.log_probs(&tokens(i as u64, n), f64::from(TEMPERATURE)));
        let expected = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?;
        let distance = (found.to_dtype(DType::F64)? - &expected)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(distance < 1e-5, "values differ by {distance:e}");

        let upstream = upstream(expected.dim(1)?);
        let actual = by_name(&model, &weights, &weighted(&found, &upstream)?.backward()?);
        let expected = weighted(&expected, &upstream)?.backward()?;
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
fn a_head_on_detached_states_learns_the_same_without_keeping_logits() -> Result<()> {
    let (weights, batch) = (weights(false), batch(&LENGTHS));
    let model = Autograd::new(&weights)?;
    let states = model.states(&batch)?;
    let upstream = upstream(batch.targets.len());
    let [kept, made_again] = [&states, &states.detach()].map(|states| -> Result<Tensor> {
        let gradients = weighted(&model.log_probs_of(states, &batch, TEMPERATURE)?, &upstream)?.backward()?;
        Ok(gradients.get(model.variables().head().as_tensor()).unwrap().clone())
    });
    let (kept, made_again) = (kept?, made_again?);
    let largest = |tensor: &Tensor| tensor.abs()?.max_all()?.to_scalar::<f32>();
    assert!(largest(&(&kept - made_again)?)? <= 1e-6 * largest(&kept)?);
    Ok(())
}

#[test]
fn the_gradient_is_the_slope_along_random_directions() -> Result<()> {
    const STEP: f64 = 2e-4;
    let (weights, batch) = (weights(true), batch(&LENGTHS));
    let upstream = upstream(batch.targets.len());
    let loss = |weights: &HostWeights| -> Result<f64> {
        let found = Autograd::new(weights)?.log_probs(&batch, 1.0)?;
        weighted(&found.to_dtype(DType::F64)?, &upstream)?.to_scalar()
    };
    let model = Autograd::new(&weights)?;
    let gradient = weighted(&model.log_probs(&batch, 1.0)?, &upstream)?.backward()?;
    let gradient = model.variables().try_map(|var| gradient.get(var).unwrap().flatten_all()?.to_vec1::<f32>())?;
    let norm = gradient.iter().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    for direction in 0..4 {
        let moved = |sign: f64| {
            let mut stream = Stream::new(10 + direction);
            let mut shift = |x: &f32| (f64::from(*x) + sign * STEP * stream.normal()) as f32;
            let Ok(values) = weights.values.try_map(|values| -> std::result::Result<_, std::convert::Infallible> {
                Ok(values.iter().map(&mut shift).collect())
            });
            HostWeights { config: weights.config.clone(), values }
        };
        let slope = (loss(&moved(1.0))? - loss(&moved(-1.0))?) / (2.0 * STEP);
        let mut stream = Stream::new(10 + direction);
        let expected: f64 = gradient.iter().flatten().map(|g| f64::from(*g) * stream.normal()).sum();
        assert!((slope - expected).abs() < 2e-3 * norm, "{slope} is not {expected}; the gradient is {norm} long");
    }
    Ok(())
}
