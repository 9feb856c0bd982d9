//! Attention over cached keys and values.

use half::bf16;
use proptest::prelude::*;
use stateset_kernels::cuda::{self, Array, CacheRow, Device};
use stateset_kernels::{Scoring, Segment, reference};

use crate::{Number, assert_close, assert_same_bits, blank, download, numbers, on_devices, upload, wide};

const THETA: f64 = 10_000.0;

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

    fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    fn qkv<T: Number>(&self) -> Vec<T> {
        numbers(self.seed, self.lengths.iter().sum::<usize>() * self.width(), 1.5)
    }

    /// Every token, as (row, its index in the packed arrays), slot after slot.
    fn tokens(&self) -> Vec<(CacheRow, usize)> {
        let lengths = self.lengths.iter().enumerate();
        let rows = lengths.flat_map(|(slot, length)| (0..*length).map(move |position| (slot as u32, position as u32)));
        rows.map(|(slot, position)| CacheRow { slot, position }).zip(0..).collect()
    }

    /// Every token's attention, packed, when `batches` of tokens are decoded one after the other. Tokens in no batch are 0.
    fn decode<D: Device, T: Number>(&self, device: &D, batches: &[Vec<(CacheRow, usize)>]) -> Vec<f64> {
        let (qkv, positions) = (self.qkv::<T>(), self.longest());
        let tables = cuda::Rope::new(device, positions, self.head_dim, THETA).unwrap();
        let mut cache =
            cuda::KvCache::<D, T>::new(device, self.lengths.len(), self.kv_heads, self.head_dim, positions).unwrap();
        let mut all = vec![0.0; self.lengths.iter().sum::<usize>() * self.out_width()];
        for batch in batches {
            let rows: Vec<CacheRow> = batch.iter().map(|(row, _)| *row).collect();
            let inputs: Vec<T> =
                batch.iter().flat_map(|(_, i)| &qkv[i * self.width()..][..self.width()]).copied().collect();
            let longest = rows.iter().map(|row| row.position as usize + 1).max().unwrap_or(0);
            let rows = Array::from_slice(device, &rows).unwrap();
            let mut out = blank::<D, T>(device, rows.len() * self.out_width());
            let inputs = upload(device, &inputs);
            cuda::decode_attention(device, &mut cache, &tables, self.heads, (&rows, longest), &inputs, &mut out)
                .unwrap();
            let out = download(device, &out);
            for ((_, i), out) in batch.iter().zip(out.chunks_exact(self.out_width())) {
                all[i * self.out_width()..][..self.out_width()].copy_from_slice(out);
            }
        }
        all
    }

    /// Slot after slot in pieces of `size` tokens: how prompts are read.
    fn pieces(&self, size: usize) -> Vec<Vec<(CacheRow, usize)>> {
        self.tokens().chunks(size).map(<[_]>::to_vec).collect()
    }

    fn expected<T: Number>(&self) -> Vec<f64> {
        let Self { lengths, heads, kv_heads, head_dim, .. } = self.clone();
        let segments = lengths.into_iter().map(Segment::alone).collect();
        reference::attention(
            &reference::Packed { segments, heads, kv_heads, head_dim, theta: THETA },
            Scoring::plain(1.0 / (head_dim as f64).sqrt()),
            &wide(&self.qkv::<T>()),
        )
    }
}

