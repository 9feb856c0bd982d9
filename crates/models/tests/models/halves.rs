//! Weights that bf16 holds exactly take half the memory and answer the same, to the bit.

use std::convert::Infallible;
use std::sync::Arc;

use candle_core::Result;
use half::bf16;
use stateset_domain::Stream;
use stateset_models::{Autograd, HostAdapter, HostWeights, LoraConfig, PackedBatch, Stored, Targets};

use crate::fixture::{ALL, Expected, load};

/// `weights`, rounded to bf16.
fn rounded(weights: &HostWeights) -> HostWeights {
    weights.map(|values| values.iter().map(|x| bf16::from_f32(*x).to_f32()).collect())
}

/// The same numbers in four bytes each.
fn in_four_bytes(weights: &HostWeights) -> HostWeights {
    let widen = |values: &Arc<Stored>| Ok::<_, Infallible>(Arc::new(Stored::F32(values.to_f32().into_owned())));
    let Ok(values) = weights.values.try_map(widen);
    HostWeights { config: weights.config.clone(), values }
}

/// Log-probabilities and entropies by an adapted decoder, and the gradients of the adapter.
fn learnt(weights: &HostWeights, batch: &PackedBatch) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
    let lora = LoraConfig { rank: 3, alpha: 6.0, stabilised: false, dropout: 0.0, targets: Targets::AllLinear };
    let mut adapter = HostAdapter::fresh(&weights.config, lora, Stream::new(1)).unwrap();
    let mut noise = Stream::new(2);
    adapter.factors.iter_mut().flat_map(|it| &mut it.b).for_each(|b| *b = (0.1 * noise.normal()) as f32);
    let model = Autograd::adapted(weights, adapter)?;
    let mut recording = model.record(batch)?;
    let found = recording.score(0.8)?;
    let along: Vec<f32> = (0..batch.targets.len()).map(|i| (i % 5) as f32 - 1.5).collect();
    let mut sums: Vec<Vec<f32>> = model.learnt().iter().map(|it| vec![0.0; it.len()]).collect();
    recording.pull_scores((&along, &along), &mut sums)?;
    recording.backward(&mut sums)?;
    Ok((found.concat(), sums))
}

#[test]
fn two_bytes_answer_and_teach_an_adapter_as_four_do() -> Result<()> {
    for family in ALL {
        let (weights, expected) = (rounded(&load(family).weights), Expected::of(family));
        let (reach, mut batch) = (weights.config.max_position_embeddings, PackedBatch::default());
        for sequence in expected.batch().into_iter().filter(|it| it.len() <= reach) {
            batch.push(&sequence, &vec![true; sequence.len()]);
        }
        let wide = in_four_bytes(&weights);
        // Norms that are kept less one are no bf16 numbers; they are few.
        assert!(weights.bytes() * 100 < wide.bytes() * 51, "{family}: {} of {}", weights.bytes(), wide.bytes());
        assert!(learnt(&weights, &batch)? == learnt(&wide, &batch)?, "{family}");
        let frozen = |weights| Autograd::frozen(weights).log_probs(&batch, 1.0);
        assert!(frozen(&weights)? == frozen(&wide)?, "{family}");
    }
    Ok(())
}

#[test]
fn what_is_loaded_is_held_as_it_was_stored_and_shared_where_an_adapter_leaves_it() {
    let weights = rounded(&load("qwen2").weights);
    let loaded = HostWeights::from_tensors(&weights.config, &weights.to_tensors()).unwrap();
    assert_eq!(loaded.bytes(), weights.bytes());
    let lora = LoraConfig { rank: 1, alpha: 1.0, stabilised: false, dropout: 0.0, targets: Targets::Attention };
    let merged = HostAdapter::fresh(&loaded.config, lora, Stream::new(1)).unwrap().merged(&loaded);
    let (shared, all) = (merged.values.iter().zip(loaded.values.iter()), loaded.values.iter().count());
    // Two of every layer's weights are adapted.
    assert_eq!(shared.filter(|(a, b)| Arc::ptr_eq(a, b)).count(), all - 2 * loaded.config.num_hidden_layers());
}
