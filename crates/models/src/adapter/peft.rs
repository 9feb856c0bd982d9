//! Adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stateset_domain::{Artifact, NamedTensor};

use super::{AdapterError, Factors, HostAdapter, LoraConfig, Targets};
use crate::{ModelConfig, read_tensors, write_tensors};

/// How an adapter adapts.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Its factors.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Ranks at most.
const MOST_RANK: u64 = 1 << 14;

/// What must be absent, null, false or empty: each would change what an adapter computes.
const UNSUPPORTED: [&str; 20] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// The name of a factor, `A` or `B`.
pub(super) fn tensor_name(module: &str, factor: &str) -> String {
    format!("base_model.model.{module}.lora_{factor}.weight")
}

impl HostAdapter {
    /// Reads an adapter of `model` from its files.
    ///
    /// # Errors
    /// [`AdapterError`], naming the file and what is wrong in it.
    pub fn from_files(model: &ModelConfig, files: &[Artifact]) -> Result<Self, AdapterError> {
        let file = |name: &'static str| {
            let found = files.iter().find(|file| file.name == name);
            found.map(|file| file.bytes.as_slice()).ok_or(AdapterError::Missing(name))
        };
        let config = LoraConfig::from_peft(file(ADAPTER_CONFIG)?)?;
        let tensors = read_tensors(file(ADAPTER_WEIGHTS)?).map_err(|error| AdapterError::Weights(error.to_string()))?;
        Self::from_tensors(model, config, &tensors)
    }

    /// An adapter of factors by their names in PEFT, as [`to_tensors`](Self::to_tensors) gives them.
    ///
    /// # Errors
    /// [`AdapterError`], naming the tensor.
    pub fn from_tensors(
        model: &ModelConfig,
        config: LoraConfig,
        tensors: &[NamedTensor],
    ) -> Result<Self, AdapterError> {
        let mut by_name: BTreeMap<&str, &NamedTensor> = tensors.iter().map(|it| (it.name.as_str(), it)).collect();
        let mut factors = Vec::new();
        for target in config.targets.of(model)? {
            let mut factor = |which: &str, shape: [usize; 2]| {
                let name = tensor_name(&target.module, which);
                let missing = || AdapterError::Weights(format!("tensor {name} is missing"));
                let tensor = by_name.remove(name.as_str()).ok_or_else(missing)?;
                if tensor.shape != shape {
                    let found = &tensor.shape;
                    return Err(AdapterError::Weights(format!(
                        "tensor {name} has shape {found:?}, expected {shape:?}"
                    )));
                }
                Ok(tensor.data.to_vec())
            };
            let a = factor("A", [config.rank, target.inputs])?;
            let b = factor("B", [target.columns.len(), config.rank])?;
            factors.push(Factors { target, a, b });
        }
        match by_name.keys().next() {
            Some(stray) => Err(AdapterError::Weights(format!("tensor {stray} is of no projection that is adapted"))),
            None => Ok(Self { config, factors }),
        }
    }

    /// The adapter's files; `base` is the name of what it adapts.
    ///
    /// # Errors
    /// [`AdapterError::Weights`] if they cannot be serialised.
    pub fn to_files(&self, base: &str) -> Result<Vec<Artifact>, AdapterError> {
        let weights = write_tensors(&self.to_tensors()).map_err(|error| AdapterError::Weights(error.to_string()))?;
        let names = self.factors.iter().filter_map(|it| it.module().rsplit('.').next()).collect();
        let text = serde_json::to_string_pretty(&self.config.to_peft(base, &names))
            .map_err(|error| AdapterError::Config(error.to_string()))?;
        Ok(vec![
            Artifact { name: ADAPTER_CONFIG.into(), bytes: text.into_bytes() },
            Artifact { name: ADAPTER_WEIGHTS.into(), bytes: weights },
        ])
    }
}

impl LoraConfig {
    fn from_peft(bytes: &[u8]) -> Result<Self, AdapterError> {
        let json: Value = serde_json::from_slice(bytes).map_err(|error| AdapterError::Config(error.to_string()))?;
        let field = |name: &str| json.get(name).filter(|value| !value.is_null());
        let refuse = |field: &str, found: &Value, supported| {
            Err(AdapterError::Unsupported { field: field.into(), found: found.to_string(), supported })
        };
        for (name, allowed, supported) in [("peft_type", "LORA", "\"LORA\""), ("bias", "none", "\"none\"")] {
            if let Some(found) = field(name).filter(|it| it.as_str() != Some(allowed)) {
                return refuse(name, found, supported);
            }
        }
        let empty = |it: &Value| {
            *it == json!(false)
                || it.as_object().is_some_and(|it| it.is_empty())
                || it.as_array().is_some_and(Vec::is_empty)
        };
        for name in UNSUPPORTED {
            if let Some(found) = field(name).filter(|it| !empty(it)) {
                return refuse(name, found, "null");
            }
        }
        let wrong = |name: &str, expected: &str| AdapterError::Config(format!("{name} must be {expected}"));
        let rank = field("r").and_then(Value::as_u64).filter(|rank| (1..=MOST_RANK).contains(rank));
        let alpha = field("lora_alpha").and_then(Value::as_f64).filter(|alpha| *alpha > 0.0 && alpha.is_finite());
        Ok(Self {
            rank: rank.ok_or_else(|| wrong("r", "a whole number from 1 to 16384"))? as usize,
            alpha: alpha.ok_or_else(|| wrong("lora_alpha", "a number above 0"))?,
            dropout: dropout(field("lora_dropout")).ok_or_else(|| wrong("lora_dropout", "a number from 0, below 1"))?,
            stabilised: field("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            targets: targets(field("target_modules"))
                .ok_or_else(|| wrong("target_modules", "\"all-linear\" or a list of names"))?,
        })
    }

    /// As PEFT writes it, with the projections by name: what presets stand for differs from program to program.
    fn to_peft(&self, base: &str, targets: &BTreeSet<&str>) -> Value {
        json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "peft_type": "LORA",
            "r": self.rank,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.stabilised,
        })
    }
}

fn dropout(value: Option<&Value>) -> Option<f32> {
    let rate = value.map_or(Some(0.0), Value::as_f64)?;
    (0.0..1.0).contains(&rate).then_some(rate as f32)
}

fn targets(value: Option<&Value>) -> Option<Targets> {
    match value? {
        Value::String(text) if text == "all-linear" => Some(Targets::AllLinear),
        Value::Array(names) => {
            names.iter().map(|it| it.as_str().map(str::to_string)).collect::<Option<_>>().map(Targets::Named)
        }
        _ => None,
    }
}
