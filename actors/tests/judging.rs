//! The judge with a model that does what it is told, and time that only passes when everyone waits.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorRef, ActorStatus};
use stateset_actors::protocol::{Assignment, Instruments, JudgeMsg, LearnerMsg, Port, Ticket, Unprobed};
use stateset_actors::{Ask, Guard, GuardSettings, JudgeActor, JudgeArguments, ModelJudge, ModelJudgeSettings};
use stateset_domain::{
    BreakerState, Dependency, EpisodeId, FailureKind, GroupId, Message, Outcome, Purpose, Role, Sampling, Split,
    Stream, Trajectory,
};
use stateset_resilience::{BreakerSettings, CallFailure, Retry, Window};
use stateset_rewards::{Criterion, Rubric};
use stateset_telemetry::{Event, Memory};
use stateset_testkit::MeanTurnReward;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, timeout};

const GOOD: &str = r#"{"scores": {"good": 3}, "reason": "three of four"}"#;

/// What the model does when it is asked for the `n`-th time, from 0: an answer, a failure, or nothing (it hangs).
type Script = Arc<dyn Fn(usize, &str) -> Option<Result<String, CallFailure>> + Send + Sync>;

struct Bench {
    judge: ActorRef<JudgeMsg>,
    model: Arc<ModelJudge>,
    permits: Arc<Semaphore>,
    home: UnboundedReceiver<LearnerMsg>,
    learner: Port<LearnerMsg>,
    events: Arc<Memory>,
    instruments: Instruments,
    asked: Arc<AtomicUsize>,
    /// The most that were asked at once.
    most: Arc<AtomicUsize>,
}

fn settings() -> GuardSettings {
    let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
    GuardSettings {
        concurrency: 4,
        deadline: 5 * second,
        breaker: BreakerSettings {
            window: Window::Calls(10),
            min_calls: 4,
            failure_rate: 0.5,
            slow_call: 60 * second,
            slow_rate: 1.0,
            open: 10 * second,
            open_max: 60 * second,
            probes: 2,
        },
        retry: Retry { attempts: 3, first: ms(50), longest: 5 * second },
        retry_share: 0.2,
    }
}

async fn bench(settings: GuardSettings, script: Script) -> Bench {
    let events = Arc::new(Memory::default());
    let instruments = Instruments::new(events.clone(), Arc::new(Unprobed));
    let (asked, flying, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::default());
    let (counted, peak) = (Arc::clone(&asked), Arc::<AtomicUsize>::clone(&most));
    let ask: Ask = Arc::new(move |messages: Vec<Message>| {
        let outcome = script(counted.fetch_add(1, Relaxed), &messages[1].content);
        let (flying, peak) = (Arc::clone(&flying), Arc::clone(&peak));
        Box::pin(async move {
            peak.fetch_max(flying.fetch_add(1, Relaxed) + 1, Relaxed);
            sleep(Duration::from_millis(20)).await;
            flying.fetch_sub(1, Relaxed);
            match outcome {
                Some(outcome) => outcome,
                None => std::future::pending().await,
            }
        })
    });
    let criterion = Criterion { name: "good".into(), weight: 1.0, description: "is it good?".into() };
    let rubric = Rubric { criteria: vec![criterion], max_score: 4 };
    let guard = Guard::new("judge", settings, Stream::new(5), instruments.clone());
    let about = ModelJudgeSettings { rubric, model: "small".into(), weight: 2.0, remembered: 100 };
    let model = Arc::new(ModelJudge::new(about, ask, guard));
    let arguments = JudgeArguments {
        reward: Arc::new(MeanTurnReward),
        model: Some(model.clone()),
        instruments: instruments.clone(),
    };
    let (judge, _) = Actor::spawn(None, JudgeActor, arguments).await.unwrap();
    let (learner, home) = Port::channel();
    Bench { judge, model, permits: Arc::new(Semaphore::new(64)), home, learner, events, instruments, asked, most }
}

impl Bench {
    /// Hands in an episode in which `text` was said.
    fn hand_in(&self, member: u32, text: &str) {
        let group = GroupId { purpose: Purpose::Train, step: 1, index: 0 };
        let episode = EpisodeId { group, member };
        let assignment = Assignment {
            episode,
            attempt: 1,
            epoch: 1,
            conversation: u64::from(member),
            split: Split::Train,
            index: 0,
            sampling: Sampling::default(),
            stream: episode.stream(0),
            group_stream: group.stream(0),
        };
        let permit = Arc::clone(&self.permits).try_acquire_owned().unwrap();
        let ticket = Ticket::new(assignment, self.learner.clone(), permit);
        let trajectory = Box::new(Trajectory {
            messages: vec![Message::new(Role::User, text)],
            turn_rewards: vec![0.5],
            outcome: Outcome::Completed { success: true },
            ..Trajectory::new(episode, "s")
        });
        self.judge.cast(JudgeMsg::Score { ticket, trajectory }).unwrap();
    }

