//! Causal grouped-query attention over packed segments, for training.

use super::arguments::Arguments;
use super::array::{Array, Real};
use super::device::{Device, DeviceError, Grid, launch};
use super::segments::{Segments, TILE};
use super::source::ATTENTION;

/// As in `cu/attention.cu`.
const THREADS: u32 = 128;
const WIDEST: usize = 256;
/// How many keys a block takes whose heads are wider than 128.
const KEYS_OF_WIDE_HEADS: usize = 32;

/// Which heads a row of queries, keys and values has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head: even, at most 256.
    pub head_dim: usize,
}

impl Heads {
    /// Numbers of a row.
    fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn check(&self) {
        let grouped = self.kv_heads > 0 && self.heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        let Self { head_dim, .. } = self;
        let fits = grouped && head_dim.is_multiple_of(2) && (2..=WIDEST).contains(head_dim);
        assert!(fits, "attention has no kernel for {self:?}");
    }

    /// Of a kernel's names, those for heads of up to 64, 128 and 256.
    fn kernel<T: Real>(&self, names: [[&'static str; 2]; 3]) -> &'static str {
        T::kernel(names[usize::from(self.head_dim > 64) + usize::from(self.head_dim > 128)])
    }

    fn counts(&self, arguments: Arguments) -> Arguments {
        arguments.count(self.heads).count(self.kv_heads).count(self.head_dim)
    }
}

/// `out[tokens, heads * head_dim]` from `qkv[tokens, (heads + 2 kv_heads) * head_dim]`, whose queries and keys are already turned;
/// `lse[tokens, heads]` receives the log-sum-exp of each row of scores for the backward pass.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another, or heads are odd, wider than 256, or not shared evenly.
pub fn attention<D: Device, T: Real>(
    device: &D,
    segments: &Segments<D>,
    heads: Heads,
    scale: f32,
    qkv: &Array<D, T>,
    out: &mut Array<D, T>,
    lse: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    heads.check();
    let rows = segments.tokens * heads.heads;
    let fits = qkv.len() == segments.tokens * heads.row() && out.len() == rows * heads.head_dim && lse.len() == rows;
    assert!(fits, "attention shapes");
    let name = heads.kernel::<T>([
        ["attention_f32_64", "attention_bf16_64"],
        ["attention_f32_128", "attention_bf16_128"],
        ["attention_f32_256", "attention_bf16_256"],
    ]);
    let arguments = Arguments::default().array(device, qkv).array(device, &segments.queries);
    let arguments = heads.counts(arguments.array(device, out).array(device, lse).float(scale));
    launch(device, &ATTENTION, name, Grid::of(segments.queries.len() * heads.heads, THREADS), arguments)
}

/// All of `d_qkv` from `d_out`, with the inputs, output and `lse` of [`attention`]; with respect to queries and keys as turned.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// As there.
#[allow(clippy::too_many_arguments)]
pub fn attention_backward<D: Device, T: Real>(
    device: &D,
    segments: &Segments<D>,
    heads: Heads,
    scale: f32,
    qkv: &Array<D, T>,
    out: &Array<D, T>,
    d_out: &Array<D, T>,
    lse: &Array<D, f32>,
    d_qkv: &mut Array<D, T>,
) -> Result<(), DeviceError> {
    heads.check();
    let rows = segments.tokens * heads.heads;
    let fits = qkv.len() == segments.tokens * heads.row() && d_qkv.len() == qkv.len() && lse.len() == rows;
    assert!(fits && out.len() == rows * heads.head_dim && d_out.len() == out.len(), "attention shapes");

    let delta = Array::<D, f32>::new(device, rows)?;
    let arguments = Arguments::default().array(device, out).array(device, d_out).array(device, &delta);
    let arguments = arguments.long(rows).count(heads.head_dim);
    let name = T::kernel(["attention_delta_f32", "attention_delta_bf16"]);
    launch(device, &ATTENTION, name, Grid::of(rows.div_ceil(THREADS as usize / 32), THREADS), arguments)?;

    let inputs =
        || Arguments::default().array(device, qkv).array(device, d_out).array(device, lse).array(device, &delta);
    let name = heads.kernel::<T>([
        ["attention_queries_f32_64", "attention_queries_bf16_64"],
        ["attention_queries_f32_128", "attention_queries_bf16_128"],
        ["attention_queries_f32_256", "attention_queries_bf16_256"],
    ]);
    let arguments = heads.counts(inputs().array(device, &segments.queries).array(device, d_qkv).float(scale));
    launch(device, &ATTENTION, name, Grid::of(segments.queries.len() * heads.heads, THREADS), arguments)?;

    let name = heads.kernel::<T>([
        ["attention_keys_f32_64", "attention_keys_bf16_64"],
        ["attention_keys_f32_128", "attention_keys_bf16_128"],
        ["attention_keys_f32_256", "attention_keys_bf16_256"],
    ]);
    let parts = if heads.head_dim > 128 { TILE / KEYS_OF_WIDE_HEADS } else { 1 };
    let arguments = inputs().array(device, &segments.keys).array(device, &segments.runs).array(device, d_qkv);
    let blocks = Grid::of(segments.keys.len() * parts * heads.kv_heads, THREADS);
    launch(device, &ATTENTION, name, blocks, heads.counts(arguments.float(scale)))
}
