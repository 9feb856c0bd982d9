//! A model that judges over real HTTP, and what becomes of a run when it goes away in the middle.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use stateset_agents::config::{Breaker, Config, Judge};
use stateset_agents::{RunFiles, Runtime, Update, read_result};
use stateset_domain::{BreakerState, Message, sha256_hex};
use stateset_rewards::Criterion;
use stateset_telemetry::{Event, EventSink};
use stateset_testkit::{ChatServer, Conduct};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::lab::{Lab, events, expect, small, stateset, stderr, steps};

/// A judgement that depends on nothing but what is judged.
fn judgement(messages: &[Message]) -> String {
    let digest = sha256_hex(messages[1].content.as_bytes());
    let score = |at: usize| u32::from_str_radix(&digest[at..=at], 16).unwrap() % 11;
    json!({ "scores": { "polite": score(0), "brief": score(1) }, "reason": "so it seems" }).to_string()
}

fn settings(server: &ChatServer) -> Judge {
    let ms = Duration::from_millis;
    let criterion = |name: &str| Criterion { name: name.into(), weight: 1.0, description: format!("Is it {name}?") };
    Judge {
        endpoint: server.endpoint(),
        model: "small".into(),
        criteria: vec![criterion("polite"), criterion("brief")],
        timeout: ms(500),
        concurrency: 4,
        breaker: Breaker { min_calls: 3, open: ms(50), open_max: ms(200), ..Breaker::default() },
        ..Judge::default()
    }
}

fn config(lab: &Lab, judge: Judge) -> Config {
    let mut config = Config::from_file(small()).unwrap();
    config.run.output_dir = lab.runs().into();
    config.rewards.judge = Some(judge);
    config
}

/// Passes on which states the breaker goes through.
struct Watch(mpsc::UnboundedSender<BreakerState>);

impl EventSink for Watch {
    fn emit(&self, event: Event) {
        if let Event::BreakerChanged { to, .. } = event {
            let _ = self.0.send(to);
        }
    }
}

/// How a judge goes away.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outage {
    /// Nobody listens any more.
    Stopped,
    /// It has no time.
    Overloaded,
    /// It takes questions and never answers.
    Hanging,
}

/// What a run came to: its policy, and every step but for how long it took.
fn result(run: &RunFiles) -> (String, Vec<serde_json::Value>) {
    (read_result(run).unwrap().policy_digest.to_string(), steps(run))
}

