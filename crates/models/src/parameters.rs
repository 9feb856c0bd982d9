//! Which weights a decoder has, and the names and shapes they have outside.
//!
//! Inside, projections that are always used together are one matrix (queries, keys and values; gate and up; experts above one another).
//! Outside, in files and snapshots, every tensor has its Hugging Face name and shape.

use stateset_domain::NamedTensor;

use crate::config::{Experts as Mixture, HeadNorm, LayerKind, Norms, Packing};
use crate::decoder::{Experts, Feed, Layer, Linear};
use crate::{Decoder, ModelConfig};

/// One weight: its name, its shape, and the outside tensors it is made of, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the fused weight.
    pub name: String,
    /// `[rows, columns]`, or `[width]` for norms and biases.
    pub shape: Vec<usize>,
    /// Matrices above one another: 1, or as many as there are experts.
    pub groups: usize,
    /// What it begins as where nothing is loaded.
    pub(crate) begins: Begins,
    pub(crate) parts: Vec<Part>,
    pub(crate) order: Order,
}

/// A tensor outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

/// What a weight begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    /// Drawn.
    Random,
    /// Drawn smaller, for it adds to the residual stream.
    IntoResidual,
    /// Ones.
    One,
    /// Zeros.
    Zero,
}

/// How numbers lie outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As inside.
    Same,
    /// As inside, less one.
    LessOne,
    /// `[groups, columns, rows]`, with inside rows of `pairs` taking turns if they are.
    Transposed { rows: usize, columns: usize, paired: bool },
}

impl Parameter {
    fn vector(name: String, width: usize, begins: Begins) -> Self {
        let parts = vec![Part { name: name.clone(), shape: vec![width] }];
        Self { parts, name, shape: vec![width], groups: 1, begins, order: Order::Same }
    }

    fn matrix(name: String, columns: usize, parts: Vec<(String, usize)>, begins: Begins) -> Self {
        let rows = parts.iter().map(|(_, rows)| rows).sum();
        let part = |(name, rows)| Part { name, shape: vec![rows, columns] };
        let parts = parts.into_iter().map(part).collect();
        Self { name, shape: vec![rows, columns], groups: 1, begins, parts, order: Order::Same }
    }

    /// Matrices decay; norms and biases do not.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    /// How many numbers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its parts, of which `values` are the numbers.
    pub(crate) fn tensors(&self, mut values: &[f32]) -> Vec<NamedTensor> {
        let tensor = |part: &Part| {
            let (own, rest) = values.split_at(part.shape.iter().product());
            values = rest;
            let data = if self.order == Order::Same { own.into() } else { self.outside(own).into() };
            NamedTensor { name: part.name.clone(), shape: part.shape.clone(), data }
        };
        self.parts.iter().map(tensor).collect()
    }

    /// A part's numbers in the order they have inside.
    pub(crate) fn inside(&self, outside: &[f32]) -> Vec<f32> {
        match self.order {
            Order::Same => outside.to_vec(),
            Order::LessOne => outside.iter().map(|x| 1.0 + x).collect(),
            Order::Transposed { .. } => (0..outside.len()).map(|i| outside[self.outside_index(i)]).collect(),
        }
    }

    /// A part's numbers in the order they have outside.
    pub(crate) fn outside(&self, inside: &[f32]) -> Vec<f32> {
        match self.order {
            Order::Same => inside.to_vec(),
            Order::LessOne => inside.iter().map(|x| x - 1.0).collect(),
            Order::Transposed { .. } => {
                let mut outside = vec![0.0; inside.len()];
                inside.iter().enumerate().for_each(|(i, x)| outside[self.outside_index(i)] = *x);
                outside
            }
        }
    }

    /// Where number `i` of the inside lies outside.
    fn outside_index(&self, i: usize) -> usize {
        let Order::Transposed { rows, columns, paired, .. } = self.order else { return i };
        let (group, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
        // Gates stand above values inside, and take turns with them outside.
        let row = if paired { row % (rows / 2) * 2 + row / (rows / 2) } else { row };
        group * rows * columns + column * rows + row
    }
}

/// Names of one layer's weights.
struct Names<'a> {
    config: &'a ModelConfig,
    layer: usize,
}

impl ModelConfig {
    /// Every parameter of this decoder.
    #[must_use]
    pub fn parameters(&self) -> Decoder<Parameter> {
        let hidden = self.hidden_size;
        let whole =
            |name: &str, rows| Parameter::matrix(name.into(), hidden, vec![(name.into(), rows)], Begins::Random);
        let layer = |(layer, kind): (usize, &LayerKind)| Names { config: self, layer }.layer(*kind);
        Decoder {
            embed: whole("model.embed_tokens.weight", self.vocab_size),
            layers: self.layers.iter().enumerate().map(layer).collect(),
            norm: self.norm("model.norm.weight".into(), hidden),
            head: (!self.tie_word_embeddings).then(|| whole("lm_head.weight", self.vocab_size)),
        }
    }

    fn norm(&self, name: String, width: usize) -> Parameter {
        let order = if self.norms_about_one { Order::LessOne } else { Order::Same };
        Parameter { order, ..Parameter::vector(name, width, Begins::One) }
    }
}

