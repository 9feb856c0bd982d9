//! Keys and values of what conversations have said so far.

use rayon::prelude::*;

use super::rope::Rope;

/// One new token: where it stands and in which slot's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its position in its conversation.
    pub position: usize,
    /// The slot that holds the conversation.
    pub slot: usize,
}

/// Positions of a block of keys.
pub(super) const BLOCK: usize = 32;

/// Keys and values of one layer for every slot.
///
/// Keys lie in blocks of 32 positions, `[head_dim, 32]` each: scores are then sums over whole vectors of positions and need no
/// horizontal additions, which cost more than the arithmetic for narrow heads, and what is read lies end to end.
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) positions: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KvCache {
    /// Room for `slots` conversations of `positions` tokens.
    #[must_use]
    pub fn new(slots: usize, kv_heads: usize, head_dim: usize, positions: usize) -> Self {
        let size = |positions: usize| slots * kv_heads * positions * head_dim;
        let (keys, values) = (vec![0.0; size(positions.next_multiple_of(BLOCK))], vec![0.0; size(positions)]);
        Self { kv_heads, head_dim, positions, keys, values }
    }

    /// Floats of one head's keys in one slot.
    fn keys_size(&self) -> usize {
        self.positions.next_multiple_of(BLOCK) * self.head_dim
    }

    fn values_size(&self) -> usize {
        self.positions * self.head_dim
    }

    /// The blocks of keys `[positions / 32, head_dim, 32]` of one head in one slot.
    pub(super) fn keys(&self, slot: usize, head: usize) -> &[f32] {
        let size = self.keys_size();
        &self.keys[(slot * self.kv_heads + head) * size..][..size]
    }

    /// Its values `[positions, head_dim]`.
    pub(super) fn values(&self, slot: usize, head: usize) -> &[f32] {
        let size = self.values_size();
        &self.values[(slot * self.kv_heads + head) * size..][..size]
    }

    /// Lets slot `to` hold the first `tokens` tokens that slot `from` holds.
    ///
    /// # Panics
    /// If a slot or that many tokens are beyond the cache.
    pub fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        assert!(tokens <= self.positions, "{tokens} tokens are beyond the cache");
        let (keys, values) = (self.keys_size(), self.values_size());
        for head in 0..self.kv_heads {
            let (from, to) = (from * self.kv_heads + head, to * self.kv_heads + head);
            let held = tokens.next_multiple_of(BLOCK) * self.head_dim;
            self.keys.copy_within(from * keys..from * keys + held, to * keys);
            self.values.copy_within(from * values..from * values + tokens * self.head_dim, to * values);
        }
    }

    /// Appends the keys, turned to their positions, and values of `qkv[rows, (heads + 2 kv_heads) * head_dim]`.
    pub(super) fn append(&mut self, rope: &Rope, heads: usize, rows: &[Row], qkv: &[f32]) {
        let (kv, d) = (self.kv_heads, self.head_dim);
        let (key_size, value_size) = (self.keys_size(), self.values_size());
        let slots = self.keys.par_chunks_mut(kv * key_size).zip(self.values.par_chunks_mut(kv * value_size));
        slots.enumerate().with_min_len(4).for_each(|(slot, (keys, values))| {
            let mut turned = [0f32; 256];
            let mine = rows.iter().zip(qkv.chunks_exact((heads + 2 * kv) * d)).filter(|(row, _)| row.slot == slot);
            for (&Row { position, .. }, qkv) in mine {
                let (from_keys, from_values) = qkv[heads * d..].split_at(kv * d);
                for (head, (key, value)) in from_keys.chunks_exact(d).zip(from_values.chunks_exact(d)).enumerate() {
                    rope.rotate(position, key, &mut turned[..d], 1.0);
                    let block = &mut keys[head * key_size + position / BLOCK * BLOCK * d..][..BLOCK * d];
                    for (lanes, x) in block.as_chunks_mut::<BLOCK>().0.iter_mut().zip(&turned) {
                        lanes[position % BLOCK] = *x;
                    }
                    values[head * value_size + position * d..][..d].copy_from_slice(value);
                }
            }
        });
    }
}