    fn hand_in_all(&self, count: u32) {
        (0..count).for_each(|member| self.hand_in(member, &format!("episode {member}")));
    }

    /// What came home next.
    async fn news(&mut self) -> Result<f32, FailureKind> {
        match self.home.recv().await.unwrap() {
            LearnerMsg::Completed { trajectory, .. } => Ok(trajectory.reward.unwrap()),
            LearnerMsg::Aborted { failure, .. } => Err(failure),
            LearnerMsg::Begin
            | LearnerMsg::Resume { .. }
            | LearnerMsg::Reissue { .. }
            | LearnerMsg::StepTaken { .. }
            | LearnerMsg::Interrupt => {
                panic!("no ticket sends this")
            }
        }
    }

    /// The states that the breaker went through.
    fn states(&self) -> Vec<BreakerState> {
        let to = |event| match event {
            Event::BreakerChanged { to, .. } => to,
            other => panic!("unexpected: {other:?}"),
        };
        self.events.events().into_iter().map(to).collect()
    }
}

fn good() -> Option<Result<String, CallFailure>> {
    Some(Ok(GOOD.into()))
}

fn down() -> Option<Result<String, CallFailure>> {
    Some(Err(CallFailure::transient("connection refused")))
}

#[tokio::test(start_paused = true)]
async fn checks_and_judgement_are_added_up() {
    let mut bench = bench(settings(), Arc::new(|_, _| good())).await;
    bench.hand_in(0, "hi");
    // 0.5 for the checks, and 2 * 3/4.
    assert_eq!(bench.news().await, Ok(2.0));
    assert!(bench.events.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_any_length_costs_no_episode_and_scoring_resumes_by_itself() {
    for outage in [2, 60, 100_000] {
        let up = Arc::new(AtomicBool::new(true));
        let serving = Arc::clone(&up);
        let script: Script = Arc::new(move |_, _| if serving.load(Relaxed) { good() } else { down() });
        let mut bench = bench(settings(), script).await;
        bench.hand_in_all(8);
        for _ in 0..8 {
            assert_eq!(bench.news().await, Ok(2.0));
        }
        up.store(false, Relaxed);
        (8..40).for_each(|member| bench.hand_in(member, &format!("episode {member}")));
        let quiet = timeout(Duration::from_secs(outage), bench.news()).await;
        assert!(quiet.is_err(), "during the outage nothing comes home, least of all a failure: {quiet:?}");
        assert_eq!(bench.model.read().state, BreakerState::Open);
        assert_eq!(bench.model.read().waiting, 32);
        assert_eq!(bench.permits.available_permits(), 32, "who waits holds a permit");

        up.store(true, Relaxed);
        let returned = Instant::now();
        for _ in 0..32 {
            assert_eq!(bench.news().await, Ok(2.0));
        }
        // Never open for longer than a minute, then a few calls of 20 ms, four at once.
        assert!(returned.elapsed() < Duration::from_secs(62), "{:?}", returned.elapsed());
        let states = bench.states();
        assert_eq!((states[0], states[states.len() - 1]), (BreakerState::Open, BreakerState::Closed));
        assert_eq!(bench.permits.available_permits(), 64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_grows_stricter_is_found_out_by_asking_it_again() {
    let strict = || Some(Ok(GOOD.replace('3', "1")));
    let mut bench = bench(settings(), Arc::new(move |nth, _| if nth < 100 { good() } else { strict() })).await;
    let mut known = Vec::new();
    for member in 0..32 * 12 {
        bench.hand_in(member, &format!("episode {member}"));
        bench.news().await.unwrap();
        // Nobody waits for what is asked again.
        sleep(Duration::from_secs(1)).await;
        known.push(bench.instruments.health.judge_drift());
    }
    assert_eq!(known[32 * 8 - 2], None, "seven judgements were made again");
    // By then five of eight differences are those of the stricter model: 1/4 instead of 3/4.
    assert_eq!((known[32 * 8 - 1], known[32 * 12 - 1]), (Some(-0.5 * 5.0 / 8.0), Some(-0.5)));
}

#[tokio::test(start_paused = true)]
async fn an_outage_before_the_first_answer_is_waited_out_too_even_by_a_single_episode() {
    let up = Arc::new(AtomicBool::new(false));
    let serving = Arc::clone(&up);
    let script: Script = Arc::new(move |_, _| if serving.load(Relaxed) { good() } else { down() });
    let mut bench = bench(settings(), script).await;
    bench.hand_in(0, "hi");
    assert!(timeout(Duration::from_secs(3600), bench.news()).await.is_err());
    up.store(true, Relaxed);
    assert_eq!(bench.news().await, Ok(2.0));
}

#[tokio::test(start_paused = true)]
async fn while_the_model_is_down_it_is_asked_ever_less_often() {
    let bench = bench(settings(), Arc::new(|_, _| down())).await;
    bench.hand_in_all(50);
    sleep(Duration::from_secs(3600)).await;
    let before = bench.asked.load(Relaxed);
    sleep(Duration::from_secs(3600)).await;
    let probes = bench.asked.load(Relaxed) - before;
    // Open for 30 to 60 seconds between two rounds of two probes.
    assert!((120..=240).contains(&probes), "{probes} an hour");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_hangs_is_given_up_on_at_the_deadline_and_opens_the_breaker() {
    let mut bench = bench(settings(), Arc::new(|asked, _| if asked < 4 { None } else { good() })).await;
    bench.hand_in_all(4);
    for _ in 0..4 {
        assert_eq!(bench.news().await, Ok(2.0));
    }
    let Event::BreakerChanged { to: BreakerState::Open, reason, failure_rate, .. } = &bench.events.events()[0] else {
        panic!("{:?}", bench.events.events())
    };
    assert_eq!(*failure_rate, 1.0);
    assert_eq!(reason, "too many calls failed, the last: judge did not answer within 5s");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_judgement_is_asked_for_again_and_then_fails_the_episode() {
    let mut lucky =
        bench(settings(), Arc::new(|asked, _| if asked < 2 { Some(Ok("8 of 10".into())) } else { good() })).await;
    lucky.hand_in(0, "hi");
    assert_eq!((lucky.news().await, lucky.asked.load(Relaxed)), (Ok(2.0), 3));

    let mut garbled = bench(settings(), Arc::new(|_, _| Some(Ok("{\"scores\": {}, \"reason\": \"\"}".into())))).await;
    garbled.hand_in(0, "hi");
    let failure = FailureKind::Judge("the judge gave no score for `good`".into());
    assert_eq!((garbled.news().await, garbled.asked.load(Relaxed)), (Err(failure), 3));
    assert!(garbled.events.events().is_empty(), "a model that answers is not down");
}

#[tokio::test(start_paused = true)]
async fn an_episode_that_the_model_cannot_stand_fails_and_the_others_do_not() {
    let script: Script = Arc::new(|_, text| if text.contains("episode 3\"") { down() } else { good() });
    let mut bench = bench(GuardSettings { concurrency: 1, ..settings() }, script).await;
    bench.hand_in_all(40);
    let mut failures = 0;
    for _ in 0..40 {
        match bench.news().await {
            Ok(reward) => assert_eq!(reward, 2.0),
            Err(failure) => {
                assert_eq!(failure, FailureKind::Judge("connection refused".into()));
                failures += 1;
            }
        }
    }
    assert_eq!(failures, 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_in_flight_than_the_bulkhead_has_places() {
    let mut bench = bench(settings(), Arc::new(|_, _| good())).await;
    bench.hand_in_all(40);
    for _ in 0..40 {
        bench.news().await.unwrap();
    }
    assert_eq!(bench.most.load(Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_judged_before_is_not_asked_again() {
    let mut bench = bench(settings(), Arc::new(|_, _| good())).await;
    for (member, text) in ["same", "same", "other", "same"].iter().enumerate() {
        bench.hand_in(member as u32, text);
        assert_eq!(bench.news().await, Ok(2.0));
    }
    assert_eq!(bench.model.asked_and_remembered(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_refuses_fails_the_actor_with_what_its_server_said() {
    let refusal = || Some(Err(CallFailure::Refused("http://judge/v1 answered 401 Unauthorized".into())));
    let mut bench = bench(settings(), Arc::new(move |_, _| refusal())).await;
    bench.hand_in_all(3);
    for _ in 0..3 {
        let failure = bench.news().await.unwrap_err();
        assert!(matches!(failure, FailureKind::Judge(_) | FailureKind::Abandoned), "{failure}");
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.judge.get_status(), ActorStatus::Stopped);
    assert_eq!(bench.permits.available_permits(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_is_killed_cancels_its_calls_and_returns_its_tickets() {
    let mut bench = bench(settings(), Arc::new(|_, _| None)).await;
    bench.hand_in_all(9);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.model.read().in_flight, bench.model.read().waiting), (4, 5));
    bench.judge.kill();
    for _ in 0..9 {
        assert_eq!(bench.news().await, Err(FailureKind::Abandoned));
    }
    assert_eq!((bench.model.read().in_flight, bench.model.read().waiting), (0, 0));
    assert_eq!(bench.permits.available_permits(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_to_be_left_alone_is() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let script: Script = Arc::new(move |asked, _| {
        seen.lock().unwrap().push(Instant::now());
        let retry_after = Some(Duration::from_secs(4));
        if asked == 0 { Some(Err(CallFailure::Transient { cause: "busy".into(), retry_after })) } else { good() }
    });
    let mut bench = bench(settings(), script).await;
    bench.hand_in(0, "hi");
    assert_eq!(bench.news().await, Ok(2.0));
    let times = times.lock().unwrap().clone();
    assert!(times[1] - times[0] >= Duration::from_secs(4), "{times:?}");
}
