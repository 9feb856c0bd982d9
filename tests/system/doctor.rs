//! What `stateset doctor` says of the machine that these tests run on.

use std::fs;

use serde_json::Value;

use crate::lab::{Lab, expect, stateset, stdout};

#[test]
fn where_runs_can_be_kept_there_is_no_problem_and_nothing_is_left_behind() {
    let lab = Lab::new();
    let output = expect(0, stateset().args(["doctor", "--output-dir"]).arg(lab.runs().join("new")));
    let told = stdout(&output);
    let checks: Vec<&str> = told.lines().map(|line| line[9..20].trim()).collect();
    assert_eq!(
        checks,
        ["build", "processor", "memory", "huge pages", "output dir", "disk", "gpu", "runs on"],
        "{told}"
    );
    assert!(told.contains("training and rollouts run on the CPU"), "{told}");
    assert_eq!(fs::read_dir(lab.runs()).unwrap().count(), 0);
}

#[test]
fn where_they_cannot_the_exit_code_is_1_and_what_to_do_is_said() {
    let lab = Lab::new();
    let taken = lab.runs().join("taken");
    fs::write(&taken, "").unwrap();
    let output = expect(1, stateset().args(["doctor", "--json", "--output-dir"]).arg(&taken));
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(told["problems"], 1, "{told}");
    let failed = told["checks"].as_array().unwrap().iter().find(|check| check["verdict"] == "problem").unwrap();
    assert!(failed["found"].as_str().unwrap().contains("Not a directory"), "{failed}");
    assert!(failed["advice"].as_str().unwrap().contains("--output-dir"), "{failed}");
    let facts = &told["facts"];
    assert!(facts["machine"]["cores"].as_u64().unwrap() >= 1 && facts["threads"].as_u64().unwrap() >= 1, "{facts}");
    assert_eq!(facts["version"], env!("CARGO_PKG_VERSION"));
    assert!(facts["gpu"]["status"].is_string(), "{facts}");
}

fn with_model(code: i32, model: &str) -> (String, Value) {
    let runs = tempfile::tempdir().unwrap();
    let mut asked = stateset();
    asked.args(["doctor", "--model", model, "--output-dir"]).arg(runs.path());
    let told = stdout(&expect(code, &mut asked));
    let json = stdout(&expect(code, asked.arg("--json")));
    (told, serde_json::from_str(json.lines().last().unwrap()).unwrap())
}

fn check<'a>(told: &'a Value, name: &str) -> &'a Value {
    let checks = told["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name} in {told}"))
}

#[test]
fn a_model_is_loaded_tried_out_and_planned_for() {
    let (text, told) = with_model(0, "builtin:tiny");
    assert!(text.contains("builtin:tiny: llama, 792 thousand weights, stored as F32; 512 tokens at most"), "{text}");
    assert!(text.contains("\n  optimizer ") && text.contains("8192 tokens a forward pass, without"), "{text}");
    let names = ["model", "tokenizer", "template", "generation", "log-probs", "speed", "memory plan"];
    assert!(names.iter().all(|name| check(&told, name)["verdict"] != "problem"), "{told}");
    let model = &told["facts"]["model"];
    let trial = &model["trial"]["Ok"];
    assert!(trial["log_prob_gap"].as_f64().unwrap() < 1e-4 && trial["compared"] == 32, "{trial}");
    for speed in ["prefill_per_second", "decode_per_second"] {
        assert!(trial[speed].as_f64().unwrap() > 0.0, "{trial}");
    }
    assert!(model["plan"]["parts"].as_array().unwrap().len() > 8, "{model}");
}

#[test]
fn a_model_of_others_is_tried_out_and_one_that_is_not_there_is_named() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/models/fixtures");
    let (_, told) = with_model(0, &format!("{fixtures}/gpt_oss"));
    assert!(check(&told, "model")["found"].as_str().unwrap().contains("stored as BF16 and U8"), "{told}");
    for name in ["template", "generation", "log-probs"] {
        assert_eq!(check(&told, name)["verdict"], "ok", "{told}");
    }
    let (_, told) = with_model(1, "./no/such/model");
    let found = check(&told, "model")["found"].as_str().unwrap();
    assert!(found.starts_with("./no/such/model cannot be used: cannot load the model"), "{found}");
}
