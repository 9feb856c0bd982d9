//! Sequences packed end to end do not see one another.

use stateset_models::{Autograd, PackedBatch};

use crate::{batch, tokens, weights};

fn log_probs(model: &mut Autograd, batch: &PackedBatch) -> Vec<f32> {
    model.score(batch, 1.0).unwrap().log_probs().to_vec()
}

#[test]
fn a_packed_sequence_scores_as_it_does_alone() {
    let mut model = Autograd::new(weights(true));
    let lengths = [5, 17, 2, 66];
    let packed = log_probs(&mut model, &batch(&lengths));
    let mut alone = Vec::new();
    for (seed, length) in lengths.iter().enumerate() {
        let mut one = PackedBatch::default();
        one.push(&tokens(seed as u64, *length), &vec![true; *length]);
        alone.extend(log_probs(&mut model, &one));
    }
    assert_eq!(packed.len(), alone.len());
    for (packed, alone) in packed.iter().zip(&alone) {
        assert!((packed - alone).abs() < 1e-6 * alone.abs().max(1.0), "{packed} is not {alone}");
    }
}

#[test]
fn only_scored_tokens_are_scored_and_the_first_never_is() {
    let mut batch = PackedBatch::default();
    batch.push(&[7, 8, 9], &[true, false, true]);
    batch.push(&[], &[]);
    batch.push(&[5, 6], &[false, true]);
    assert_eq!(batch.lengths, [3, 2]);
    assert_eq!((batch.rows, batch.targets), (vec![1, 3], vec![9, 6]));
}

#[test]
fn a_sequence_beyond_the_context_is_refused() {
    let error = Autograd::new(weights(true)).score(&batch(&[97]), 1.0).err().unwrap();
    assert!(error.to_string().contains("97 tokens exceeds the context of 96"), "{error}");
}
