//! Causal grouped-query attention over packed segments, for training.

use super::arguments::Arguments;
use super::array::{Array, Real};
use super::device::{Device, DeviceError, Grid, launch};
use super::segments::{Segments, TILE};
use super::source::{ATTENTION_64, ATTENTION_128, ATTENTION_256, ATTENTION_SUMS, Unit};

/// As in `cu/attention.cu` and `cu/attention_sums.cu`.
const THREADS: u32 = 128;
/// A warp takes one.
const DELTA_ROWS: usize = 4;

/// The kernels for heads of some width, each for f32 and bf16.
struct Kernels {
    widest: usize,
    unit: &'static Unit,
    forward: [&'static str; 2],
    queries: [&'static str; 2],
    keys: [&'static str; 2],
    /// How many blocks share a tile of keys.
    cuts: usize,
}

static KERNELS: [Kernels; 3] = [
    Kernels {
        widest: 64,
        unit: &ATTENTION_64,
        forward: ["attention_f32_64", "attention_bf16_64"],
        queries: ["attention_queries_f32_64", "attention_queries_bf16_64"],
        keys: ["attention_keys_f32_64", "attention_keys_bf16_64"],
        cuts: 1,
    },
    Kernels {
        widest: 128,
        unit: &ATTENTION_128,
        forward: ["attention_f32_128", "attention_bf16_128"],
        queries: ["attention_queries_f32_128", "attention_queries_bf16_128"],
        keys: ["attention_keys_f32_128", "attention_keys_bf16_128"],
        cuts: 1,
    },
    Kernels {
        widest: 256,
        unit: &ATTENTION_256,
        forward: ["attention_f32_256", "attention_bf16_256"],
        queries: ["attention_queries_f32_256", "attention_queries_bf16_256"],
        keys: ["attention_keys_f32_256", "attention_keys_bf16_256"],
        cuts: 2,
    },
];

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

    fn kernels(&self) -> &'static Kernels {
        let grouped = self.kv_heads > 0 && self.heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        let whole = grouped && self.head_dim > 0 && self.head_dim.is_multiple_of(2);
        let kernels = KERNELS.iter().find(|kernels| whole && self.head_dim <= kernels.widest);
        kernels.unwrap_or_else(|| panic!("attention has no kernel for {self:?}"))
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
    let kernels = heads.kernels();
    let rows = segments.tokens * heads.heads;
    let fits = qkv.len() == segments.tokens * heads.row() && out.len() == rows * heads.head_dim && lse.len() == rows;
    assert!(fits, "attention shapes");
    let arguments = Arguments::default().array(device, qkv).array(device, &segments.queries);
    let arguments = heads.counts(arguments.array(device, out).array(device, lse).float(scale));
    let blocks = Grid::of(segments.queries.len() * heads.heads, THREADS);
    launch(device, kernels.unit, T::kernel(kernels.forward), blocks, arguments)
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
    let kernels = heads.kernels();
    let rows = segments.tokens * heads.heads;
    let fits = qkv.len() == segments.tokens * heads.row() && d_qkv.len() == qkv.len() && lse.len() == rows;
    assert!(fits && out.len() == rows * heads.head_dim && d_out.len() == out.len(), "attention shapes");

    let delta = Array::<D, f32>::new(device, rows)?;
    let arguments = Arguments::default().array(device, out).array(device, d_out).array(device, &delta);
    let arguments = arguments.long(rows).count(heads.head_dim);
    let name = T::kernel(["attention_delta_f32", "attention_delta_bf16"]);
    launch(device, &ATTENTION_SUMS, name, Grid::of(rows.div_ceil(DELTA_ROWS), THREADS), arguments)?;

    let inputs =
        || Arguments::default().array(device, qkv).array(device, d_out).array(device, lse).array(device, &delta);
    let arguments = heads.counts(inputs().array(device, &segments.queries).array(device, d_qkv).float(scale));
    let blocks = Grid::of(segments.queries.len() * heads.heads, THREADS);
    launch(device, kernels.unit, T::kernel(kernels.queries), blocks, arguments)?;

    let parts = Array::<D, f32>::new(device, segments.parts * heads.kv_heads * 2 * TILE * heads.head_dim)?;
    let arguments = inputs().array(device, &segments.keys).array(device, &segments.runs).array(device, &parts);
    let blocks = Grid::of(segments.keys.len() * kernels.cuts * heads.kv_heads, THREADS);
    let arguments = heads.counts(arguments.array(device, d_qkv).float(scale));
    launch(device, kernels.unit, T::kernel(kernels.keys), blocks, arguments)?;

    let arguments = Arguments::default().array(device, &parts).array(device, &segments.joined).array(device, d_qkv);
    let name = T::kernel(["attention_join_f32", "attention_join_bf16"]);
    let blocks = Grid::of(segments.joined.len() * heads.kv_heads, THREADS);
    launch(device, &ATTENTION_SUMS, name, blocks, heads.counts(arguments))
}
