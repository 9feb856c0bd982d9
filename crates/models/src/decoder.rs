//! The decoder, once, for every family: norms, rotary grouped-query attention, gated feed-forward or experts, residuals
//! (Touvron et al., arXiv:2302.13971). What a family does not have is absent from its [`Layer`].

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
    pub input_norm: Option<W>,
    /// Queries, keys and values `[(heads + 2 kv_heads) * head_dim, hidden]`.
    pub qkv: Linear<W>,
    /// Norms of queries and of keys, `[head_dim]` or as wide as all heads.
    pub head_norms: Option<[W; 2]>,
    /// What every head gives to nothing `[heads]`.
    pub sinks: Option<W>,
    /// Attention output `[hidden, heads * head_dim]`.
    pub output: Linear<W>,
    /// Norm of that output `[hidden]`.
    pub output_norm: Option<W>,
    /// Norm before the feed-forward `[hidden]`.
    pub feed_norm: Option<W>,
    /// The feed-forward.
    pub feed: Feed<W>,
    /// Norm of what it found `[hidden]`.
    pub fed_norm: Option<W>,
}

/// A projection.
#[derive(Debug, Clone)]
pub struct Linear<W> {
    /// `[outputs, inputs]`.
    pub weight: W,
    /// `[outputs]`.
    pub bias: Option<W>,
}

/// What stands behind attention.
#[derive(Debug, Clone)]
pub enum Feed<W> {
    /// One for all tokens.
    Dense {
        /// Gate above up `[2 * intermediate, hidden]`.
        gate_up: Linear<W>,
        /// Output `[hidden, intermediate]`.
        down: Linear<W>,
    },
    /// Several, of which a token goes to a few.
    Experts(Experts<W>),
}

/// A mixture of experts. Their matrices stand above one another.
#[derive(Debug, Clone)]
pub struct Experts<W> {
    /// Logits of the experts `[experts, hidden]`.
    pub router: Linear<W>,
    /// `[experts * 2 * intermediate, hidden]`.
    pub gate_up: Linear<W>,
    /// `[experts * hidden, intermediate]`.
    pub down: Linear<W>,
}

impl<W> Linear<W> {
    fn try_map<'a, V, E>(&'a self, f: &mut impl FnMut(&'a W) -> Result<V, E>) -> Result<Linear<V>, E> {
        Ok(Linear { weight: f(&self.weight)?, bias: self.bias.as_ref().map(f).transpose()? })
    }
}

impl<W> Feed<W> {
    fn try_map<'a, V, E>(&'a self, f: &mut impl FnMut(&'a W) -> Result<V, E>) -> Result<Feed<V>, E> {
        Ok(match self {
            Self::Dense { gate_up, down } => Feed::Dense { gate_up: gate_up.try_map(f)?, down: down.try_map(f)? },
            Self::Experts(Experts { router, gate_up, down }) => Feed::Experts(Experts {
                router: router.try_map(f)?,
                gate_up: gate_up.try_map(f)?,
                down: down.try_map(f)?,
            }),
        })
    }
}

impl<W> Layer<W> {
    fn try_map<'a, V, E>(&'a self, f: &mut impl FnMut(&'a W) -> Result<V, E>) -> Result<Layer<V>, E> {
        let input_norm = self.input_norm.as_ref().map(&mut *f).transpose()?;
        let qkv = self.qkv.try_map(f)?;
        let head_norms = match &self.head_norms {
            Some([queries, keys]) => Some([f(queries)?, f(keys)?]),
            None => None,
        };
        Ok(Layer {
            input_norm,
            qkv,
            head_norms,
            sinks: self.sinks.as_ref().map(&mut *f).transpose()?,
            output: self.output.try_map(f)?,
            output_norm: self.output_norm.as_ref().map(&mut *f).transpose()?,
            feed_norm: self.feed_norm.as_ref().map(&mut *f).transpose()?,
            feed: self.feed.try_map(f)?,
            fed_norm: self.fed_norm.as_ref().map(&mut *f).transpose()?,
        })
    }
}

impl<W> Decoder<W> {
    /// What turns a state into logits `[vocab, hidden]`.
    pub fn head(&self) -> &W {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Every weight, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        let mut all = Vec::new();
        let Ok(_) = self.try_map(|weight| {
            all.push(weight);
            Ok::<_, std::convert::Infallible>(())
        });
        all.into_iter()
    }

    /// A decoder of the same shape, made weight by weight in the order of [`iter`](Self::iter).
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn try_map<'a, V, E>(&'a self, mut f: impl FnMut(&'a W) -> Result<V, E>) -> Result<Decoder<V>, E> {
        let embed = f(&self.embed)?;
        let layers = self.layers.iter().map(|layer| layer.try_map(&mut f)).collect::<Result<_, E>>()?;
        let norm = f(&self.norm)?;
        let head = self.head.as_ref().map(f).transpose()?;
        Ok(Decoder { embed, layers, norm, head })
    }
}
