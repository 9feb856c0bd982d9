//! What a decoder is made of, and how: the one definition that every executor runs.

use crate::decoder::{Decoder, Experts, Feed, Layer, Linear};

/// The operations a decoder is made of. An executor knows which tokens it is run on, where they stand, and what the family does
/// differently. Every operation fails if the arithmetic fails.
#[allow(clippy::missing_errors_doc)]
pub(crate) trait Executor {
    /// Activations `[rows, width]`.
    type Tensor;
    /// A weight.
    type Weight;
    /// Why an operation failed.
    type Error;

    /// The embeddings of the tokens `[tokens, hidden]`.
    fn embed(&mut self, weight: &Self::Weight) -> Result<Self::Tensor, Self::Error>;

    /// Root-mean-square norm of every row.
    fn norm(&mut self, x: &Self::Tensor, weight: &Self::Weight) -> Result<Self::Tensor, Self::Error>;

    /// The same values once more.
    fn copy(&mut self, x: &Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// `x w^T + bias`, plus `residual`.
    fn linear(
        &mut self,
        x: Self::Tensor,
        linear: &Linear<Self::Weight>,
        residual: Option<Self::Tensor>,
    ) -> Result<Self::Tensor, Self::Error>;

    /// `residual + norm(x)`.
    fn add_normed(
        &mut self,
        x: Self::Tensor,
        norm: Option<&Self::Weight>,
        residual: Self::Tensor,
    ) -> Result<Self::Tensor, Self::Error>;

    /// Norms of queries and keys, from fused queries, keys and values, which stay.
    fn norm_heads(&mut self, qkv: Self::Tensor, norms: &[Self::Weight; 2]) -> Result<Self::Tensor, Self::Error>;

    /// Rotary causal attention of block `layer`, from fused queries, keys and values.
    fn attend(
        &mut self,
        qkv: Self::Tensor,
        layer: usize,
        sinks: Option<&Self::Weight>,
    ) -> Result<Self::Tensor, Self::Error>;

    /// Gated values, from gates beside values.
    fn gate(&mut self, gate_up: Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// What the experts of every row find, weighed.
    fn experts(&mut self, x: Self::Tensor, experts: &Experts<Self::Weight>) -> Result<Self::Tensor, Self::Error>;

    /// Only the rows whose next token matters.
    fn select(&mut self, x: Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// A block, with these weights.
    fn block(&mut self, layer: &Layer<Self::Weight>, at: Place, x: Self::Tensor) -> Result<Self::Tensor, Self::Error>
    where
        Self: Sized,
    {
        block(self, layer, at, x)
    }
}

/// Which block it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from the first.
    pub(crate) index: usize,
    /// Whether none follows.
    pub(crate) last: bool,
}

/// What heads are put on: the normed last state of every selected row `[selected rows, hidden]`.
///
/// # Errors
/// The executor's.
pub(crate) fn states<E: Executor>(e: &mut E, decoder: &Decoder<E::Weight>) -> Result<E::Tensor, E::Error> {
    let mut x = e.embed(&decoder.embed)?;
    for (index, layer) in decoder.layers.iter().enumerate() {
        x = e.block(layer, Place { index, last: index + 1 == decoder.layers.len() }, x)?;
    }
    e.norm(&x, &decoder.norm)
}

/// Attention and feed-forward, each added to what comes in. Of the last block only the selected rows go on after attention: nothing
/// else of it is ever looked at.
pub(crate) fn block<E: Executor>(
    e: &mut E,
    layer: &Layer<E::Weight>,
    at: Place,
    x: E::Tensor,
) -> Result<E::Tensor, E::Error> {
    let input = normed(e, &x, layer.input_norm.as_ref())?;
    let mut qkv = e.linear(input, &layer.qkv, None)?;
    if let Some(norms) = &layer.head_norms {
        qkv = e.norm_heads(qkv, norms)?;
    }
    let attended = e.attend(qkv, at.index, layer.sinks.as_ref())?;
    let (attended, x) = if at.last { (e.select(attended)?, e.select(x)?) } else { (attended, x) };
    let x = joined(e, attended, &layer.output, layer.output_norm.as_ref(), x)?;
    let input = normed(e, &x, layer.feed_norm.as_ref())?;
    match &layer.feed {
        Feed::Dense { gate_up, down } => {
            let gate_up = e.linear(input, gate_up, None)?;
            let gated = e.gate(gate_up)?;
            joined(e, gated, down, layer.fed_norm.as_ref(), x)
        }
        Feed::Experts(experts) => {
            let found = e.experts(input, experts)?;
            e.add_normed(found, layer.fed_norm.as_ref(), x)
        }
    }
}

fn normed<E: Executor>(e: &mut E, x: &E::Tensor, norm: Option<&E::Weight>) -> Result<E::Tensor, E::Error> {
    match norm {
        None => e.copy(x),
        Some(norm) => e.norm(x, norm),
    }
}

/// `residual` and the projection of `x`, which may be normed.
fn joined<E: Executor>(
    e: &mut E,
    x: E::Tensor,
    linear: &Linear<E::Weight>,
    norm: Option<&E::Weight>,
    residual: E::Tensor,
) -> Result<E::Tensor, E::Error> {
    if norm.is_none() {
        return e.linear(x, linear, Some(residual));
    }
    let found = e.linear(x, linear, None)?;
    e.add_normed(found, norm, residual)
}
