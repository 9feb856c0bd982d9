//! The whole loop learns: sample, reward, step, swap.

use std::sync::Arc;

use stateset_algorithms::{ActorCritic, Algorithm, CreditFor, Grpo, KlIn, Trpo};
use stateset_domain::{
    Engine, EpisodeId, GenerateRequest, Group, GroupId, Learner, PolicyVersion, Purpose, RequestId, Role, Sampling,
    Stream, Trajectory,
};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_models::{HostWeights, Pretrained};
use stateset_training::{LearnerSettings, Objective, PolicyLearner};

use crate::rollout::replies;
use crate::{BASE, config, settings};

const VOCAB: usize = 32;
const WANTED: u32 = 7;
const PROMPTS: [u32; 4] = [1, 2, 3, 4];
const MEMBERS: u32 = 8;
const LENGTH: usize = 8;

/// One group per prompt; a reply's reward is the share of [`WANTED`] in it.
fn sample(engine: &mut BatchEngine, step: u64) -> Vec<Group> {
    let group = |index: usize| GroupId { purpose: Purpose::Train, step, index: index as u32 };
    let episodes = (0..PROMPTS.len()).flat_map(|index| (0..MEMBERS).map(move |member| (index, member)));
    let requests = episodes.map(|(index, member)| {
        let conversation = u64::from(MEMBERS) * index as u64 + u64::from(member);
        GenerateRequest {
            id: RequestId(conversation),
            conversation,
            tokens: vec![PROMPTS[index]],
            sampling: Sampling { max_tokens: LENGTH, ..Sampling::default() },
            stop_tokens: Vec::new(),
            stream: EpisodeId { group: group(index), member }.stream(5),
        }
    });
    let replies = replies(engine, requests.collect());
    let member = |index: usize, member: u32| {
        let reply = &replies[&(u64::from(MEMBERS) * index as u64 + u64::from(member))];
        let mut trajectory = Trajectory::new(EpisodeId { group: group(index), member }, "emit");
        trajectory.push_context(Role::User, &[PROMPTS[index]]);
        trajectory.push_sampled(&[], &reply.tokens, &reply.log_probs, reply.version, &[]);
        let hits = reply.tokens.iter().filter(|token| **token == WANTED).count();
        trajectory.reward = Some(hits as f32 / LENGTH as f32);
        trajectory
    };
    let members = |index| (0..MEMBERS).map(|m| member(index, m)).collect();
    (0..PROMPTS.len()).map(|index| Group { id: group(index), members: members(index) }).collect()
}

fn mean_reward(groups: &[Group]) -> f64 {
    let rewards: Vec<f64> = groups.iter().flat_map(Group::rewards).collect();
    rewards.iter().sum::<f64>() / rewards.len() as f64
}

#[test]
fn a_random_policy_learns_to_say_the_rewarded_token_by_any_algorithm() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.samples()) {
        let course = course(algorithm);
        assert!(course[0] < 0.1, "{algorithm:?}: {course:?}");
        // A natural step goes as far as its bound lets it, and no further when the goal is near.
        let enough = if algorithm == Algorithm::Trpo { 0.7 } else { 0.9 };
        assert!(course[25..].iter().all(|reward| *reward > enough), "{algorithm:?}: {course:?}");
    }
}

#[test]
fn it_learns_with_every_option_at_once() {
    let grpo = Grpo {
        credit: CreditFor::Turns,
        gamma: 0.9,
        kl_coef: 1e-3,
        kl_in: KlIn::Reward,
        kl_target: Some(0.5),
        kl_horizon: 100.0,
        entropy_target: Some(0.05),
        entropy_coef_delta: 1e-4,
        epochs: 2,
        off_policy_threshold: Some(0.5),
        max_completion_tokens: 2 * LENGTH,
        overlong_cache: Some(2),
        ..Grpo::default()
    };
    let course = course_of(Objective::Grpo(grpo));
    assert!(course[25..].iter().all(|reward| *reward > 0.9), "{course:?}");
}

fn course(algorithm: Algorithm) -> Vec<f64> {
    course_of(match algorithm {
        // A bound that lets it arrive as soon as the others do.
        Algorithm::Trpo => {
            let wide = Trpo { max_kl: 0.1, ..Trpo::default() };
            Objective::ActorCritic(ActorCritic::trpo(&wide, algorithm.settings()))
        }
        other => other.into(),
    })
}

/// The mean reward before each step.
fn course_of(objective: Objective) -> Vec<f64> {
    let config = config(VOCAB);
    let weights = HostWeights::random(&config, 0.05, Stream::new(1));
    let base = Pretrained { weights, ..BASE.clone() };
    let settings = LearnerSettings { objective, learning_rate: 1e-2, total_steps: 30, ..settings() };
    let mut learner = PolicyLearner::new(base, settings).unwrap();
    let limits = EngineLimits { slots: 32, positions: 16, step_tokens: 64 };
    let mut engine = BatchEngine::new(&config, Arc::new(BASE.tokenizer.clone()), limits);
    let mut course = Vec::new();
    for step in 0..30 {
        let snapshot = learner.snapshot().unwrap();
        assert_eq!(engine.load(&snapshot).unwrap(), snapshot.digest());
        let groups = sample(&mut engine, step);
        course.push(mean_reward(&groups));
        let report = learner.step(&groups).unwrap();
        assert!(report.log_prob_gap <= 1e-5, "step {step}: {} nats apart", report.log_prob_gap);
    }
    assert_eq!(learner.snapshot().unwrap().version(), PolicyVersion(30));
    course
}
