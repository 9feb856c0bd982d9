//! Attention of a few new tokens over what is cached, for generation.

use super::arguments::Arguments;
use super::array::{Array, Element, Real};
use super::device::{Device, DeviceError, Grid, launch};
use super::rope::Rope;
use super::source::DECODE;

/// As in `cu/decode.cu`.
const CHUNK: usize = 256;
const WIDEST: usize = 256;

/// One new token: which slot holds its conversation, and where in it the token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CacheRow {
    /// The slot.
    pub slot: u32,
    /// The position, from 0.
    pub position: u32,
}

// SAFETY: two numbers of 32 bits, without a gap; every pattern of bits is one.
#[allow(unsafe_code)]
unsafe impl Element for CacheRow {
    const KIND: u8 = b'r';
}

/// Keys, already turned, and values of one layer, `[slots, kv_heads, positions, head_dim]` each.
#[derive(Debug)]
pub struct KvCache<D: Device, T> {
    keys: Array<D, T>,
    values: Array<D, T>,
    slots: usize,
    kv_heads: usize,
    positions: usize,
    head_dim: usize,
}

impl<D: Device, T: Real> KvCache<D, T> {
    /// Room for `slots` conversations of `positions` tokens.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn new(
        device: &D,
        slots: usize,
        kv_heads: usize,
        head_dim: usize,
        positions: usize,
    ) -> Result<Self, DeviceError> {
        let array = || Array::new(device, slots * kv_heads * positions * head_dim);
        Ok(Self { keys: array()?, values: array()?, slots, kv_heads, positions, head_dim })
    }
}

/// Appends keys and values of `qkv[rows, (heads + 2 kv_heads) * head_dim]` to the cache, then writes each row's attention over its slot up
/// to and including itself into `out[rows, heads * head_dim]`. `longest` is how many positions the longest row reads at the most. No two
/// rows may stand at the same place. A row outside the cache, or far beyond
/// `longest`, gets NaN.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If shapes do not fit one another, there are more than 65535 rows, heads are wider than 256 or odd, or the rotary tables are shorter than the cache.
pub fn decode_attention<D: Device, T: Real>(
    device: &D,
    cache: &mut KvCache<D, T>,
    tables: &Rope<D>,
    heads: usize,
    (rows, longest): (&Array<D, CacheRow>, usize),
    qkv: &Array<D, T>,
    out: &mut Array<D, T>,
) -> Result<(), DeviceError> {
    let (kv, d, count) = (cache.kv_heads, cache.head_dim, rows.len());
    let grouped = heads.is_multiple_of(kv) && heads > 0 && d.is_multiple_of(2) && (1..=WIDEST).contains(&d);
    let turns = tables.head_dim == d && tables.positions >= cache.positions;
    let fits = qkv.len() == count * (heads + 2 * kv) * d && out.len() == count * heads * d;
    assert!(grouped && turns && fits && longest <= cache.positions && count <= 65_535, "decode_attention shapes");
    let chunks = longest.div_ceil(CHUNK).max(1);
    let parts = Array::<D, f32>::new(device, count * heads * chunks * (d + 2))?;
    let shape = |arguments: Arguments| arguments.count(cache.slots).count(cache.positions).count(d);
    let inputs = || {
        let arguments = Arguments::default().array(device, qkv).array(device, rows);
        let arguments = arguments.array(device, &tables.cosines).array(device, &tables.sines);
        arguments.array(device, &cache.keys).array(device, &cache.values)
    };
    let threads = if d <= 128 { 128 } else { 256 };
    let grid = |x: usize, y: usize, z: usize| Grid { blocks: [x as u32, y as u32, z as u32], threads };
    launch(
        device,
        &DECODE,
        T::kernel(["append_f32", "append_bf16"]),
        grid(count, kv, 1),
        shape(inputs().count(heads).count(kv)),
    )?;
    let (name, group) = attend::<T>(heads / kv);
    let blocks = kv * (heads / kv).div_ceil(group);
    let arguments = shape(inputs().array(device, &parts).count(heads).count(kv));
    launch(device, &DECODE, name, grid(chunks, blocks, count), arguments)?;
    let arguments = Arguments::default().array(device, &parts).array(device, rows).array(device, out).count(chunks);
    launch(device, &DECODE, T::kernel(["join_f32", "join_bf16"]), grid(count, heads, 1), shape(arguments))
}

/// Lets slot `to` hold the first `tokens` tokens of slot `from`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the slots are one, or a slot or that many tokens are beyond the cache.
pub fn copy_slot<D: Device>(
    device: &D,
    cache: &mut KvCache<D, f32>,
    (from, to): (usize, usize),
    tokens: usize,
) -> Result<(), DeviceError> {
    assert!(from != to && from.max(to) < cache.slots && tokens <= cache.positions, "copy_slot shapes");
    let arguments = Arguments::default().array(device, &cache.keys).array(device, &cache.values).count(from).count(to);
    let arguments = arguments.count(cache.kv_heads).count(cache.positions).count(cache.head_dim);
    let grid = Grid { blocks: [tokens as u32, cache.kv_heads as u32, 1], threads: 128 };
    launch(device, &DECODE, "copy_slot_f32", grid, arguments)
}

/// The kernel for so many query heads to a key head, and how many of them a block takes.
fn attend<T: Real>(shared: usize) -> (&'static str, usize) {
    match shared {
        1 => (T::kernel(["attend_f32_1", "attend_bf16_1"]), 1),
        2 => (T::kernel(["attend_f32_2", "attend_bf16_2"]), 2),
        3 | 4 => (T::kernel(["attend_f32_4", "attend_bf16_4"]), 4),
        _ => (T::kernel(["attend_f32_8", "attend_bf16_8"]), 8),
    }
}
