//! How a feed-forward layer's gate opens.

/// What becomes of a gate `g` and a value `u`, with `s(x) = 1 / (1 + e^-x)`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Gating {
    /// SwiGLU (Shazeer, arXiv:2002.05202): `g s(g) u`.
    #[default]
    Silu,
    /// GeGLU by its approximation with tanh: `g s(2 z) u` with `z = sqrt(2 / pi) (g + 0.044715 g^3)`.
    GeluTanh,
    /// gpt-oss (arXiv:2508.10925): `g s(alpha g) (u + 1)`, of `g` up to `limit` and `u` between `-limit` and `limit`.
    Clamped {
        /// How steeply the gate opens.
        alpha: f32,
        /// Where gates and values end.
        limit: f32,
    },
}

/// `2 sqrt(2 / pi)`.
pub(crate) const GELU_SLOPE: f64 = 1.595_769_121_605_730_8;
/// The weight of the cube.
pub(crate) const GELU_CUBE: f64 = 0.044_715;
