//! What can be done with a finished run.

use serde_json::Value;
use stateset_agents::read_result;

use crate::lab::{Lab, expect, stateset, stdout, typed, undisturbed};

#[test]
fn evaluating_a_run_again_finds_what_its_summary_says() {
    let lab = Lab::new();
    let (json, run) = (lab.runs().join("found.json"), undisturbed().folder());
    let output = expect(0, stateset().arg("evaluate").arg(run).arg("--output-file").arg(&json));
    let told = stdout(&output);
    let first = format!("{} at step 6 on 8 held-out episodes of first\n", run.display());
    assert!(told.starts_with(&first) && told.contains("% greedy"), "{told}");

    let found: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let summary = read_result(undisturbed()).unwrap();
    let trained = summary.trained.unwrap();
    assert_eq!(found["policy_digest"], summary.policy_digest.to_string());
    assert_eq!((&found["step"], &found["episodes"], &found["rung"]), (&6.into(), &8.into(), &"first".into()));
    assert_eq!(found["success_rate_greedy"], trained.success_rate_greedy);
}

#[test]
fn another_rung_and_another_number_of_episodes_can_be_asked_for() {
    let run = undisturbed().folder();
    let output = expect(0, stateset().arg("evaluate").arg(run).args(["--rung", "standard", "--num-episodes", "5"]));
    let told = stdout(&output);
    assert!(told.contains("at step 6 on 5 held-out episodes of standard"), "{told}");
}

#[test]
fn a_chat_answers_every_line_and_knows_whom_it_talks_to() {
    let lines =
        ["hi, my account is K7Q2M. i was charged twice", "also, i moved house", "thanks. what did you do for me?"];
    let output = typed(&lines.join("\n"), stateset().arg("chat").arg(undisturbed().folder()));
    let told = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    let turns: Vec<&str> = told.split("user       ").skip(1).collect();
    assert_eq!(turns.len(), 3, "{told}");
    for (line, turn) in lines.iter().zip(turns) {
        let (said, answer) = turn.split_once('\n').unwrap();
        assert_eq!(said, *line);
        assert!(answer.starts_with("assistant  ") && answer.trim().len() > "assistant".len(), "{told}");
    }
    assert!(told.lines().any(|line| line.starts_with("assistant") && line.contains("K7Q2M")), "{told}");
}
