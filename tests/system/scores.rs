//! What `stateset score` finds is what other implementations find.

use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::lab::{expect, stateset, stderr, stdout};

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/models/fixtures").join(family)
}

fn score(model: &Path, tokens: &str) -> Command {
    let mut command = stateset();
    command.arg("score").arg("--model").arg(model).args(["--tokens", tokens]);
    command
}

/// The ids of a family's sequence, and the logits `[tokens, vocabulary]` that transformers finds after each.
fn expected(family: &str) -> (Vec<u32>, Vec<Vec<f64>>) {
    let bytes = std::fs::read(fixture(family).join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (ids, logits) = (tensors.tensor("ids").unwrap(), tensors.tensor("logits").unwrap());
    let ids = ids.data().as_chunks::<8>().0.iter().map(|it| i64::from_le_bytes(*it) as u32).collect();
    let numbers: Vec<f64> =
        logits.data().as_chunks::<4>().0.iter().map(|it| f64::from(f32::from_le_bytes(*it))).collect();
    (ids, numbers.chunks(logits.shape()[1]).map(<[f64]>::to_vec).collect())
}

#[test]
fn log_probabilities_and_largest_logits_are_those_of_transformers() {
    for family in ["llama", "gemma2", "gpt_oss", "qwen3"] {
        let (ids, logits) = expected(family);
        let text = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let output = expect(0, score(&fixture(family), &text).args(["--top", "3", "--json"]));
        let found: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
        assert_eq!(found["tokens"], Value::from(ids.clone()));
        assert_eq!(found["log_probs"][0], Value::Null);
        for (at, logits) in logits.iter().enumerate() {
            let near = |found: &Value, right: f64| {
                let off = (found.as_f64().unwrap() - right).abs();
                assert!(off < 1e-4, "{family} at {at}: {found}, and not {right}");
            };
            if let Some(next) = ids.get(at + 1) {
                let all = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
                near(&found["log_probs"][at + 1], logits[*next as usize] - all);
            }
            let top = found["top"][at].as_array().unwrap();
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            assert_eq!(top.len(), 3);
            for (found, right) in top.iter().zip(sorted) {
                near(&found["logit"], right);
                near(&found["logit"], logits[found["id"].as_u64().unwrap() as usize]);
            }
        }
        assert_eq!(found["log_probs"].as_array().unwrap().len(), ids.len());
    }
}

#[test]
fn without_json_it_is_a_table_with_a_line_for_each_token() {
    let told = stdout(&expect(0, score(Path::new("builtin:tiny"), "70, 71,72").args(["--top", "1"])));
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("at  id  text") && lines[0].ends_with("log-prob  largest logits after it"), "{told}");
    assert_eq!(lines.len(), 4);
    assert!(lines[1].starts_with(" 0  70  \"") && lines[3].starts_with(" 2  72  \""), "{told}");
}

#[test]
fn what_cannot_be_scored_is_refused_with_what_is_wrong() {
    let refused = |model: &str, tokens: &str| stderr(&expect(2, &mut score(Path::new(model), tokens)));
    let beyond = refused("builtin:tiny", "1,2,99999");
    let wanted = "error: token 99999 at position 2 is beyond the model's vocabulary: ids go from 0 to ";
    assert!(beyond.starts_with(wanted), "{beyond}");
    let long = refused("builtin:tiny", &["7"; 600].join(","));
    assert_eq!(long, "error: there are 600 tokens, and the model has room for 512 (max_position_embeddings)\n");
    let none = refused("builtin:tinny", "1");
    assert!(none.contains("there is no model `builtin:tinny` (did you mean `builtin:tiny`?)"), "{none}");
    assert!(refused("builtin:tiny", "1,x").contains("a token is a whole number from 0 to"));
    let gone = stderr(&expect(1, &mut score(Path::new("./no/such/model"), "1")));
    assert!(gone.starts_with("error: cannot load the model ./no/such/model: cannot read"), "{gone}");
}
