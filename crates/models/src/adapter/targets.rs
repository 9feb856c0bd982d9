//! Which projections are adapted.

use std::ops::Range;

use crate::ModelConfig;
use crate::adapter::AdapterError;
use crate::decoder::{Feed, Linear};
use crate::parameters::Parameter;

/// Projections by preset or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Every projection of attention and of feed-forwards that are no experts.
    AllLinear,
    /// Those of attention.
    Attention,
    /// Those whose name ends so: `q_proj`, `mlp.down_proj`.
    Named(Vec<String>),
}

/// A projection that can be adapted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its name, such as `model.layers.0.self_attn.q_proj`.
    pub(crate) module: String,
    /// Which of the decoder's weights it is part of.
    pub(crate) parameter: usize,
    /// Which of that weight's outputs are its own.
    pub(crate) columns: Range<usize>,
    pub(crate) inputs: usize,
}

impl Targets {
    /// The projections of `model`, in the order of its weights.
    ///
    /// # Errors
    /// [`AdapterError::Target`] if one has a name that no projection has.
    pub(crate) fn of(&self, model: &ModelConfig) -> Result<Vec<Target>, AdapterError> {
        let all = projections(model);
        let is = |target: &Target, name: &str| target.module == name || target.module.ends_with(&format!(".{name}"));
        let chosen = |target: &Target| match self {
            Self::AllLinear => true,
            Self::Attention => target.module.contains(".self_attn."),
            Self::Named(names) => names.iter().any(|name| is(target, name)),
        };
        if let Self::Named(names) = self
            && let Some(stray) = names.iter().find(|name| !all.iter().any(|target| is(target, name)))
        {
            let mut known: Vec<&str> = all.iter().filter_map(|target| target.module.rsplit('.').next()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(AdapterError::Target { name: stray.clone(), known: known.join(", ") });
        }
        Ok(all.into_iter().filter(chosen).collect())
    }
}

/// Every projection that can be adapted: not embeddings, heads, routers and experts.
fn projections(model: &ModelConfig) -> Vec<Target> {
    let parameters = model.parameters();
    let linears = parameters.layers.iter().flat_map(|layer| {
        let feed: &[&Linear<Parameter>] = match &layer.feed {
            Feed::Dense { gate_up, down } => &[gate_up, down],
            Feed::Experts(_) => &[],
        };
        [&layer.qkv, &layer.output].into_iter().chain(feed.to_vec())
    });
    let adapted: Vec<&str> = linears.map(|linear| linear.weight.name.as_str()).collect();
    let weights = parameters.iter().enumerate().filter(|(_, it)| adapted.contains(&it.name.as_str()));
    weights.flat_map(|(parameter, weight)| parts(parameter, weight)).collect()
}

fn parts(parameter: usize, weight: &Parameter) -> impl Iterator<Item = Target> {
    let mut start = 0;
    weight.parts.iter().map(move |part| {
        let columns = start..start + part.shape[0];
        start = columns.end;
        let module = part.name.trim_end_matches(".weight").to_string();
        Target { module, parameter, columns, inputs: part.shape[1] }
    })
}
