//! Single actors, with channels for neighbours and time that only passes when everyone waits.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use stateset_actors::protocol::{
    Assignment, Begin, Deadlines, EnvironmentMsg, HealthMsg, InferenceMsg, Instruments, JudgeMsg, LearnerMsg, Port,
    Site, Ticket, Unprobed,
};
use stateset_actors::{
    ConversationActor, ConversationArguments, ConversationSetup, HealthMonitorActor, HealthMonitorArguments, Restarter,
};
use stateset_chat::ChatFormat;
use stateset_domain::{EpisodeId, FailureKind, GroupId, Purpose, Sampling, Split};
use stateset_environments::Environment;
use stateset_telemetry::{Event, Memory, Nowhere};
use stateset_testkit::{CharTokenizer, EchoEnvironment};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

/// A conversation whose neighbours are channels that nobody reads unless the test does.
struct Alone {
    actor: ActorRef<stateset_actors::protocol::ConversationMsg>,
    home: UnboundedReceiver<LearnerMsg>,
    inference: UnboundedReceiver<InferenceMsg>,
    instruments: Instruments,
    _environment: UnboundedReceiver<EnvironmentMsg>,
    _judge: UnboundedReceiver<JudgeMsg>,
}

async fn alone(max_context: usize) -> Alone {
    let episode = EpisodeId { group: GroupId { purpose: Purpose::Train, step: 1, index: 0 }, member: 0 };
    let assignment = Assignment {
        episode,
        attempt: 1,
        epoch: 1,
        conversation: 1,
        split: Split::Train,
        index: 0,
        sampling: Sampling::default(),
        stream: episode.stream(0),
        group_stream: episode.group.stream(0),
    };
    let (port, home) = Port::channel();
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let world = EchoEnvironment { turns: 1 };
    let scenario = world.scenario(Split::Train, 0);
    let start = world.start(&scenario, assignment.group_stream).unwrap();
    let ticket = Ticket::new(assignment, port, permit);
    let begin = Begin { ticket, scenario: scenario.id, opening: start.opening, session: start.session };

    let format = ChatFormat::new(Arc::new(CharTokenizer)).unwrap();
    let ((inference, asked), (environment, _environment), (judge, _judge)) =
        (Port::channel(), Port::channel(), Port::channel());
    let instruments = Instruments::new(Arc::new(Nowhere), Arc::new(Unprobed));
    let deadlines = Deadlines { generate: Duration::from_secs(9), ..Deadlines::default() };
    let setup = ConversationSetup {
        format,
        max_context,
        inference,
        environment,
        judge,
        deadlines,
        instruments: instruments.clone(),
    };
    let (actor, _) = Actor::spawn(None, ConversationActor, ConversationArguments { begin, setup }).await.unwrap();
    Alone { actor, home, inference: asked, instruments, _environment, _judge }
}

fn failure(news: LearnerMsg) -> FailureKind {
    match news {
        LearnerMsg::Aborted { failure, .. } => failure,
        LearnerMsg::Begin
        | LearnerMsg::Completed { .. }
        | LearnerMsg::Reissue { .. }
        | LearnerMsg::StepTaken { .. }
        | LearnerMsg::Resume { .. }
        | LearnerMsg::Interrupt => panic!("the episode was expected to fail"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_never_comes_fails_the_episode_at_its_deadline() {
    let started = Instant::now();
    let mut alone = alone(100).await;
    assert_eq!(failure(alone.home.recv().await.unwrap()), FailureKind::Deadline("inference".into()));
    assert_eq!(started.elapsed(), Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_dropped_fails_the_episode_at_once() {
    let mut alone = alone(100).await;
    drop(alone.inference.recv().await);
    assert_eq!(failure(alone.home.recv().await.unwrap()), FailureKind::Inference("went away without answering".into()));
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_does_not_fit_its_context_says_so() {
    // `<|user|> t 0 - 0 <|end|> <|assistant|>` is 7 tokens; one more is sampled, and one ends the turn.
    assert_eq!(failure(alone(8).await.home.recv().await.unwrap()), FailureKind::ContextFull { tokens: 9, limit: 8 });
    let mut fits = alone(9).await;
    assert!(matches!(
        fits.inference.recv().await.unwrap(),
        InferenceMsg::Generate { prompt, .. } if prompt.sampling.max_tokens == 1 && prompt.tokens.len() == 7
    ));
}

#[tokio::test(start_paused = true)]
async fn a_killed_conversation_returns_its_ticket_releases_its_prefix_and_leaves_the_table() {
    let mut alone = alone(100).await;
    let question = alone.inference.recv().await.unwrap();
    let live = alone.instruments.conversations.snapshot();
    assert_eq!((live.len(), live[0].turn, live[0].waits_for), (1, 1, Some(Site::Inference)));
    alone.actor.kill();
    assert_eq!(failure(alone.home.recv().await.unwrap()), FailureKind::Abandoned);
    assert!(matches!(alone.inference.recv().await.unwrap(), InferenceMsg::Release { conversation: 1 }));
    assert_eq!(alone.instruments.conversations.count(), 0);
    drop(question);
}

#[tokio::test(start_paused = true)]
async fn the_monitor_notices_stillness_names_who_waits_and_has_the_awaited_one_restarted() {
    let events = Arc::new(Memory::default());
    let alone = alone(100).await;
    let instruments = Instruments { events: events.clone(), ..alone.instruments.clone() };
    let blamed = Arc::new(Mutex::new(Vec::new()));
    let heard = blamed.clone();
    let restart: Restarter = Arc::new(move |site| heard.lock().unwrap().push(site));
    let arguments = HealthMonitorArguments { stall: Duration::from_secs(4), restart, instruments };
    let (monitor, _) = Actor::spawn(None, HealthMonitorActor, arguments).await.unwrap();
    sleep(Duration::from_secs(8)).await;
    let [Event::Stalled { still_seconds, waits, action }] = &events.events()[..] else {
        panic!("{:?}", events.events())
    };
    assert_eq!((*still_seconds, action.as_str()), (4.0, "inference is restarted"));
    let wait = "1 conversations wait for inference, the longest (train-1-0-0) for 4.0 s in turn 1";
    assert_eq!((&waits[..], &blamed.lock().unwrap()[..]), (&[wait.to_owned()][..], &[Site::Inference][..]));
    assert_eq!(alone.instruments.health.read().issues[0].rule, "stalled");

    monitor.cast(HealthMsg::Finished).unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(events.events().len(), 1, "a run that is over may stand still");
}
