//! Attention over packed sequences, for training.

use proptest::prelude::*;
use stateset_kernels::{Scoring, Segment, cpu, reference};

use crate::{assert_close, numbers, reproducible, wide};

const THETA: f64 = 10_000.0;

/// `scale` sets how peaked the probabilities are: scores go up to about `scale^2 sqrt(head_dim)`.
fn case(
    segments: &[Segment],
    (heads, kv_heads, head_dim): (usize, usize, usize),
    scale: f32,
    seed: u64,
    tolerance: f64,
) {
    let segments = segments.to_vec();
    let longest = segments.iter().map(|segment| segment.seen(&segments)).max().unwrap_or(0);
    let packed = cpu::Packed { segments: segments.clone(), heads, kv_heads, head_dim };
    let rope = cpu::Rope::new(longest, head_dim, THETA);
    for (window, soft_cap, sinks) in [(None, None, false), (Some(1 + seed as usize % 70), Some(2.0 + scale), true)] {
        held(&packed, &rope, scale, seed, tolerance, (window, soft_cap, sinks));
    }
}

/// To the definition, under a window, a cap and sinks.
fn held(
    packed: &cpu::Packed,
    rope: &cpu::Rope,
    scale: f32,
    seed: u64,
    tolerance: f64,
    (window, soft_cap, sunk): (Option<usize>, Option<f32>, bool),
) {
    let cpu::Packed { segments, heads, kv_heads, head_dim } = packed.clone();
    let sinks = numbers(seed + 2, heads, scale);
    let factor = 1.0 / (head_dim as f32).sqrt();
    let scoring = Scoring { scale: factor, window, soft_cap, sinks: sunk.then_some(&sinks[..]) };
    let qkv = numbers(seed, packed.tokens() * packed.row(), scale);
    let dout = numbers(seed + 1, packed.tokens() * heads * head_dim, 1.0);
    let [out, dqkv, d_sinks] = reproducible(|| {
        let (mut out, mut lse) = (vec![f32::NAN; dout.len()], vec![f32::NAN; packed.tokens() * heads]);
        let mut dqkv = vec![f32::NAN; qkv.len()];
        cpu::attention(packed, rope, scoring, &qkv, &mut out, &mut lse);
        cpu::attention_backward(packed, rope, scoring, &qkv, &out, &dout, &lse, &mut dqkv);
        let mut d_sinks = vec![0.0; heads];
        if sunk {
            cpu::sinks_backward(packed, &sinks, &out, &dout, &lse, &mut d_sinks);
        }
        [out, dqkv, d_sinks]
    });
    let packed = reference::Packed { segments, heads, kv_heads, head_dim, theta: THETA };
    let (qkv, dout) = (wide(&qkv), wide(&dout));
    let sinks = wide(&sinks);
    let (scale, soft_cap) = (f64::from(factor), soft_cap.map(f64::from));
    let scoring = Scoring { scale, window, soft_cap, sinks: sunk.then_some(&sinks[..]) };
    assert_close(&out, &reference::attention(&packed, scoring, &qkv), tolerance);
    let (expected_dqkv, expected_d_sinks) = reference::attention_backward(&packed, scoring, &qkv, &dout);
    assert_close(&dqkv, &expected_dqkv, tolerance);
    assert_close(&d_sinks, &expected_d_sinks, tolerance);
}

fn alone(lengths: &[usize]) -> Vec<Segment> {
    lengths.iter().copied().map(Segment::alone).collect()
}

/// A parent of so many tokens, and its children right behind it; family after family.
fn families(families: &[(usize, Vec<usize>)]) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (parent, children) in families {
        let at = segments.len();
        segments.push(Segment::alone(*parent));
        segments.extend(children.iter().map(|tokens| Segment { tokens: *tokens, parent: Some(at) }));
    }
    segments
}

fn heads() -> impl Strategy<Value = (usize, usize, usize)> {
    let width = prop_oneof![Just(2usize), Just(6), Just(16), Just(34)];
    (1..4usize, 1..3usize, width).prop_map(|(group, kv_heads, head_dim)| (group * kv_heads, kv_heads, head_dim))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn attention_and_its_gradient_over_ragged_sequences(
        lengths in prop::collection::vec(0..20usize, 0..5), heads in heads(), seed in 0..1000u64,
    ) {
        case(&alone(&lengths), heads, 1.5, seed, 5e-6);
    }

    #[test]
    fn attention_and_its_gradient_over_shared_beginnings(
        list in prop::collection::vec((0..20usize, prop::collection::vec(0..12usize, 0..4)), 0..4),
        heads in heads(), seed in 0..1000u64,
    ) {
        case(&families(&list), heads, 1.5, seed, 5e-6);
    }

    #[test]
    fn scores_of_hundreds_leave_one_token_with_everything(
        lengths in prop::collection::vec(1..20usize, 1..4), heads in heads(), seed in 0..1000u64,
    ) {
        // Scores near 200 are right to 1e-5 nats or so, and the gradient carries keys and queries of up to 12.
        case(&alone(&lengths), heads, 12.0, seed, 2e-4);
    }
}

#[test]
fn sequences_longer_than_a_block() {
    case(&alone(&[64, 1, 65, 130]), (2, 1, 6), 1.5, 3, 5e-6);
    case(&families(&[(70, vec![66, 1, 129]), (1, vec![64])]), (2, 1, 6), 1.5, 4, 5e-6);
}

#[test]
#[should_panic(expected = "a parent comes first")]
fn a_parent_that_has_one_itself_is_refused() {
    let child = |parent| Segment { tokens: 1, parent: Some(parent) };
    case(&[Segment::alone(1), child(0), child(1)], (1, 1, 2), 1.0, 1, 1.0);
}
