//! Sequences packed end to end do not see one another.

use candle_core::Result;
use stateset_kernels::Segment;
use stateset_models::{Autograd, PackedBatch};

use crate::{batch, tokens, weights};

fn log_probs(model: &Autograd, batch: &PackedBatch) -> Vec<f32> {
    let [log_probs, _] = model.log_probs(batch, 1.0).unwrap();
    log_probs
}

#[test]
fn a_packed_sequence_scores_as_it_does_alone() -> Result<()> {
    let model = Autograd::new(&weights(true))?;
    let lengths = [5, 17, 2, 66];
    let packed = log_probs(&model, &batch(&lengths));
    let mut alone = Vec::new();
    for (seed, length) in lengths.iter().enumerate() {
        let mut one = PackedBatch::default();
        one.push(&tokens(seed as u64, *length), &vec![true; *length]);
        alone.extend(log_probs(&model, &one));
    }
    assert_eq!(packed.len(), alone.len());
    for (packed, alone) in packed.iter().zip(&alone) {
        assert!((packed - alone).abs() < 1e-6 * alone.abs().max(1.0), "{packed} is not {alone}");
    }
    Ok(())
}

#[test]
fn only_scored_tokens_are_scored_and_the_first_never_is() {
    let mut batch = PackedBatch::default();
    batch.push(&[7, 8, 9], &[true, false, true]);
    batch.push(&[], &[]);
    batch.push(&[5, 6], &[false, true]);
    assert_eq!(batch.segments, [2, 1].map(Segment::alone));
    assert_eq!((batch.rows, batch.targets), (vec![1, 2], vec![9, 6]));
}

#[test]
fn a_sequence_beyond_the_context_is_refused() -> Result<()> {
    let error = Autograd::new(&weights(true))?.log_probs(&batch(&[98]), 1.0).unwrap_err();
    assert!(error.to_string().contains("97 tokens exceeds the context of 96"), "{error}");
    Ok(())
}

#[test]
fn a_sequence_whose_beginning_is_shared_is_as_long_as_it_is() -> Result<()> {
    let (beginning, rest) = (tokens(1, 60), tokens(2, 38));
    let whole = [beginning, rest].concat();
    let scored: Vec<bool> = (0..whole.len()).map(|at| at >= 60).collect();
    let mut batch = PackedBatch::default();
    batch.push_family(60, [(&whole[..61], &scored[..61]), (&whole[..], &scored[..])]);
    let error = Autograd::new(&weights(true))?.states(&batch).unwrap_err();
    assert!(error.to_string().contains("97 tokens exceeds the context of 96"), "{error}");
    Ok(())
}

#[test]
fn a_token_beyond_the_vocabulary_is_refused() -> Result<()> {
    let mut batch = PackedBatch::default();
    batch.push(&[1, 37], &[false, true]);
    let error = Autograd::new(&weights(true))?.states(&batch).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("token 37 exceeds the vocabulary of 37"), "{error}");
    Ok(())
}
