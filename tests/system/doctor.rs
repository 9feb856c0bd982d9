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
