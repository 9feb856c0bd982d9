//! Attention over whole packed segments, and its gradient.

use half::bf16;
use proptest::prelude::*;
use stateset_kernels::cuda::{self, Device, Heads};
use stateset_kernels::{Scoring, Segment, reference};

use crate::{Number, assert_close, blank, download, numbers, on_devices, upload, wide};

const THETA: f64 = 10_000.0;

/// Segments with heads of a shape, as the definition has them. Kernels are given queries and keys that are turned.
#[derive(Debug, Clone)]
struct Case {
    packed: reference::Packed,
    /// How large numbers are: scores go up to about `scale^2 sqrt(head_dim)`.
    scale: f32,
    seed: u64,
}

impl Case {
    fn new(segments: Vec<Segment>, Heads { heads, kv_heads, head_dim }: Heads, scale: f32, seed: u64) -> Self {
        Self { packed: reference::Packed { segments, heads, kv_heads, head_dim, theta: THETA }, scale, seed }
    }

    /// `qkv` with the queries and keys of every row turned to its position, or back.
    fn turned(&self, qkv: &[f64], direction: f64) -> Vec<f64> {
        let reference::Packed { segments, heads, kv_heads, head_dim, theta } = &self.packed;
        let first = |segment: &Segment| segment.seen(segments) - segment.tokens;
        let positions = segments.iter().flat_map(|segment| first(segment)..segment.seen(segments));
        let mut turned = qkv.to_vec();
        for (row, position) in turned.chunks_exact_mut((heads + 2 * kv_heads) * head_dim).zip(positions) {
            for head in row.chunks_exact_mut(*head_dim).take(heads + kv_heads) {
                head.copy_from_slice(&reference::rotate(head, position, *theta, direction));
            }
        }
        turned
    }

    /// Output and gradient are within `tolerance` and twice that, and besides within what rounding of `T` does.
    fn holds<T: Number>(&self, tolerance: f64) {
        let reference::Packed { heads, kv_heads, head_dim, .. } = self.packed;
        let (tokens, shape) = (self.packed.tokens(), Heads { heads, kv_heads, head_dim });
        let qkv = numbers::<T>(self.seed, tokens * (heads + 2 * kv_heads) * head_dim, self.scale);
        let d_out = numbers::<T>(self.seed + 1, tokens * heads * head_dim, 1.0);
        let factor = 1.0 / (head_dim as f32).sqrt();
        let (scoring, unturned) = (Scoring::plain(f64::from(factor)), self.turned(&wide(&qkv), -1.0));
        let expected = reference::attention(&self.packed, scoring, &unturned);
        let gradient = reference::attention_backward(&self.packed, scoring, &unturned, &wide(&d_out)).0;
        let gradient = self.turned(&gradient, 1.0);
        for found in on_devices!(|device| run(device, &self.packed.segments, shape, factor, &qkv, &d_out)) {
            assert_close(&found[0], &expected, tolerance + T::ROUNDING);
            assert_close(&found[1], &gradient, 2.0 * (tolerance + T::ROUNDING));
        }
    }
}

/// Output and gradient.
fn run<D: Device, T: Number>(
    device: &D,
    segments: &[Segment],
    heads: Heads,
    scale: f32,
    qkv: &[T],
    d_out: &[T],
) -> Vec<Vec<f64>> {
    let segments = cuda::Segments::new(device, segments).unwrap();
    let (qkv, d_out) = (upload(device, qkv), upload(device, d_out));
    let (mut out, mut d_qkv) = (blank::<_, T>(device, d_out.len()), blank::<_, T>(device, qkv.len()));
    let mut lse = blank::<_, f32>(device, segments.tokens() * heads.heads);
    cuda::attention(device, &segments, heads, scale, &qkv, &mut out, &mut lse).unwrap();
    cuda::attention_backward(device, &segments, heads, scale, &qkv, &out, &d_out, &lse, &mut d_qkv).unwrap();
    vec![download(device, &out), download(device, &d_qkv)]
}

fn alone(lengths: &[usize]) -> Vec<Segment> {
    lengths.iter().copied().map(Segment::alone).collect()
}

