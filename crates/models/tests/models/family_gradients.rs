//! Gradients of whole families: those of torch's autograd where it was asked, and of finite differences everywhere.

use candle_core::Result;
use stateset_domain::NamedTensor;
use stateset_models::{Autograd, Decoder, HostWeights, PackedBatch};

use crate::fixture::{ALL, Expected, assert_near, folder, load};
use crate::gradients::pulled;

/// The sequence of a family, every token scored after the first, and what their log-probabilities are multiplied by.
fn scored(expected: &Expected, reach: usize) -> (PackedBatch, Vec<f32>) {
    let ids: Vec<u32> = expected.ids("ids").into_iter().take(reach).collect();
    let mut batch = PackedBatch::default();
    batch.push(&ids, &vec![true; ids.len()]);
    (batch, expected.floats("coefficients")[1..ids.len()].to_vec())
}

fn loss(model: &Autograd, batch: &PackedBatch, along: &[f32]) -> Result<f32> {
    let [log_probs, _] = model.log_probs(batch, 1.0)?;
    Ok(log_probs.iter().zip(along).map(|(it, along)| it * along).sum())
}

/// The gradient of every weight.
fn gradients(model: &Autograd, batch: &PackedBatch, along: &[f32]) -> Result<Decoder<Vec<f32>>> {
    let mut recording = model.record(batch)?;
    recording.score(1.0)?;
    pulled(model, recording, &[along, &vec![0.0; along.len()]].concat())
}

#[test]
fn gradients_are_those_of_torch() -> Result<()> {
    for (family, pad) in [("llama", 378), ("qwen3", 375)] {
        let (model, expected) = (load(family), Expected::of(family));
        let (batch, along) = scored(&expected, usize::MAX);
        let autograd = Autograd::new(&model.weights)?;
        let value = loss(&autograd, &batch, &along)?;
        assert_near(family, &[value], expected.floats("loss"), 1e-5);
        let values = gradients(&autograd, &batch, &along)?;
        let right = Expected::read(&folder(family).join("gradients.safetensors"));
        let found = HostWeights::new(&model.weights.config, &values).to_tensors();
        assert_eq!(found.len(), right.all().len());
        for NamedTensor { name, data, shape } in found {
            let mut data = data.to_vec();
            if name == "model.embed_tokens.weight" {
                // torch keeps what a padding token is read as out of the gradient, though this sequence reads it.
                let row = pad * shape[1]..(pad + 1) * shape[1];
                data[row.clone()].copy_from_slice(&right.floats(&name)[row]);
            }
            assert_near(&name, &data, right.floats(&name), 1e-3);
        }
    }
    Ok(())
}

#[test]
fn the_slope_along_every_weight_agrees_with_finite_differences() -> Result<()> {
    for family in ALL {
        let (model, expected) = (load(family), Expected::of(family));
        let reach = model.weights.config.max_position_embeddings;
        let (batch, along) = scored(&expected, reach);
        let values = gradients(&Autograd::new(&model.weights)?, &batch, &along)?;
        let names: Vec<String> = model.weights.config.parameters().iter().map(|it| it.name.clone()).collect();
        for (at, (name, gradient)) in names.iter().zip(values.iter()).enumerate() {
            // Along the gradient itself, where the loss moves most.
            let length = gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            assert!(length > 1e-4, "{family}: {name} changes nothing");
            let value = |by: f64| -> Result<f64> {
                let mut index = 0;
                let moved = model.weights.map(|values| {
                    index += 1;
                    let step = |(x, d): (&f32, &f32)| (f64::from(*x) + by * f64::from(*d) / length) as f32;
                    let is_it = index - 1 == at;
                    if is_it { values.iter().zip(gradient).map(step).collect() } else { values.to_vec() }
                });
                Ok(f64::from(loss(&Autograd::new(&moved)?, &batch, &along)?))
            };
            // Near an edge, a longer step would send tokens to other experts.
            let (by, noise) = if model.weights.config.experts.is_some() { (2e-4, 6e-2) } else { (4e-3, 2e-3) };
            let slope = (value(by)? - value(-by)?) / (2.0 * by);
            assert!((slope - length).abs() < 0.02 * length + noise, "{family}: {name}: {slope} is not {length}");
        }
    }
    Ok(())
}

#[test]
fn blocks_that_are_run_again_give_the_same_gradient_bit_by_bit() -> Result<()> {
    for family in ALL {
        let (model, expected) = (load(family), Expected::of(family));
        let (batch, along) = scored(&expected, model.weights.config.max_position_embeddings);
        let kept = gradients(&Autograd::new(&model.weights)?, &batch, &along)?;
        let again = gradients(&Autograd::new(&model.weights)?.checkpointing(true), &batch, &along)?;
        assert!(kept.iter().eq(again.iter()), "{family}");
    }
    Ok(())
}
