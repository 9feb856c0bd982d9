//! Generation and training see the same distributions.

use stateset_kernels::cpu::{Row, log_prob};
use stateset_models::{Autograd, Decode, ServedWeights};

use crate::{batch, tokens, weights};

/// Nats between what the sampler records and what the trainer computes.
const GAP: f32 = 1e-5;

struct Conversation {
    slot: usize,
    tokens: Vec<u32>,
    fed: usize,
    /// Log-probability of each token after the first.
    found: Vec<f32>,
}

/// Feeds up to `pieces[i]` tokens of conversation `i`, all in one step.
fn step(decode: &mut Decode, weights: &ServedWeights, all: &mut [Conversation], pieces: &[usize]) {
    let (mut fed, mut rows) = (Vec::new(), Vec::new());
    for (one, piece) in all.iter_mut().zip(pieces) {
        let end = (one.fed + piece).min(one.tokens.len() - 1);
        fed.extend_from_slice(&one.tokens[one.fed..end]);
        rows.extend((one.fed..end).map(|position| Row { position, slot: one.slot }));
        one.fed = end;
    }
    let selected: Vec<usize> = (0..rows.len()).collect();
    let logits = decode.step(weights, &fed, &rows, &selected);
    for (row, logits) in rows.iter().zip(logits.chunks_exact(37)) {
        let one = all.iter_mut().find(|one| one.slot == row.slot).unwrap();
        let next = one.tokens[row.position + 1];
        one.found.push(log_prob(logits, &[next], 1.0, 37).log_prob[0]);
    }
}

#[test]
fn stepping_in_ragged_pieces_gives_the_log_probs_of_training() {
    for tied in [true, false] {
        let (lengths, slots) = ([40, 3, 70, 11], [2, 0, 3, 1]);
        let host = weights(tied);
        let served = ServedWeights::new(&host.config, &host.to_tensors()).unwrap();
        let mut decode = Decode::new(&host.config, 4, 96);
        let conversation =
            |(i, slot)| Conversation { slot, tokens: tokens(i as u64, lengths[i]), fed: 0, found: Vec::new() };
        let mut all: Vec<Conversation> = slots.into_iter().enumerate().map(conversation).collect();
        for pieces in [[5, 1, 0, 1], [1, 1, 33, 1], [0, 0, 1, 1]].into_iter().chain(std::iter::repeat_n([1; 4], 80)) {
            step(&mut decode, &served, &mut all, &pieces);
        }
        let model = Autograd::new(&host).unwrap();
        let [trained, _] = model.log_probs(&batch(&lengths), 1.0).unwrap();
        let stepped: Vec<f32> = all.into_iter().flat_map(|one| one.found).collect();
        assert_eq!(stepped.len(), trained.len());
        for (stepped, trained) in stepped.iter().zip(&trained) {
            assert!((stepped - trained).abs() <= GAP, "{stepped} is not {trained}");
        }
    }
}

#[test]
fn a_slot_overwritten_by_another_conversation_remembers_nothing() {
    let host = weights(true);
    let served = ServedWeights::new(&host.config, &host.to_tensors()).unwrap();
    let feed = |decode: &mut Decode, seed| {
        let mut one = [Conversation { slot: 0, tokens: tokens(seed, 20), fed: 0, found: Vec::new() }];
        step(decode, &served, &mut one, &[20]);
        one[0].found.clone()
    };
    let mut used = Decode::new(&host.config, 1, 96);
    feed(&mut used, 1);
    assert_eq!(feed(&mut used, 2), feed(&mut Decode::new(&host.config, 1, 96), 2));
}