/// All parents of so many tokens, then their children in turn, so that some lie behind a parent or a sibling and some do not.
fn families(families: &[(usize, Vec<usize>)]) -> Vec<Segment> {
    let mut segments = alone(&families.iter().map(|(parent, _)| *parent).collect::<Vec<_>>());
    for (parent, (_, children)) in families.iter().enumerate().rev() {
        segments.extend(children.iter().map(|tokens| Segment { tokens: *tokens, parent: Some(parent) }));
    }
    segments
}

fn heads() -> impl Strategy<Value = Heads> {
    let group = prop_oneof![Just(1usize), Just(3), Just(4)];
    let width = prop_oneof![Just(2usize), Just(6), Just(16), Just(34), Just(64)];
    (group, 1..3usize, width).prop_map(|(group, kv_heads, head_dim)| Heads {
        heads: group * kv_heads,
        kv_heads,
        head_dim,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn attention_and_its_gradient_over_ragged_sequences(
        lengths in prop::collection::vec(0..20usize, 0..4), heads in heads(), seed in 0..1000u64,
    ) {
        let case = Case::new(alone(&lengths), heads, 1.5, seed);
        case.holds::<f32>(5e-6);
        case.holds::<bf16>(5e-6);
    }

    #[test]
    fn attention_and_its_gradient_over_shared_beginnings(
        list in prop::collection::vec((0..20usize, prop::collection::vec(0..12usize, 0..3)), 0..3),
        heads in heads(), seed in 0..1000u64,
    ) {
        let case = Case::new(families(&list), heads, 1.5, seed);
        case.holds::<f32>(5e-6);
        case.holds::<bf16>(5e-6);
    }
}

#[test]
fn scores_of_hundreds_leave_one_token_with_everything() {
    // Scores near 200 are right to 1e-5 nats or so, and the gradient carries keys and queries of up to 12.
    Case::new(alone(&[40, 19]), Heads { heads: 2, kv_heads: 1, head_dim: 34 }, 12.0, 5).holds::<f32>(2e-4);
}

#[test]
fn sequences_longer_than_a_block() {
    let heads = Heads { heads: 2, kv_heads: 1, head_dim: 6 };
    Case::new(alone(&[64, 1, 65, 130]), heads, 1.5, 3).holds::<f32>(5e-6);
    Case::new(families(&[(70, vec![66, 1, 129]), (1, vec![64]), (65, vec![3])]), heads, 1.5, 4).holds::<f32>(5e-6);
}

#[test]
fn parents_that_more_rows_see_than_one_block_goes_through() {
    for head_dim in [2, 130] {
        let list = [(70, vec![300, 1, 200, 20]), (1, vec![64])];
        let case = Case::new(families(&list), Heads { heads: 1, kv_heads: 1, head_dim }, 1.5, 7);
        case.holds::<f32>(5e-6);
    }
    let children = vec![250; 5];
    let case = Case::new(families(&[(3, children)]), Heads { heads: 2, kv_heads: 1, head_dim: 8 }, 1.5, 8);
    case.holds::<bf16>(5e-6);
}

#[test]
fn heads_of_every_width() {
    for head_dim in [80, 128, 130, 256] {
        let case = Case::new(families(&[(40, vec![30])]), Heads { heads: 2, kv_heads: 1, head_dim }, 1.5, 6);
        case.holds::<f32>(5e-6);
        case.holds::<bf16>(5e-6);
    }
}

#[test]
#[should_panic(expected = "a parent comes first")]
fn a_parent_that_has_one_itself_is_refused() {
    let child = |parent| Segment { tokens: 1, parent: Some(parent) };
    cuda::Segments::new(&crate::shim(0), &[Segment::alone(1), child(0), child(1)]).unwrap();
}

#[test]
#[should_panic(expected = "attention has no kernel")]
fn heads_wider_than_the_widest_kernel_are_refused() {
    let device = &crate::shim(0);
    let heads = Heads { heads: 1, kv_heads: 1, head_dim: 258 };
    run::<_, f32>(device, &alone(&[1]), heads, 1.0, &numbers(1, 3 * 258, 1.0), &numbers(2, 258, 1.0));
}
