//! B10: one of fifty actors is told something else in the middle of a run, with messages on their way through it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::json;
use stateset_agents::config::{ActorNode, SupervisorNode};
use stateset_agents::prelude::*;
use stateset_testkit::{EchoEnvironment, MeanTurnReward, ScriptedEngine};

use crate::scripted;

/// Relays between conversations and judge: with the seven actors of the standard topology there are fifty.
const RELAYS: usize = 43;
/// The one that is told something else.
const TOLD: &str = "relay-20";

/// Passes everything on.
struct Relay;

impl Actor for Relay {
    type Msg = JudgeMsg;
    type State = Port<JudgeMsg>;
    type Arguments = Port<JudgeMsg>;

    async fn pre_start(
        &self,
        _: ActorRef<JudgeMsg>,
        next: Port<JudgeMsg>,
    ) -> Result<Port<JudgeMsg>, ActorProcessingErr> {
        Ok(next)
    }

    async fn handle(
        &self,
        _: ActorRef<JudgeMsg>,
        message: JudgeMsg,
        next: &mut Port<JudgeMsg>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(next.post(message, Duration::from_secs(10)).await.map_err(|_| "the next one is down")?)
    }
}

#[derive(serde::Deserialize)]
struct Params {
    mark: u64,
}

fn name(relay: usize) -> String {
    format!("relay-{relay}")
}

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.run.output_dir = folder.to_owned();
    config.run.name = "reload".into();
    config.training.steps = 10_000_000;
    config.training.save_every = 1_000;
    config.evaluation.episodes = 0;
    let actors = &mut config.topology.actors;
    for relay in 1..=RELAYS {
        let next = if relay == RELAYS { "judge".into() } else { name(relay + 1) };
        let params = BTreeMap::from([("mark".to_owned(), json!(0))]);
        let to = BTreeMap::from([("next".to_owned(), next)]);
        actors.insert(name(relay), ActorNode { kind: Some("relay".into()), to, params, ..ActorNode::default() });
    }
    let to = BTreeMap::from([("judge".to_owned(), name(1))]);
    actors.insert("conversations".into(), ActorNode { to, ..ActorNode::default() });
    let relays = (1..=RELAYS).rev().map(name);
    let children =
        std::iter::once("judge".to_owned()).chain(relays).chain(["environment", "conversations"].map(Into::into));
    let rollouts = SupervisorNode { children: Some(children.collect()), ..SupervisorNode::default() };
    config.topology.supervisors.insert("rollouts".into(), rollouts);
    config
}

/// What telling it came to.
pub(crate) struct Reloads {
    /// From the order to the moment when all is as ordered, each.
    pub(crate) milliseconds: Vec<f64>,
    /// Episodes that were completed meanwhile.
    pub(crate) episodes: u64,
    /// Episodes that were lost.
    pub(crate) lost: u64,
}

/// `count` reloads of a run, one after the other.
pub(crate) async fn reload(folder: &Path, count: u64) -> Reloads {
    // What the relay that is told has been told last.
    let heard = Arc::new(AtomicU64::new(0));
    let hearing = heard.clone();
    let relay = Kind::new("relay", move |seat: &Seat<'_, JudgeMsg>| {
        let Params { mark } = seat.params()?;
        hearing.fetch_max(mark, SeqCst);
        let next: Port<JudgeMsg> = seat.port("next")?;
        Ok(seat.actor(move |_incarnation| (Relay, next.clone())))
    });
    let runtime = Runtime::builder()
        .register(relay.sends::<JudgeMsg>("next", "trajectory").params::<Params>())
        .config(config(folder))
        .backends(scripted::backends(|| ScriptedEngine::new(|_, request| scripted::echo(request))))
        .environment(EchoEnvironment { turns: 3 })
        .reward(MeanTurnReward)
        .build()
        .unwrap();
    let (reloader, mut config, interrupter) = (runtime.reloader(), runtime.config(), runtime.interrupter());
    let vitals = runtime.vitals();
    let running = tokio::spawn(runtime.run());
    while vitals.read().episodes == 0 {
        assert!(!running.is_finished(), "it does not begin: {:?}", running.await.unwrap().err());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = vitals.read().episodes;
    let mut milliseconds = Vec::new();
    for mark in 1..=count {
        config.topology.actors.get_mut(TOLD).unwrap().params.insert("mark".into(), json!(mark));
        let began = Instant::now();
        let changes = reloader.reload(Ok(config.clone())).await.unwrap();
        milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!((changes.len(), heard.load(SeqCst)), (1, mark), "{changes:?}");
    }
    let episodes = vitals.read().episodes - before;
    interrupter.interrupt();
    let summary = running.await.unwrap().unwrap().summary;
    Reloads { milliseconds, episodes, lost: summary.episodes_lost }
}
