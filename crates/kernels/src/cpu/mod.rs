//! Kernels on f32 slices.
//!
//! Matrices are row-major. A kernel that writes takes its output as a slice of exactly the right length and fills it. Threads come
//! from the rayon pool of the caller. Loops are compiled once per instruction set (AVX-512, AVX2, baseline) and chosen at run time.

mod adamw;
mod attention;
mod decode;
mod gate;
mod gather;
mod head;
mod linear;
mod log_prob;
mod norm;
mod rope;
mod simd;

#[cfg(test)]
mod levels;

pub use adamw::{AdamW, adamw, sum_of_squares};
pub use attention::{Packed, attention, attention_backward};
pub use decode::{KvCache, Row, decode_attention};
pub use gate::{gate, gate_backward};
pub use gather::{gather_rows, scatter_add_rows};
pub use head::{Head, KEPT_LOGITS, linear_log_prob, linear_log_prob_backward};
pub use linear::{
    linear, linear_add, linear_input_gradient, linear_weight_gradient, linear_weight_gradient_add, matmul_add,
    transpose,
};
pub use log_prob::{LogProb, log_prob, log_prob_backward, log_prob_backward_in_place};
pub use norm::{rms_norm, rms_norm_backward};
pub use rope::Rope;
pub use simd::{exp_in_place, max};