fn conversations(longest: usize) -> impl Strategy<Value = Conversations> {
    let width = prop_oneof![Just(2usize), Just(6), Just(16), Just(34), Just(64)];
    let group = prop_oneof![1..5usize, Just(8), Just(9)];
    (prop::collection::vec(1..longest, 1..4), group, 1..3usize, width, 0..1000u64).prop_map(
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
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn decoding_in_pieces_equals_attention_over_the_whole(chats in conversations(40), size in 1..30usize) {
        let expected = chats.expected::<f32>();
        for found in on_devices!(|device| vec![chats.decode::<_, f32>(device, &chats.pieces(size))]) {
            assert_close(&found[0], &expected, 2e-6);
        }
        // Queries stay f32, but keys are rounded once they are turned.
        let expected = chats.expected::<bf16>();
        for found in on_devices!(|device| vec![chats.decode::<_, bf16>(device, &chats.pieces(size))]) {
            assert_close(&found[0], &expected, 4.0 * bf16::ROUNDING);
        }
    }

    #[test]
    fn what_a_token_computes_does_not_depend_on_its_batch(chats in conversations(30), size in 2..40usize) {
        let pieces = on_devices!(|device| vec![chats.decode::<_, f32>(device, &chats.pieces(size))]);
        let alone = on_devices!(|device| vec![chats.decode::<_, f32>(device, &chats.pieces(1))]);
        for (pieces, alone) in pieces.iter().zip(&alone) {
            assert_same_bits(pieces, alone, "a batch and a token");
        }
    }
}

/// The last token of a conversation that is read in one piece and is longer than a chunk of the cache.
fn last_of(length: usize, heads: usize, kv_heads: usize, head_dim: usize) {
    let chats = Conversations { lengths: vec![length], heads, kv_heads, head_dim, seed: 3 };
    let expected = chats.expected::<f32>();
    let kept = (length - 1) * chats.out_width();
    for found in on_devices!(|device| {
        // Reading the prompt is the appending alone that matters here: tokens attend one by one only at the end.
        let mut batches = chats.pieces(length - 1);
        batches.truncate(2);
        vec![chats.decode::<_, f32>(device, &batches)[kept..].to_vec()]
    }) {
        assert_close(&found[0], &expected[kept..], 2e-6);
    }
}

#[test]
fn a_conversation_of_several_chunks() {
    last_of(600, 2, 1, 16);
    last_of(257, 3, 1, 128);
}

#[test]
fn wide_heads() {
    last_of(40, 4, 2, 256);
    last_of(40, 7, 1, 80);
}

#[test]
fn a_row_outside_the_cache_gets_no_attention_and_does_no_harm() {
    for outside in [CacheRow { slot: 1, position: 0 }, CacheRow { slot: 0, position: 4 }] {
        for found in on_devices!(|device| {
            let tables = cuda::Rope::new(device, 4, 2, THETA).unwrap();
            let mut cache = cuda::KvCache::<_, f32>::new(device, 1, 1, 2, 4).unwrap();
            let rows = Array::from_slice(device, &[outside, CacheRow { slot: 0, position: 0 }]).unwrap();
            let qkv = upload(device, &numbers::<f32>(1, 12, 1.0));
            let mut out = blank::<_, f32>(device, 4);
            cuda::decode_attention(device, &mut cache, &tables, 1, (&rows, 1), &qkv, &mut out).unwrap();
            vec![download(device, &out)]
        }) {
            let own = wide(&numbers::<f32>(1, 12, 1.0)[10..]);
            assert!(found[0][..2].iter().all(|x| x.is_nan()) && found[0][2..] == own, "{found:?}");
        }
    }
}

#[test]
fn a_row_longer_than_was_said_gets_no_attention() {
    for found in on_devices!(|device| {
        let tables = cuda::Rope::new(device, 300, 2, THETA).unwrap();
        let mut cache = cuda::KvCache::<_, f32>::new(device, 1, 1, 2, 300).unwrap();
        let rows = Array::from_slice(device, &[CacheRow { slot: 0, position: 299 }]).unwrap();
        let qkv = upload(device, &[1.0f32; 6]);
        let mut out = blank::<_, f32>(device, 2);
        cuda::decode_attention(device, &mut cache, &tables, 1, (&rows, 200), &qkv, &mut out).unwrap();
        vec![download(device, &out)]
    }) {
        assert!(found[0].iter().all(|x| x.is_nan()), "{found:?}");
    }
}
