//! What actors cost a training step: the quick start as it is run, beside the same steps taken by hand.
//!
//! By hand means one loop in one thread that asks engine and learner itself, and plays the environment's sessions between their answers: no
//! actors, no supervisors, no journal, no checkpoints, no metrics. Both take the same steps from the same seed, which is checked: they come to
//! the same weights.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use stateset_agents::prelude::*;
use stateset_chat::{ChatFormat, Prompt, Thread};
use stateset_domain::{
    Completion, Digest, Engine, EpisodeId, Finish, GenerateRequest, Group, GroupId, Learner, Outcome, PolicySnapshot,
    Purpose, RequestId,
};

/// Seconds of each measured step, and the weights that all of them led to.
pub(crate) struct Steps {
    pub(crate) seconds: Vec<f64>,
    /// Of these, those of the rollout and those of the optimizer step.
    pub(crate) parts: Vec<(f64, f64)>,
    pub(crate) digest: Digest,
}

/// How many steps warm up, and how many are measured.
#[derive(Clone, Copy)]
pub(crate) struct Course {
    pub(crate) warm: usize,
    pub(crate) measured: usize,
}

fn quickstart(folder: &Path, course: Course) -> Config {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/quickstart.yaml");
    let mut config = Config::from_file(file).unwrap();
    config.run.output_dir = folder.to_owned();
    config.run.name = "overhead".into();
    config.training.steps = (course.warm + course.measured) as u64;
    config.evaluation.episodes = 0;
    config
}

/// The quick start's steps in a runtime of its own.
pub(crate) async fn supervised(folder: &Path, course: Course) -> Steps {
    let config = quickstart(folder, course);
    let taken: Arc<Mutex<Vec<(Instant, f64, f64)>>> = Arc::default();
    let taking = taken.clone();
    let runtime = Runtime::builder()
        .config(config)
        .on_update(move |update| {
            if let Update::Step(step) = update {
                taking.lock().unwrap().push((Instant::now(), step.rollout_seconds, step.train_seconds));
            }
        })
        .build()
        .unwrap();
    let summary = runtime.run().await.unwrap().summary;
    assert_eq!((summary.restarts, summary.episodes_failed), (0, 0));
    let taken = taken.lock().unwrap();
    let counted = &taken[course.warm - 1..];
    Steps {
        seconds: counted.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect(),
        parts: counted[1..].iter().map(|(_, rollout, train)| (*rollout, *train)).collect(),
        digest: summary.policy_digest,
    }
}

/// The same steps without actors.
pub(crate) fn by_hand(folder: &Path, course: Course) -> Steps {
    let mut hand = Hand::new(quickstart(folder, course));
    let mut steps = Steps { seconds: Vec::new(), parts: Vec::new(), digest: hand.publish() };
    for step in 1..=course.warm + course.measured {
        let began = Instant::now();
        let groups = hand.roll_out(step as u64);
        let rolled = began.elapsed().as_secs_f64();
        assert!(!hand.learner.step(&groups).unwrap().skipped);
        let trained = began.elapsed().as_secs_f64() - rolled;
        steps.digest = hand.publish();
        if step > course.warm {
            steps.seconds.push(began.elapsed().as_secs_f64());
            steps.parts.push((rolled, trained));
        }
    }
    steps
}

/// Everything that a step needs, in one hand.
struct Hand {
    config: Config,
    format: ChatFormat,
    environment: Ladder,
    reward: EpisodeReward,
    engine: Box<dyn Engine>,
    learner: Box<dyn Learner>,
    asked: u64,
}

/// A conversation that waits for a reply.
struct Talk {
    thread: Thread,
    /// What asks for the next reply.
    open: Vec<u32>,
    trajectory: Trajectory,
    session: Box<dyn Session>,
    stream: Stream,
    turn: u64,
}

impl Talk {
    fn say(&mut self, messages: Vec<Message>) {
        messages.iter().for_each(|message| self.thread.hear(message));
        let Prompt { heard, open } = self.thread.prompt().unwrap();
        if let Some(last) = messages.last() {
            self.trajectory.push_context(last.role, &heard);
        }
        self.trajectory.messages.extend(messages);
        self.open = open;
    }
}

impl Hand {
    fn new(config: Config) -> Self {
        let backends = Backends::of(&config, model::load(&config.agent.model).unwrap(), None).unwrap();
        let domain = std::fs::read_to_string(&config.environment.domain).unwrap();
        let spec = Arc::new(DomainSpec::from_yaml(&domain).unwrap());
        Self {
            format: backends.format,
            environment: Ladder::new(spec, &config.environment.rung, config.run.seed).unwrap(),
            reward: EpisodeReward {
                success_weight: config.rewards.success_weight,
                turn_weight: config.rewards.turn_weight,
            },
            engine: (backends.engine)().unwrap(),
            learner: (backends.learner)().unwrap(),
            asked: 0,
            config,
        }
    }

