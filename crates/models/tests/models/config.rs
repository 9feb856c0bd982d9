//! Configurations: what is read, and what is refused by name.

use serde_json::{Value, json};
use stateset_models::{ConfigError, ModelConfig};

fn with(field: &str, value: Value) -> Result<ModelConfig, ConfigError> {
    let mut json = serde_json::to_value(crate::config(true)).unwrap();
    json[field] = value;
    ModelConfig::from_json(&json.to_string())
}

#[test]
fn a_configuration_survives_its_file_and_ignores_what_others_write_there() {
    assert_eq!(with("transformers_version", json!("4.57")).unwrap(), crate::config(true));
}

#[test]
fn what_this_decoder_does_not_do_is_refused_by_field() {
    for (field, value) in [
        ("architectures", json!(["GPT2LMHeadModel"])),
        ("hidden_act", json!("gelu")),
        ("attention_bias", json!(true)),
        ("mlp_bias", json!(true)),
        ("rope_scaling", json!({"type": "linear"})),
    ] {
        match with(field, value) {
            Err(ConfigError::Unsupported { field: named, .. }) => assert!(named.contains(field), "{named}"),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn dimensions_that_contradict_each_other_are_refused() {
    for (field, value) in [
        ("vocab_size", json!(0)),
        ("num_attention_heads", json!(5)),
        ("num_attention_heads", json!(8)),
        ("num_key_value_heads", json!(3)),
        ("hidden_size", json!(2048)),
    ] {
        assert!(matches!(with(field, value.clone()), Err(ConfigError::Shape(_))), "{field} = {value} was accepted");
    }
}

#[test]
fn a_missing_field_and_a_field_of_another_type_are_named() {
    let missing = ModelConfig::from_json(r#"{"architectures": []}"#).unwrap_err().to_string();
    assert!(missing.contains("model_type"), "{missing}");
    assert!(matches!(with("vocab_size", json!("many")), Err(ConfigError::Parse(_))));
}
