//! What can be done with a finished run.

use serde_json::Value;
use stateset_agents::read_result;

use crate::lab::{Lab, expect, stateset, stderr, stdout, typed, undisturbed};

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

#[test]
fn a_conversation_is_shown_as_the_policy_sees_it_and_what_is_wrong_with_it_is_told_with_its_file() {
    let lab = Lab::new();
    let file = lab.runs().join("talk.json");
    let render = |text: &str, code| {
        std::fs::create_dir_all(lab.runs()).unwrap();
        std::fs::write(&file, text).unwrap();
        expect(code, stateset().args(["render", "--model", "builtin:tiny", "--json", "--messages"]).arg(&file))
    };
    let output = render(r#"[{"role": "user", "content": "hi"}]"#, 0);
    let shown: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
    assert_eq!(shown["text"], "<|user|>hi<|end|><|assistant|>");
    assert_eq!(shown["ids"].as_array().unwrap()[2], shown["stop_ids"][0], "{shown}");
    for (text, reason) in [("{}", "not a list of messages"), (r#"[{"content": "hi"}]"#, "message 1 has no \"role\"")] {
        let told = stderr(&render(text, 1));
        assert!(told.contains("talk.json") && told.contains(reason), "{told}");
    }
}

#[test]
fn a_cached_model_of_the_hub_is_rendered_for_like_its_folder() {
    let lab = Lab::new();
    let fixture = crate::lab::here().join("../parity/models/fixtures/qwen2");
    let cached = lab.runs().join("hub/models--org--qwen2");
    let snapshot = cached.join("snapshots/0123456789abcdef0123456789abcdef01234567");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(cached.join("refs")).unwrap();
    std::fs::write(cached.join("refs/main"), "0123456789abcdef0123456789abcdef01234567").unwrap();
    for file in std::fs::read_dir(&fixture).unwrap().map(Result::unwrap).filter(|it| it.path().is_file()) {
        std::fs::copy(file.path(), snapshot.join(file.file_name())).unwrap();
    }
    let talk = lab.runs().join("talk.json");
    std::fs::write(&talk, r#"[{"role": "user", "content": "hi"}]"#).unwrap();
    let render = |model: &std::ffi::OsStr| {
        let mut command = stateset();
        command.env("HF_HUB_CACHE", lab.runs().join("hub")).env("HF_HUB_OFFLINE", "1");
        stdout(&expect(0, command.args(["render", "--json", "--messages"]).arg(&talk).arg("--model").arg(model)))
    };
    let from_folder = render(fixture.as_os_str());
    assert!(from_folder.contains("<|im_start|>user"), "{from_folder}");
    assert_eq!(render("org/qwen2".as_ref()), from_folder);
}
