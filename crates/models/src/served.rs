//! Weights laid out for generation, in the order in which products of few rows read them.
//!
//! Weights that are learnt are laid out once per version. What an adapter is learnt on is laid out once, and a version is that with the
//! version's factors beside it: `W x + B (A x)`, as in training.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use stateset_domain::NamedTensor;
use stateset_kernels::cpu::{Numbers, Panels};

use crate::adapter::{Factors, HostAdapter};
use crate::weights::stacked;
use crate::{Decoder, HostWeights, ModelConfig, Parameter, Stored, WeightError};

/// Weights laid out, at one version. A copy shares them.
#[derive(Debug, Clone)]
pub struct ServedWeights(pub(crate) Decoder<Served>);

/// Norms and biases are plain numbers, a matrix that is multiplied with has panels (a set for each expert), an embedding is a table, and
/// one that is also the head is both.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    vector: Option<Arc<[f32]>>,
    table: Option<Arc<Stored>>,
    pub(crate) panels: Arc<[Panels]>,
    pub(crate) adapter: Option<Arc<Adapter>>,
}

/// What is added to a product: by `a [rank, inputs]`, then by `b [outputs, rank]`, which is scaled already.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) a: Panels,
    pub(crate) b: Panels,
}

impl Served {
    pub(crate) fn vector(&self) -> &[f32] {
        self.vector.as_ref().expect("norms and biases are kept as they are")
    }

    pub(crate) fn table(&self) -> Numbers<'_> {
        self.table.as_ref().expect("embeddings are kept as they are").numbers()
    }

    pub(crate) fn panels(&self) -> &Panels {
        self.panels.first().expect("matrices are laid out")
    }
}

impl ServedWeights {
    /// Lays out the tensors of a decoder shaped like `config`, by their Hugging Face names.
    ///
    /// # Errors
    /// [`WeightError`], naming the tensor.
    pub fn new(config: &ModelConfig, tensors: &[NamedTensor]) -> Result<Self, WeightError> {
        let mut layout = Layout::of(config);
        let lay_out = |parts: Vec<Cow<'_, [f32]>>| {
            let numbers: Vec<Numbers<'_>> = parts.iter().map(|part| Numbers::F32(part)).collect();
            layout.next(&numbers, || Arc::new(parts.concat().into()))
        };
        stacked(config, tensors, lay_out).map(Self)
    }

    /// Lays out `weights`. Embeddings are shared.
    #[must_use]
    pub fn of(weights: &HostWeights) -> Self {
        let mut layout = Layout::of(&weights.config);
        let lay_out = |values: &Arc<Stored>| Ok(layout.next(&[values.numbers()], || values.clone()));
        let Ok(served) = weights.values.try_map::<_, Infallible>(lay_out);
        Self(served)
    }

    /// The same weights with `adapter` on them, which is of their decoder.
    #[must_use]
    pub fn adapted(&self, adapter: &HostAdapter) -> Self {
        let mut at = 0..;
        let Ok(served) = self.0.try_map::<_, Infallible>(|served| {
            let own: Vec<&Factors> = adapter.of(at.next().unwrap_or_default()).collect();
            let laid_out = || Arc::new(Adapter::new(&own, adapter, served.panels().outputs()));
            Ok(Served { adapter: (!own.is_empty()).then(laid_out), ..served.clone() })
        });
        Self(served)
    }
}

impl Adapter {
    /// The factors of parts of a projection, side by side: every part has columns of `b` of its own, and rows where it is.
    fn new(own: &[&Factors], adapter: &HostAdapter, outputs: usize) -> Self {
        let (rank, scale) = (adapter.config.rank, adapter.config.scale());
        let a: Vec<&Vec<f32>> = own.iter().map(|it| &it.a).collect();
        let width = rank * own.len();
        let mut b = vec![0.0; outputs * width];
        for (part, Factors { target, b: from, .. }) in own.iter().enumerate() {
            for (row, from) in target.columns.clone().zip(from.chunks_exact(rank)) {
                let to = &mut b[row * width + part * rank..][..rank];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * from);
            }
        }
        Self { a: Panels::new(&a, own.first().map_or(1, |it| it.target.inputs)), b: Panels::new(&[&b], width) }
    }
}

/// How one weight after the other is laid out.
struct Layout {
    parameters: std::vec::IntoIter<Parameter>,
    embedding: String,
    tied: bool,
}

impl Layout {
    fn of(config: &ModelConfig) -> Self {
        let parameters = config.parameters();
        let (embedding, tied) = (parameters.embed.name.clone(), config.tie_word_embeddings);
        Self { parameters: parameters.iter().cloned().collect::<Vec<_>>().into_iter(), embedding, tied }
    }

    /// The next weight, stacked from `parts`; `whole` is all of it.
    fn next(&mut self, parts: &[Numbers<'_>], whole: impl FnOnce() -> Arc<Stored>) -> Served {
        let parameter = self.parameters.next().expect("parameters and weights are in the same order");
        if !parameter.is_matrix() {
            let vector = Some(whole().to_f32().into());
            return Served { vector, table: None, panels: Arc::new([]), adapter: None };
        }
        let is_embedding = parameter.name == self.embedding;
        let panels = if is_embedding && !self.tied { Vec::new() } else { panels(parts, &parameter) };
        Served { vector: None, table: is_embedding.then(whole), panels: panels.into(), adapter: None }
    }
}

/// Panels of every group of matrices of a parameter.
fn panels(parts: &[Numbers<'_>], Parameter { groups, shape, .. }: &Parameter) -> Vec<Panels> {
    match parts {
        // All groups are in one.
        [whole] => {
            let each = whole.len() / groups;
            (0..*groups).map(|group| Panels::new(&[whole.part(group * each..(group + 1) * each)], shape[1])).collect()
        }
        _ => parts.chunks(parts.len() / groups).map(|group| Panels::new(group, shape[1])).collect(),
    }
}
