//! Looking into a run: while it works, while its engine hangs, and when it is over.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Running, assert_undisturbed, expect, stateset, stdout, undisturbed};
use crate::stalls::{Hang, impatient};

fn inspect(run: &std::path::Path) -> Command {
    let mut command = stateset();
    command.arg("inspect").arg(run);
    command
}

/// The node of that name in a tree.
fn node<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    if tree["name"] == name {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| node(child, name))
}

#[test]
fn a_run_that_works_shows_its_tree() {
    let lab = Lab::new();
    let mut running = Running::start(lab.train().args(["--log-level", "debug"]));
    running.wait_for("optimizer step begins step=2");
    let text = stdout(&expect(0, &mut inspect(&lab.runs().join("small"))));
    for words in ["running, process", "└─ watch", "health_monitor", "rest_for_one", "who waits for whom", "run_started"]
    {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    running.end();
    assert_undisturbed(&lab.run());
    assert!(!lab.run().socket().exists(), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_engine_hangs_answers_and_says_who_is_stuck() {
    let (lab, (hang, hangs, let_go)) = (Lab::new(), Hang::at(3));
    let runtime = impatient(&lab, Duration::from_secs(600)).events(hang).build().unwrap();
    let running = tokio::spawn(runtime.run());
    let run = lab.runs().join("small");
    let answer = tokio::task::spawn_blocking(move || {
        hangs.recv().unwrap();
        stdout(&expect(0, inspect(&run).arg("--json")))
    });
    let seen: Value = serde_json::from_str(&answer.await.unwrap()).unwrap();
    assert_eq!((&seen["running"], &node(&seen["tree"], "inference").unwrap()["state"]), (&true.into(), &"up".into()));
    let threads = seen["threads"].as_array().unwrap();
    let engine = threads.iter().find(|thread| thread["of"] == "inference").unwrap();
    assert!(engine["busy_seconds"].is_number(), "{engine}");
    drop(let_go);
    running.await.unwrap().unwrap();
    assert_undisturbed(&lab.run());
}

#[test]
fn a_run_that_is_over_says_so_and_how_it_ended() {
    let run = undisturbed();
    let text = stdout(&expect(0, &mut inspect(run.folder())));
    assert!(text.contains("not running; completed after step 6") && text.contains("learner"), "{text}");
    let seen: Value = serde_json::from_str(&stdout(&expect(0, inspect(run.folder()).arg("--json")))).unwrap();
    assert_eq!((&seen["running"], &seen["children"]["learner"]["incarnation"]), (&false.into(), &1.into()));
    let refused = inspect(&run.folder().join("nowhere")).output().unwrap();
    assert!(!refused.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_a_folder_with_a_long_name_can_be_looked_into() {
    let (lab, (hang, hangs, let_go)) = (Lab::new(), Hang::at(2));
    let name = "n".repeat(120);
    let mut sets = vec![format!("run.name={name}")];
    sets.push(format!("run.output_dir={}", Value::from(lab.runs().to_str().unwrap())));
    let builder = stateset_agents::Runtime::builder().config_file(crate::lab::small(), &sets).unwrap();
    let running = tokio::spawn(builder.events(hang).build().unwrap().run());
    let run = lab.runs().join(name);
    let looked = run.clone();
    let answer = tokio::task::spawn_blocking(move || {
        hangs.recv().unwrap();
        stdout(&expect(0, &mut inspect(&looked)))
    });
    assert!(answer.await.unwrap().contains("running, process"));
    drop(let_go);
    running.await.unwrap().unwrap();
    assert!(!run.join(".inspect").exists());
}