/// Runs with an outage that begins after the second step and lasts until the breaker has opened `openings` times. How long it then
/// took until the judge was called again like before.
async fn through(outage: Outage, openings: usize) -> (Lab, Duration) {
    let lab = Lab::new();
    let mut server = ChatServer::start(judgement).await;
    let (stepped, mut steps) = mpsc::unbounded_channel();
    let (watch, mut states) = mpsc::unbounded_channel();
    let runtime = Runtime::builder().config(config(&lab, settings(&server))).events(Arc::new(Watch(watch)));
    let runtime = runtime.on_update(move |update| {
        if let Update::Step(metrics) = update {
            let _ = stepped.send(metrics.step);
        }
    });
    let run = tokio::spawn(runtime.build().unwrap().run());
    let patience = Duration::from_secs(60);
    while timeout(patience, steps.recv()).await.unwrap() != Some(2) {}
    match outage {
        Outage::Stopped => server.stop().await,
        Outage::Overloaded => server.behave(Conduct::status(503)),
        Outage::Hanging => server.behave(Conduct::Hang),
    }
    let mut opened = 0;
    while opened < openings {
        opened += usize::from(timeout(patience, states.recv()).await.unwrap() == Some(BreakerState::Open));
    }
    assert!(steps.try_recv().is_err(), "no step is taken without the judge");
    match outage {
        Outage::Stopped => server.restart().await,
        Outage::Overloaded | Outage::Hanging => server.behave(Conduct::Answer),
    }
    let back = Instant::now();
    while timeout(patience, states.recv()).await.unwrap() != Some(BreakerState::Closed) {}
    let resumed = back.elapsed();
    assert_eq!(timeout(patience, steps.recv()).await.unwrap(), Some(3));
    timeout(patience, run).await.unwrap().unwrap().unwrap();
    (lab, resumed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_goes_away_and_comes_back_changes_nothing() {
    let calm = Lab::new();
    let server = ChatServer::start(judgement).await;
    let runtime = Runtime::builder().config(config(&calm, settings(&server))).build().unwrap();
    runtime.run().await.unwrap();
    let wanted = result(&calm.run());
    let asked = server.asked().len();
    assert!(asked > 30, "the judge is asked about every new conversation: {asked} questions");

    for (outage, openings) in [(Outage::Stopped, 8), (Outage::Overloaded, 4), (Outage::Hanging, 2)] {
        let (lab, resumed) = through(outage, openings).await;
        assert_eq!(result(&lab.run()), wanted, "{outage:?}");
        assert!(resumed < Duration::from_secs(5), "{outage:?}: scoring resumed {resumed:?} after the judge");
        let summary = read_result(&lab.run()).unwrap();
        let counts = (summary.episodes_completed, summary.episodes_failed, summary.episodes_lost);
        assert_eq!((counts, summary.episodes_duplicated, summary.restarts), ((96, 0, 0), 0, 0), "{outage:?}");
        recorded(&lab.run(), openings);
    }
}

/// The outage is on record, from its first failure to its end, and cost no episode an attempt.
fn recorded(run: &RunFiles, openings: usize) {
    let events: Vec<Event> = events(run).into_iter().map(|timed| timed.event).collect();
    let costly = |event: &Event| matches!(event, Event::EpisodeRetried { .. } | Event::EpisodeFailed { .. });
    assert!(!events.iter().any(costly), "{events:#?}");
    let changes = events.iter().filter_map(|event| match event {
        Event::BreakerChanged { dependency, from, to, reason, .. } => Some((dependency.as_str(), *from, *to, reason)),
        _ => None,
    });
    let changes: Vec<_> = changes.collect();
    assert_eq!((changes[0].0, changes[0].1, changes[0].2), ("judge", BreakerState::Closed, BreakerState::Open));
    assert!(changes[0].3.starts_with("too many calls failed, the last: "), "{}", changes[0].3);
    assert_eq!(changes[changes.len() - 1].2, BreakerState::Closed);
    assert!(changes.iter().filter(|change| change.2 == BreakerState::Open).count() >= openings);
    let chained = changes.windows(2).all(|pair| pair[0].2 == pair[1].1);
    assert!(chained, "each change begins where the one before ended: {changes:#?}");
}

/// A configuration file with a judge in it.
fn file(lab: &Lab, judge: &Judge) -> PathBuf {
    let path = lab.runs().join("judged.yaml");
    fs::write(&path, config(lab, judge.clone()).to_yaml()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_refuses_ends_the_run_with_what_it_said() {
    let lab = Lab::new();
    let server = ChatServer::start(judgement).await;
    server.behave(Conduct::status(401));
    let file = file(&lab, &settings(&server));
    let ran = tokio::task::spawn_blocking(move || expect(1, stateset().arg("train").arg(file))).await.unwrap();
    let told = stderr(&ran);
    let last = told.lines().last().unwrap();
    // Judge or learner, whoever is the first to be given up on.
    assert!(last.starts_with("error: the runtime gave up"), "{told}");
    let said = format!("{}/chat/completions answered 401 Unauthorized", server.endpoint());
    assert!(last.contains(&said), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_there_is_refused_before_anything_is_started() {
    let lab = Lab::new();
    let server = ChatServer::start(judgement).await;
    let file = file(&lab, &Judge { api_key_env: Some("NO_SUCH_KEY".into()), ..settings(&server) });
    let mut command = stateset();
    command.arg("train").arg(file).env_remove("NO_SUCH_KEY");
    let told = stderr(&tokio::task::spawn_blocking(move || expect(2, &mut command)).await.unwrap());
    assert!(told.contains("`rewards.judge.api_key_env` names the environment variable NO_SUCH_KEY, which is not set"));
    assert!(!lab.runs().join("small").exists() && server.asked().is_empty());
}