    /// Hands the weights over to the engine.
    fn publish(&mut self) -> Digest {
        let snapshot: PolicySnapshot = self.learner.snapshot().unwrap();
        assert_eq!(self.engine.load(&snapshot).unwrap(), snapshot.digest());
        snapshot.digest()
    }

    fn roll_out(&mut self, step: u64) -> Vec<Group> {
        let (groups, size) = (self.config.training.groups_per_step, self.config.training.group_size);
        let group = |index| GroupId { purpose: Purpose::Train, step, index };
        let episodes = (0..groups).flat_map(|index| (0..size).map(move |member| (index, member)));
        let mut pending: VecDeque<EpisodeId> =
            episodes.map(|(index, member)| EpisodeId { group: group(index), member }).collect();
        let (mut talks, mut done) = (HashMap::new(), Vec::new());
        while done.len() < (groups * size) as usize {
            while talks.len() < self.config.supervision.max_live_episodes
                && let Some(episode) = pending.pop_front()
            {
                let mut talk = self.begin(episode);
                talks.insert(self.ask(&mut talk), talk);
            }
            for finished in self.engine.step().unwrap().finished {
                let talk = talks.remove(&finished.id).unwrap();
                match self.hear(talk, finished.completion) {
                    ControlFlow::Continue(mut talk) => drop(talks.insert(self.ask(&mut talk), talk)),
                    ControlFlow::Break(trajectory) => done.push(trajectory),
                }
            }
        }
        done.sort_by_key(|trajectory| trajectory.episode);
        let mut done = done.into_iter();
        (0..groups)
            .map(|index| Group { id: group(index), members: done.by_ref().take(size as usize).collect() })
            .collect()
    }

    fn begin(&self, episode: EpisodeId) -> Talk {
        let GroupId { step, index, .. } = episode.group;
        let groups = u64::from(self.config.training.groups_per_step);
        let scenario = self.environment.scenario(Split::Train, (step - 1) * groups + u64::from(index));
        let seed = self.config.run.seed;
        let Start { opening, session } = self.environment.start(&scenario, episode.group.stream(seed)).unwrap();
        let (thread, trajectory) = (self.format.thread(), Trajectory::new(episode, scenario.id));
        let mut talk = Talk { thread, open: Vec::new(), trajectory, session, stream: episode.stream(seed), turn: 1 };
        talk.say(opening);
        talk
    }

    /// Asks for the next reply, by a number of its own.
    fn ask(&mut self, talk: &mut Talk) -> RequestId {
        self.asked += 1;
        let tokens = [talk.trajectory.tokens.as_slice(), &talk.open].concat();
        let sampling = self.config.agent.sampling.clone();
        let room = self.config.agent.max_context - tokens.len() - talk.thread.close().unwrap().len();
        let request = GenerateRequest {
            id: RequestId(self.asked),
            conversation: conversation(talk.trajectory.episode),
            tokens,
            sampling: Sampling { max_tokens: sampling.max_tokens.min(room), ..sampling },
            stop_tokens: self.format.stop_tokens(),
            stream: talk.stream.fork(talk.turn),
        };
        self.engine.submit(request).unwrap();
        RequestId(self.asked)
    }

    /// Takes a reply in, and what is said to it; the finished and scored episode if it was the last.
    fn hear(&mut self, mut talk: Talk, completion: Completion) -> ControlFlow<Trajectory, Talk> {
        let Completion { tokens, log_probs, version, finish } = completion;
        let (reply, close) = talk.thread.reply(&tokens).unwrap();
        talk.trajectory.push_sampled(&talk.open, &tokens, &log_probs, version, &close);
        talk.trajectory.messages.push(Message::new(Role::Assistant, reply.text.as_str()));
        let action = Action { text: reply.text, call: reply.call, truncated: finish == Finish::Length };
        let Step { observation, reward, done } = talk.session.step(&action).unwrap();
        talk.trajectory.turn_rewards.extend(reward);
        let Some(success) = done else {
            talk.say(observation);
            talk.turn += 1;
            return ControlFlow::Continue(talk);
        };
        talk.trajectory.outcome = Outcome::Completed { success };
        self.engine.release(conversation(talk.trajectory.episode));
        let Score { total, terms, .. } = self.reward.score(&talk.trajectory).unwrap();
        (talk.trajectory.reward, talk.trajectory.reward_terms) = (Some(total), terms);
        ControlFlow::Break(talk.trajectory)
    }
}

/// A number for a conversation that no other of the step has.
fn conversation(episode: EpisodeId) -> u64 {
    (u64::from(episode.group.index) << 32) | u64::from(episode.member)
}
