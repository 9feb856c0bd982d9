//! Another configuration in the middle of a run: taken over whole, or not at all.

use std::fs;
use std::process::Command;

use serde_json::Value;
use stateset_agents::config::{Change, Config};
use stateset_agents::prelude::*;
use stateset_agents::{ReloadRefused, RuntimeBuilder};
use tokio::sync::mpsc;

use crate::lab::{
    Lab, Running, assert_undisturbed, checkpoints, events, expect, here, small, stateset, stderr, stdout,
};

const POOLED: &str = "topology={actors: {judge: {pool: {size: 2}}}}";

fn builder(lab: &Lab, sets: &[&str]) -> RuntimeBuilder {
    let output = format!("run.output_dir={}", Value::from(lab.runs().to_str().unwrap()));
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).chain([output]).collect();
    Runtime::builder().config_file(small(), &sets).unwrap()
}

/// Runs, and as soon as the second step is taken asks for what `change` makes of the configuration, while episodes are under way.
async fn run(builder: RuntimeBuilder, change: impl FnOnce(&mut Config)) -> Result<Vec<Change>, ReloadRefused> {
    let (told, mut steps) = mpsc::unbounded_channel();
    let runtime = builder.on_update(move |update| {
        if let Update::Step(metrics) = update {
            let _ = told.send(metrics.step);
        }
    });
    let runtime = runtime.build().unwrap();
    let (reloader, mut config) = (runtime.reloader(), runtime.config());
    change(&mut config);
    let reloading = tokio::spawn(async move {
        while steps.recv().await.unwrap() != 2 {}
        reloader.reload(Ok(config)).await
    });
    runtime.run().await.unwrap();
    reloading.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_a_pool_change_in_the_middle_of_a_run_and_nobody_can_tell_from_the_result() {
    let lab = Lab::new();
    let changes = run(builder(&lab, &[POOLED]), |config| {
        config.supervision.max_live_episodes = 3;
        config.training.save_every = 1;
        config.training.keep_checkpoints = 9;
        config.topology.actors.get_mut("judge").unwrap().pool.as_mut().unwrap().size = 4;
    });
    let told: Vec<String> = changes.await.unwrap().iter().map(Change::to_string).collect();
    let wanted = [
        "supervision.max_live_episodes: 128 -> 3, live",
        "topology.actors.judge.pool.size: 2 -> 4, restarts judge",
        "training.keep_checkpoints: 3 -> 9, restarts checkpointer",
        "training.save_every: 2 -> 1, live",
    ];
    assert_eq!(told, wanted);
    let summary = assert_undisturbed(&lab.run());
    assert_eq!(summary.restarts, 2, "the judge and the checkpointer, once each");
    assert_eq!(checkpoints(&lab.run()), ["step-000002", "step-000003", "step-000004", "step-000005", "step-000006"]);
    let events: Vec<Event> = events(&lab.run()).into_iter().map(|timed| timed.event).collect();
    let recorded = events.iter().find_map(|event| match event {
        Event::ConfigReloaded { changed } => Some(changed.len()),
        _ => None,
    });
    assert_eq!(recorded, Some(4));
    let started = |name: &str| events.iter().any(|it| matches!(it, Event::ChildStarted { child, .. } if child == name));
    assert!(started("judge-4") && !started("judge-5"));
    let recorded: Config = serde_saphyr::from_str(&fs::read_to_string(lab.run().config()).unwrap()).unwrap();
    assert_eq!((recorded.training.save_every, recorded.supervision.max_live_episodes), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_refused_with_all_that_came_with_it() {
    let lab = Lab::new();
    let refused = run(builder(&lab, &[]), |config| {
        config.training.save_every = 1;
        config.training.learning_rate = 0.5;
        config.supervision.restarts.max = 0;
    });
    let refused = refused.await.unwrap_err().to_string();
    let wanted = "it cannot be taken over by a run that goes on:\n  \
                  supervision.restarts.max: 5 -> 0, only with --resume\n  \
                  training.learning_rate: 0.0003 -> 0.5, another run";
    assert_eq!(refused, wanted);
    assert_undisturbed(&lab.run());
    assert_eq!(checkpoints(&lab.run()), ["step-000002", "step-000004", "step-000006"]);
    let told = events(&lab.run())
        .into_iter()
        .filter(|timed| matches!(&timed.event, Event::ReloadRefused { reason } if *reason == wanted));
    assert_eq!(told.count(), 1);
}

/// Passes everything on, or refuses to start.
struct Courier;

impl Actor for Courier {
    type Msg = JudgeMsg;
    type State = Port<JudgeMsg>;
    type Arguments = (Port<JudgeMsg>, bool);

    async fn pre_start(
        &self,
        _: ActorRef<JudgeMsg>,
        (judge, on_strike): Self::Arguments,
    ) -> Result<Port<JudgeMsg>, ActorProcessingErr> {
        if on_strike { Err("on strike".into()) } else { Ok(judge) }
    }

    async fn handle(
        &self,
        _: ActorRef<JudgeMsg>,
        message: JudgeMsg,
        judge: &mut Port<JudgeMsg>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(judge.post(message, std::time::Duration::from_secs(10)).await.map_err(|_| "the judge is down")?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_does_not_come_up_has_everything_taken_back() {
    let lab = Lab::new();
    let courier = Kind::new("courier", |seat: &Seat<'_, JudgeMsg>| {
        let (judge, params) = (seat.port("judge")?, seat.params::<Value>()?);
        Ok(seat.actor(move |_| (Courier, (judge.clone(), params["on_strike"] == true))))
    });
    let courier = courier.sends::<JudgeMsg>("judge", "trajectory").params::<Value>();
    let topology = "topology={supervisors: {rollouts: {children: [judge, courier, environment, conversations]}}, \
                    actors: {courier: {params: {on_strike: false}}, conversations: {to: {judge: courier}}}}";
    let output = format!("run.output_dir={}", Value::from(lab.runs().to_str().unwrap()));
    let builder = Runtime::builder().register(courier).config_file(small(), &[topology.to_owned(), output]).unwrap();
    let refused = run(builder, |config| {
        config.training.save_every = 1;
        config.topology.actors.get_mut("courier").unwrap().params.insert("on_strike".into(), true.into());
    });
    let refused = refused.await.unwrap_err();
    assert!(matches!(&refused, ReloadRefused::RolledBack { actor, .. } if actor == "courier"), "{refused}");
    assert_undisturbed(&lab.run());
    assert_eq!(
        checkpoints(&lab.run()),
        ["step-000002", "step-000004", "step-000006"],
        "also what was live is as it was"
    );
}

/// `small.yaml` as text that can be put anywhere.
fn text() -> String {
    let domain = here().join("../../config/domains/support_desk.yaml");
    let text = fs::read_to_string(small()).unwrap();
    text.replace("../../config/domains/support_desk.yaml", domain.to_str().unwrap())
}

#[test]
fn a_hangup_has_the_file_read_again_with_what_was_laid_over_it() {
    hung_up_on(&[]);
}

#[test]
fn a_hangup_reaches_the_worker_of_a_supervised_run() {
    hung_up_on(&["--supervise"]);
}

fn hung_up_on(arguments: &[&str]) {
    let (lab, text) = (Lab::new(), text());
    let file = lab.runs().join("small.yaml");
    fs::write(&file, &text).unwrap();
    let mut command = stateset();
    command.arg("train").arg(&file).arg("--output-dir").arg(lab.runs()).args(["--set", "training.keep_checkpoints=4"]);
    command.args(arguments);
    let mut running = Running::start(&mut command);
    let pid = running.child.id().to_string();
    let hang_up = |save_every: &str| {
        fs::write(&file, text.replace("save_every: 2", &format!("save_every: {save_every}"))).unwrap();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    running.wait_for("step    1/6");
    hang_up("two");
    running.wait_for("not reloaded: it cannot be run:");
    hang_up("1");
    running.wait_for("reloaded: training.save_every: 2 -> 1, live");
    assert_eq!(running.end().status.code(), Some(0));
    assert_undisturbed(&lab.run());
    assert_eq!(checkpoints(&lab.run()).len(), 4);
}

#[test]
fn a_difference_is_told_with_what_it_takes() {
    let (lab, text) = (Lab::new(), text());
    let (old, new) = (lab.runs().join("old.yaml"), lab.runs().join("new.yaml"));
    fs::write(&old, &text).unwrap();
    let diff = |written: &str, code: i32| {
        fs::write(&new, text.replace("save_every: 2", written)).unwrap();
        stdout(&expect(code, stateset().arg("diff").arg(&old).arg(&new)))
    };
    assert_eq!(diff("save_every: 2", 0), "");
    assert_eq!(diff("save_every: 3", 0), "training.save_every  2 -> 3  live\n");
    let told = diff("save_every: 3\n  keep_checkpoints: 10\n  learning_rate: 0.1", 3);
    let wanted = "\
training.keep_checkpoints       3 -> 10   restarts checkpointer
training.learning_rate     0.0003 -> 0.1  another run
training.save_every             2 -> 3    live
";
    assert_eq!(told, wanted);
    let refused = expect(2, stateset().arg("diff").arg(&old).arg(lab.runs().join("none.yaml")));
    assert!(stderr(&refused).contains("cannot read"));
}
