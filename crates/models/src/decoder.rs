//! The decoder, once: RMSNorm, rotary grouped-query attention, SwiGLU, residuals (Touvron et al., arXiv:2302.13971).

/// The weights of a decoder, of whatever kind an executor works with.
#[derive(Debug, Clone)]
pub struct Decoder<W> {
    /// Token embedding `[vocab, hidden]`.
    pub embed: W,
    /// The blocks.
    pub layers: Vec<Layer<W>>,
    /// Final norm `[hidden]`.
    pub norm: W,
    /// Head `[vocab, hidden]`; `None` if it is the embedding.
    pub head: Option<W>,
}

/// The weights of one block.
#[derive(Debug, Clone)]
pub struct Layer<W> {
    /// Norm before attention `[hidden]`.
    pub input_norm: W,
    /// Queries, keys and values `[(heads + 2 kv_heads) * head_dim, hidden]`.
    pub qkv: W,
    /// Attention output `[hidden, heads * head_dim]`.
    pub output: W,
    /// Norm before the feed-forward `[hidden]`.
    pub post_norm: W,
    /// Gate above up `[2 * intermediate, hidden]`.
    pub gate_up: W,
    /// Feed-forward output `[hidden, intermediate]`.
    pub down: W,
}

impl<W> Decoder<W> {
    /// What turns a state into logits `[vocab, hidden]`.
    pub fn head(&self) -> &W {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Every weight, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        let layers = self.layers.iter().flat_map(|layer| {
            let Layer { input_norm, qkv, output, post_norm, gate_up, down } = layer;
            [input_norm, qkv, output, post_norm, gate_up, down]
        });
        std::iter::once(&self.embed).chain(layers).chain(std::iter::once(&self.norm)).chain(&self.head)
    }

    /// A decoder of the same shape, made weight by weight in the order of [`iter`](Self::iter).
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn try_map<V, E>(&self, mut f: impl FnMut(&W) -> Result<V, E>) -> Result<Decoder<V>, E> {
        let embed = f(&self.embed)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            layers.push(Layer {
                input_norm: f(&layer.input_norm)?,
                qkv: f(&layer.qkv)?,
                output: f(&layer.output)?,
                post_norm: f(&layer.post_norm)?,
                gate_up: f(&layer.gate_up)?,
                down: f(&layer.down)?,
            });
        }
        let norm = f(&self.norm)?;
        let head = self.head.as_ref().map(f).transpose()?;
        Ok(Decoder { embed, layers, norm, head })
    }
}

/// Which block it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Counted from the first.
    pub index: usize,
    /// Whether none follows.
    pub last: bool,
}

/// The operations a decoder is made of. An executor knows which tokens it is run on and where they stand.
pub trait Executor {
    /// Activations `[rows, width]`.
    type Tensor;
    /// A weight.
    type Weight;
    /// Why an operation failed.
    type Error;

    /// The embeddings of the tokens `[tokens, hidden]`.
    ///
    /// # Errors
    /// If the arithmetic fails, as for every operation here.
    fn embed(&mut self, weight: &Self::Weight) -> Result<Self::Tensor, Self::Error>;

    /// Root-mean-square norm of every row.
    ///
    /// # Errors
    /// If the arithmetic fails.
    fn norm(&mut self, x: &Self::Tensor, weight: &Self::Weight) -> Result<Self::Tensor, Self::Error>;

    /// `x w^T`.
    ///
    /// # Errors
    /// If the arithmetic fails.
    fn linear(&mut self, x: Self::Tensor, weight: &Self::Weight) -> Result<Self::Tensor, Self::Error>;

    /// `residual + x w^T`.
    ///
    /// # Errors
    /// If the arithmetic fails.
    fn linear_add(
        &mut self,
        x: Self::Tensor,
        weight: &Self::Weight,
        residual: Self::Tensor,
    ) -> Result<Self::Tensor, Self::Error>;

    /// Rotary causal attention of block `layer`, from fused queries, keys and values.
    ///
    /// # Errors
    /// If the arithmetic fails.
    fn attend(&mut self, qkv: Self::Tensor, layer: usize) -> Result<Self::Tensor, Self::Error>;

    /// `silu(gate) * up`.
    ///
    /// # Errors
    /// If the arithmetic fails.
    fn gate(&mut self, gate_up: Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// Only the rows whose next token matters.
    ///
    /// # Errors
    /// If the arithmetic fails.
    fn select(&mut self, x: Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// A block, with these weights.
    ///
    /// # Errors
    /// If the arithmetic fails.
    fn block(&mut self, layer: &Layer<Self::Weight>, at: Place, x: Self::Tensor) -> Result<Self::Tensor, Self::Error>
    where
        Self: Sized,
    {
        block(self, layer, at, x)
    }
}

/// Logits `[selected rows, vocab]`.
///
/// # Errors
/// The executor's.
pub fn logits<E: Executor>(e: &mut E, decoder: &Decoder<E::Weight>) -> Result<E::Tensor, E::Error> {
    let states = states(e, decoder)?;
    e.linear(states, decoder.head())
}

/// What heads are put on: the normed last state of every selected row `[selected rows, hidden]`.
///
/// # Errors
/// The executor's.
pub fn states<E: Executor>(e: &mut E, decoder: &Decoder<E::Weight>) -> Result<E::Tensor, E::Error> {
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
    let normed = e.norm(&x, &layer.input_norm)?;
    let qkv = e.linear(normed, &layer.qkv)?;
    let attended = e.attend(qkv, at.index)?;
    let (attended, x) = if at.last { (e.select(attended)?, e.select(x)?) } else { (attended, x) };
    let x = e.linear_add(attended, &layer.output, x)?;
    let normed = e.norm(&x, &layer.post_norm)?;
    let gate_up = e.linear(normed, &layer.gate_up)?;
    let gated = e.gate(gate_up)?;
    e.linear_add(gated, &layer.down, x)
}
