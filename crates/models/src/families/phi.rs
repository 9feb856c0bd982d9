//! Phi-3 (arXiv:2404.14219) and Phi-4-mini (arXiv:2503.01743).

use serde_json::json;

use super::fields::Fields;
use super::{common, turn, windows};
use crate::config::Packing;
use crate::{ConfigError, ModelConfig};

pub(super) fn phi3(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = common(&mut f, "phi3")?;
    f.only("hidden_act", &[json!("silu")])?;
    for dropout in ["resid_pdrop", "embd_pdrop"] {
        f.only(dropout, &[json!(0.0)])?;
    }
    f.only("attention_bias", &[json!(false)])?;
    turn(&mut f, &mut config, 10_000.0)?;
    let window = f.optional_count("sliding_window")?;
    windows(&mut f, &mut config, window, |_| window.is_some())?;
    config.packing = Packing::Fused;
    f.finish("phi3")?;
    Ok(config)
}
