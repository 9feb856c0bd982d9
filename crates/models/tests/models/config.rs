//! Configurations: what is read, and what is refused by name.

use serde_json::{Value, json};
use stateset_models::{ConfigError, ModelConfig};

fn with(field: &str, value: Value) -> Result<ModelConfig, ConfigError> {
    let mut json = serde_json::to_value(crate::llama(true)).unwrap();
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
        ("model_type", json!("gpt2")),
        ("hidden_act", json!("gelu")),
        ("attention_dropout", json!(0.1)),
        ("rope_scaling.rope_type", json!({"rope_type": "spiral"})),
    ] {
        let (name, last) = field.split_once('.').unwrap_or((field, field));
        match with(name, value) {
            Err(ConfigError::Unsupported { field: named, .. }) => assert!(named.contains(last), "{named}"),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn dimensions_that_contradict_each_other_are_refused() {
    for (field, value) in [
        ("num_attention_heads", json!(5)),
        ("num_attention_heads", json!(8)),
        ("num_key_value_heads", json!(3)),
        ("hidden_size", json!(2048)),
        ("num_hidden_layers", json!(1 << 20)),
    ] {
        assert!(matches!(with(field, value.clone()), Err(ConfigError::Shape(_))), "{field} = {value} was accepted");
    }
}

#[test]
fn a_missing_field_and_a_field_of_another_type_are_named() {
    let missing = ModelConfig::from_json(r#"{"architectures": []}"#).unwrap_err().to_string();
    assert!(missing.contains("model_type"), "{missing}");
    for value in [json!("many"), json!(0), json!(-3), json!(1.5), json!(u64::MAX)] {
        assert!(matches!(with("vocab_size", value), Err(ConfigError::Type { field, .. }) if field == "vocab_size"));
    }
}

#[test]
fn a_field_that_nobody_has_read_is_named() {
    let stray = with("attention_spiral", json!(3)).unwrap_err().to_string();
    assert!(stray.contains("attention_spiral is no field of llama"), "{stray}");
    let nested =
        with("rope_scaling", json!({"rope_type": "linear", "factor": 2.0, "twist": 1})).unwrap_err().to_string();
    assert!(nested.contains("rope_scaling.twist"), "{nested}");
}
