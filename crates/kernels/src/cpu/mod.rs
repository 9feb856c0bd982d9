//! Kernels on f32 slices.
//!
//! Matrices are row-major. A kernel that writes takes its output as a slice of exactly the right length and fills it. Threads come
//! from the rayon pool of the caller. Loops are compiled once per instruction set (AVX-512, AVX2, baseline) and chosen at run time.

mod adamw;
mod attention;
mod bias;
mod column_norm;
mod decode;
mod dropout;
mod gate;
mod gather;
mod head;
mod kv_cache;
mod linear;
mod log_prob;
mod low_rank;
mod norm;
mod numbers;
mod prefetch;
mod product;
mod rope;
mod route;
mod simd;

#[cfg(test)]
mod levels;

pub use adamw::{AdamW, adamw, sum_of_squares};
pub use attention::{Packed, attention, attention_backward, sinks_backward};
pub use bias::{add_bias, bias_backward};
pub use column_norm::{Span, norm_columns, norm_columns_backward};
pub use decode::decode_attention;
pub use dropout::dropout;
pub use gate::{gate, gate_backward};
pub use gather::{embed, gather_rows, scatter_add_rows};
pub use head::{Head, KEPT_LOGITS, cap_logits, linear_log_prob, linear_log_prob_backward};
pub use kv_cache::{KvCache, Row};
pub use linear::{linear, linear_add, linear_input_gradient, linear_weight_gradient, linear_weight_gradient_add};
pub use log_prob::{LogProb, log_prob, log_prob_backward, log_prob_backward_in_place};
pub use low_rank::{LowRank, low_rank, low_rank_backward};
pub use norm::{rms_norm, rms_norm_backward};
pub use numbers::{Numbers, narrowed};
pub use product::{Panels, multiply};
pub use rope::Rope;
pub use route::{Routes, route, route_backward};
pub use simd::{exp_in_place, max, vectors};
