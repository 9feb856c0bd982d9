//! Attention over cached keys and values, for generation.

use proptest::prelude::*;
use stateset_kernels::cpu::{KvCache, Rope, Row, decode_attention};
use stateset_kernels::{Scoring, Segment, reference};

use crate::{assert_close, numbers, reproducible, same_bits, wide};

const THETA: f64 = 10_000.0;
const POSITIONS: usize = 150;

/// Conversations of some `lengths`, one per slot, whose tokens all have their queries, keys and values already.
#[derive(Debug, Clone)]
struct Conversations {
    lengths: Vec<usize>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    seed: u64,
}

impl Conversations {
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn out_width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn sinks(&self) -> Vec<f32> {
        numbers(self.seed + 1, self.heads, 2.0)
    }

    /// Plain for an even seed; with a window, a cap and sinks for an odd one.
    fn scoring<'a>(&self, sinks: &'a [f32]) -> Scoring<'a, f32> {
        let plain = Scoring::plain(1.0 / (self.head_dim as f32).sqrt());
        let window = Some(1 + self.seed as usize % 70);
        if self.seed.is_multiple_of(2) {
            plain
        } else {
            Scoring { window, soft_cap: Some(2.5), sinks: Some(sinks), ..plain }
        }
    }

    fn qkv(&self) -> Vec<f32> {
        numbers(self.seed, self.lengths.iter().sum::<usize>() * self.width(), 1.5)
    }

    /// Every token, as (row, its index in the packed arrays), slot after slot.
    fn tokens(&self) -> Vec<(Row, usize)> {
        let rows = self.lengths.iter().enumerate();
        let rows = rows.flat_map(|(slot, length)| (0..*length).map(move |position| Row { position, slot }));
        rows.zip(0..).collect()
    }

    /// Every token's attention, packed, when `batches` of tokens are decoded one after the other.
    fn decode(&self, batches: &[Vec<(Row, usize)>]) -> Vec<f32> {
        let (qkv, rope) = (self.qkv(), Rope::new(POSITIONS, self.head_dim, THETA));
        let sinks = self.sinks();
        let mut cache = KvCache::new(self.lengths.len(), self.kv_heads, self.head_dim, POSITIONS);
        let mut all = vec![f32::NAN; self.lengths.iter().sum::<usize>() * self.out_width()];
        for batch in batches {
            let rows: Vec<Row> = batch.iter().map(|(row, _)| *row).collect();
            let inputs: Vec<f32> =
                batch.iter().flat_map(|(_, i)| &qkv[i * self.width()..][..self.width()]).copied().collect();
            let mut out = vec![f32::NAN; rows.len() * self.out_width()];
            decode_attention(&mut cache, &rope, self.scoring(&sinks), self.heads, &rows, &inputs, &mut out);
            for ((_, i), out) in batch.iter().zip(out.chunks_exact(self.out_width())) {
                all[i * self.out_width()..][..self.out_width()].copy_from_slice(out);
            }
        }
        all
    }

    /// One token of every conversation at a time, as when all of them are being sampled.
    fn side_by_side(&self) -> Vec<Vec<(Row, usize)>> {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let at = |position| self.tokens().into_iter().filter(|(row, _)| row.position == position).collect();
        (0..longest).map(at).collect()
    }
}

fn conversations(longest: usize) -> impl Strategy<Value = Conversations> {
    let width = prop_oneof![Just(2usize), Just(6), Just(16), Just(34), Just(64)];
    (prop::collection::vec(1..longest, 1..6), 1..4usize, 1..3usize, width, 0..1000u64).prop_map(
        |(lengths, group, kv_heads, head_dim, seed)| Conversations {
            lengths,
            heads: group * kv_heads,
            kv_heads,
            head_dim,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn decoding_token_by_token_equals_attention_over_the_whole(chats in conversations(100)) {
        let [out] = reproducible(|| [chats.decode(&chats.side_by_side())]);
        let (sinks, wide_sinks) = (chats.sinks(), wide(&chats.sinks()));
        let Scoring { scale, window, soft_cap, sinks } = chats.scoring(&sinks);
        let sinks = sinks.map(|_| &wide_sinks[..]);
        let scoring = Scoring { scale: f64::from(scale), window, soft_cap: soft_cap.map(f64::from), sinks };
        let Conversations { lengths, heads, kv_heads, head_dim, .. } = chats.clone();
        let segments = lengths.into_iter().map(Segment::alone).collect();
        let packed = reference::Packed { segments, heads, kv_heads, head_dim, theta: THETA };
        assert_close(&out, &reference::attention(&packed, scoring, &wide(&chats.qkv())), 2e-6);
    }

    #[test]
    fn what_a_token_computes_does_not_depend_on_its_batch(chats in conversations(POSITIONS), width in 1..9usize) {
        let expected = chats.decode(&chats.side_by_side());
        let alone: Vec<_> = chats.tokens().into_iter().map(|token| vec![token]).collect();
        // Slot after slot in pieces: how prompts are read, several tokens of one conversation in a batch.
        let pieces: Vec<_> = chats.tokens().chunks(width).map(<[_]>::to_vec).collect();
        prop_assert!(same_bits(&expected, &chats.decode(&alone)), "alone");
        prop_assert!(same_bits(&expected, &chats.decode(&pieces)), "in pieces of {}", width);
    }

    #[test]
    fn what_a_slot_held_before_does_not_matter(chats in conversations(40)) {
        // The same conversations again, in slots that have just been used: positions start over.
        let batches = chats.side_by_side();
        let twice: Vec<_> = batches.iter().chain(&batches).cloned().collect();
        prop_assert!(same_bits(&chats.decode(&batches), &chats.decode(&twice)));
    }

    #[test]
    fn a_copied_beginning_is_as_good_as_a_computed_one(chats in conversations(POSITIONS), shared in 1..POSITIONS) {
        // Slot 0's conversation goes on in an additional slot, from a beginning that was copied.
        let (width, out_width, length) = (chats.width(), chats.out_width(), chats.lengths[0]);
        let (qkv, rope, shared) = (chats.qkv(), Rope::new(POSITIONS, chats.head_dim, THETA), shared.min(length));
        let sinks = chats.sinks();
        let mut cache = KvCache::new(2, chats.kv_heads, chats.head_dim, POSITIONS);
        let decode = |cache: &mut KvCache, slot, positions: std::ops::Range<usize>| {
            let mut out = vec![f32::NAN; positions.len() * out_width];
            let rows: Vec<Row> = positions.clone().map(|position| Row { position, slot }).collect();
            let inputs = &qkv[positions.start * width..positions.end * width];
            decode_attention(cache, &rope, chats.scoring(&sinks), chats.heads, &rows, inputs, &mut out);
            out
        };
        // What the other slot held before must not show through.
        decode(&mut cache, 1, 0..length);
        let whole = decode(&mut cache, 0, 0..length);
        cache.copy(0, 1, shared);
        prop_assert!(same_bits(&decode(&mut cache, 1, shared..length), &whole[shared * out_width..]));
    }
}