impl Names<'_> {
    fn at(&self, rest: &str) -> String {
        format!("model.layers.{}.{rest}", self.layer)
    }

    fn norm(&self, name: &str) -> Parameter {
        self.config.norm(self.at(&format!("{name}.weight")), self.config.hidden_size)
    }

    /// A projection of `parts` above one another, kept as one in files if the family fuses.
    fn linear(
        &self,
        fused: &str,
        parts: &[(&str, usize)],
        columns: usize,
        bias: bool,
        begins: Begins,
    ) -> Linear<Parameter> {
        let rows = parts.iter().map(|(_, rows)| rows).sum();
        let parts = if self.config.packing == Packing::Fused { &[(fused, rows)] } else { parts };
        let named = |end: &str| parts.iter().map(|(name, rows)| (self.at(&format!("{name}.{end}")), *rows)).collect();
        let bias = bias.then(|| {
            let parts: Vec<(String, usize)> = named("bias");
            let parts = parts.into_iter().map(|(name, rows)| Part { name, shape: vec![rows] }).collect();
            Parameter { parts, ..Parameter::vector(self.at(&format!("{fused}.bias")), rows, Begins::Zero) }
        });
        let weight = Parameter::matrix(self.at(&format!("{fused}.weight")), columns, named("weight"), begins);
        Linear { weight, bias }
    }

    fn layer(&self, kind: LayerKind) -> Layer<Parameter> {
        let c = self.config;
        let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
        let qkv = [("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)];
        let out = [("self_attn.o_proj", c.hidden_size)];
        let head = |name: &str, all: usize| {
            let width = if c.attention.head_norm == HeadNorm::Together { all } else { c.head_dim };
            c.norm(self.at(&format!("self_attn.{name}.weight")), width)
        };
        let (before, after) = (c.norms != Norms::After, c.norms != Norms::Before);
        let feed_norm = if after { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
        Layer {
            input_norm: before.then(|| self.norm("input_layernorm")),
            qkv: self.linear("self_attn.qkv_proj", &qkv, c.hidden_size, c.attention.bias, Begins::Random),
            head_norms: (c.attention.head_norm != HeadNorm::None).then(|| [head("q_norm", q), head("k_norm", kv)]),
            sinks: c
                .attention
                .sinks
                .then(|| Parameter::vector(self.at("self_attn.sinks"), c.num_attention_heads, Begins::Zero)),
            output: self.linear("self_attn.o_proj", &out, q, c.attention.output_bias, Begins::IntoResidual),
            output_norm: after.then(|| self.norm("post_attention_layernorm")),
            feed_norm: before.then(|| self.norm(feed_norm)),
            feed: match &c.experts {
                Some(mixture) if kind.experts => Feed::Experts(self.experts(mixture)),
                _ => self.dense(),
            },
            fed_norm: after.then(|| self.norm("post_feedforward_layernorm")),
        }
    }

    fn dense(&self) -> Feed<Parameter> {
        let (hidden, inner, bias) = (self.config.hidden_size, self.config.intermediate_size, self.config.mlp_bias);
        let gate_up = [("mlp.gate_proj", inner), ("mlp.up_proj", inner)];
        Feed::Dense {
            gate_up: self.linear("mlp.gate_up_proj", &gate_up, hidden, bias, Begins::Random),
            down: self.linear("mlp.down_proj", &[("mlp.down_proj", hidden)], inner, bias, Begins::IntoResidual),
        }
    }

    fn experts(&self, mixture: &Mixture) -> Experts<Parameter> {
        let hidden = self.config.hidden_size;
        let Mixture { count, intermediate: inner, bias, .. } = *mixture;
        let router = if bias { "mlp.router" } else { "mlp.gate" };
        let router = self.linear(router, &[(router, count)], hidden, bias, Begins::Random);
        if self.config.packing == Packing::Interleaved {
            let gate_up = self.stacked("gate_up_proj", (count, 2 * inner, hidden), true, Begins::Random);
            let down = self.stacked("down_proj", (count, hidden, inner), false, Begins::IntoResidual);
            return Experts { router, gate_up, down };
        }
        let each = |parts: &[(&str, usize)], columns, begins| {
            let part = |expert: usize, (name, rows): &(&str, usize)| {
                (self.at(&format!("mlp.experts.{expert}.{name}.weight")), *rows)
            };
            let parts = (0..count).flat_map(|expert| parts.iter().map(move |it| part(expert, it))).collect();
            let name = format!("mlp.experts.{}.weight", if columns == hidden { "gate_up_proj" } else { "down_proj" });
            let weight = Parameter::matrix(self.at(&name), columns, parts, begins);
            Linear { weight: Parameter { groups: count, ..weight }, bias: None }
        };
        let gate_up = each(&[("gate_proj", inner), ("up_proj", inner)], hidden, Begins::Random);
        Experts { router, gate_up, down: each(&[("down_proj", hidden)], inner, Begins::IntoResidual) }
    }

    /// All experts' matrices `[rows, columns]` as one tensor, input by output.
    fn stacked(
        &self,
        name: &str,
        (groups, rows, columns): (usize, usize, usize),
        paired: bool,
        begins: Begins,
    ) -> Linear<Parameter> {
        let name = self.at(&format!("mlp.experts.{name}"));
        let parameter = |name: String, outside: Vec<usize>, shape: Vec<usize>, columns, begins| Parameter {
            parts: vec![Part { name: name.clone(), shape: outside }],
            name,
            shape,
            groups,
            begins,
            order: Order::Transposed { rows, columns, paired },
        };
        Linear {
            weight: parameter(name.clone(), vec![groups, columns, rows], vec![groups * rows, columns], columns, begins),
            bias: Some(parameter(format!("{name}_bias"), vec![groups, rows], vec![groups * rows], 1, Begins::Zero)),
        }
    }
}
