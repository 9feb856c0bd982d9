//! Every family answers as transformers does: at once, step by step, packed.

use candle_core::Result;
use stateset_kernels::cpu::Row;
use stateset_models::{Autograd, Decode, PackedBatch, Pretrained, ServedWeights};

use crate::fixture::{ALL, Expected, assert_near, load};

/// Of the largest logit.
const NEAR: f32 = 1e-4;

/// Sequences end to end, and the logits after every token of each asked for.
fn everywhere(sequences: &[Vec<u32>]) -> PackedBatch {
    let mut batch = PackedBatch::default();
    sequences.iter().for_each(|tokens| batch.push(&[tokens, &[0][..]].concat(), &vec![true; tokens.len() + 1]));
    batch
}

fn logits(model: &Autograd, sequences: &[Vec<u32>]) -> Result<Vec<f32>> {
    model.logits(&model.states(&everywhere(sequences))?)?.flatten_all()?.to_vec1()
}

/// The longest sequence that frequencies are given for; those of some families change beyond.
fn reach(model: &Pretrained) -> usize {
    model.weights.config.max_position_embeddings
}

#[test]
fn logits_at_once_and_packed_are_those_of_transformers() -> Result<()> {
    for family in ALL {
        let (model, expected) = (load(family), Expected::of(family));
        let (autograd, vocabulary) = (Autograd::new(&model.weights)?, model.weights.config.vocab_size);
        let ids = expected.ids("ids");
        if ids.len() <= reach(&model) {
            assert_near(family, &logits(&autograd, &[ids])?, expected.floats("logits"), NEAR);
        }
        let (mut fitting, mut right, mut start) = (Vec::new(), Vec::new(), 0);
        for sequence in expected.batch() {
            let end = start + sequence.len() * vocabulary;
            if sequence.len() <= reach(&model) {
                right.extend_from_slice(&expected.floats("batch_logits")[start..end]);
                fitting.push(sequence);
            }
            start = end;
        }
        assert!(!fitting.is_empty(), "{family}");
        assert_near(&format!("{family}, packed"), &logits(&autograd, &fitting)?, &right, NEAR);
    }
    Ok(())
}

/// Runs a model on a conversation.
struct Reader {
    decode: Decode,
    weights: ServedWeights,
    position: usize,
}

impl Reader {
    fn new(model: &Pretrained) -> Self {
        let config = &model.weights.config;
        let weights = ServedWeights::new(config, &model.weights.to_tensors()).unwrap();
        Self { decode: Decode::new(config, 3, 32), weights, position: 0 }
    }

    /// The logits after every one of `tokens`.
    fn read(&mut self, tokens: &[u32]) -> Vec<f32> {
        let rows = (self.position..self.position + tokens.len()).map(|position| Row { position, slot: 1 });
        let rows: Vec<Row> = rows.collect();
        self.position += tokens.len();
        self.decode.step(&self.weights, tokens, &rows, &(0..tokens.len()).collect::<Vec<_>>()).to_vec()
    }
}

#[test]
fn decoding_with_a_cache_is_what_transformers_decodes_across_the_windows_edge() {
    for family in ALL {
        let (model, expected) = (load(family), Expected::of(family));
        let (ids, vocabulary) = (expected.ids("ids"), model.weights.config.vocab_size);
        if ids.len() > reach(&model) {
            continue;
        }
        let mut reader = Reader::new(&model);
        let begun = reader.read(&ids[..10]);
        assert_near(family, &begun, &expected.floats("logits")[..10 * vocabulary], NEAR);
        let stepped: Vec<f32> = ids[10..].iter().flat_map(|id| reader.read(&[*id])).collect();
        assert_near(&format!("{family}, step by step"), &stepped, expected.floats("decode_logits"), NEAR);
        let mut reader = Reader::new(&model);
        let mut logits = reader.read(&ids[..10]).split_off(9 * vocabulary);
        for right in expected.ids("greedy") {
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(logits.iter().position(|logit| *logit == best), Some(right as usize), "{family}");
            logits = reader.read(&[right]);
        }
    }
}

#[test]
fn what_is_shared_by_a_group_is_computed_once_to_the_same_logits() -> Result<()> {
    for family in ALL {
        let (model, expected) = (load(family), Expected::of(family));
        let ids: Vec<u32> = expected.ids("ids").into_iter().take(reach(&model)).collect();
        let autograd = Autograd::new(&model.weights)?;
        let (first, mut second) = (ids.clone(), ids.clone());
        second[12..].reverse();
        let mut shared = PackedBatch::default();
        let scored = vec![true; ids.len()];
        let unscored = [&[false; 12][..], &scored[12..]].concat();
        shared.push_family(12, [(&first[..], &unscored[..]), (&second[..], &unscored[..])]);
        let mut apart = PackedBatch::default();
        apart.push(&first, &unscored);
        apart.push(&second, &unscored);
        let found = |batch: &PackedBatch| autograd.log_probs(batch, 1.0).map(|found| found.concat());
        assert_near(family, &found(&shared)?, &found(&apart)?, 1e-5);
    }
    Ok(())
}

#[test]
fn weights_leave_as_they_came() {
    for family in ALL {
        let model = load(family);
        let tensors = model.weights.to_tensors();
        let back = stateset_models::HostWeights::from_tensors(&model.weights.config, &tensors).unwrap();
        assert!(back.values.iter().eq(model.weights.values.iter()), "{family}");
    }
}

#[test]
fn configurations_of_transformers_4_and_5_say_the_same() {
    for family in ["llama", "qwen3", "gemma3"] {
        let read = |name: &str| {
            let path = crate::fixture::folder(family).join(name);
            stateset_models::ModelConfig::from_json(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        assert_eq!(read("config.json"), read("config.v4.json"), "{family}");
    }
}
