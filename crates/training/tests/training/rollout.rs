//! What was sampled is what is trained on: four turns through the chat format and the engine, then a step.

use std::collections::BTreeMap;
use std::sync::Arc;

use stateset_chat::{ChatFormat, Prompt};
use stateset_domain::{
    Completion, Engine, GenerateRequest, Group, GroupId, Learner, Message, Purpose, RequestId, Role, Sampling,
    Trajectory,
};
use stateset_inference::{BatchEngine, EngineLimits};

use crate::{BASE, learner};

const TURNS: [&str; 4] = ["where is my order", "please send it again", "why? <|end|>", "ok"];

/// Every reply to `requests`, by conversation.
pub(crate) fn replies(engine: &mut dyn Engine, requests: Vec<GenerateRequest>) -> BTreeMap<u64, Completion> {
    requests.into_iter().for_each(|request| engine.submit(request).unwrap());
    let mut replies = BTreeMap::new();
    loop {
        let poll = engine.step().unwrap();
        replies.extend(poll.finished.into_iter().map(|finished| (finished.id.0, finished.completion)));
        if poll.live == 0 {
            return replies;
        }
    }
}

fn request(
    trajectory: &Trajectory,
    turn: usize,
    open: &[u32],
    format: &ChatFormat,
    temperature: f32,
) -> GenerateRequest {
    let conversation = u64::from(trajectory.episode.member);
    GenerateRequest {
        id: RequestId(conversation),
        conversation,
        tokens: [trajectory.newest(), open].concat(),
        sampling: Sampling { max_tokens: 9, temperature, ..Sampling::default() },
        stop_tokens: format.stop_tokens(),
        stream: trajectory.episode.stream(11).fork(turn as u64),
    }
}

/// A group of four conversations of four turns, and everything the engine replied, in order, by member. If they are forgetful, of what was
/// said before a turn only the first question is left.
fn converse(temperature: f32, forgetful: bool) -> (Group, BTreeMap<u64, Vec<Completion>>) {
    let tokenizer = Arc::new(BASE.tokenizer.clone());
    let format = ChatFormat::new(tokenizer.clone()).unwrap();
    let limits = EngineLimits { slots: 4, positions: 160, step_tokens: 32 };
    let mut engine = BatchEngine::new(&BASE.weights.config, tokenizer, limits);
    engine.load(&learner(|_| {}).snapshot().unwrap()).unwrap();
    let id = GroupId { purpose: Purpose::Train, step: 1, index: 0 };
    let episode = |member| stateset_domain::EpisodeId { group: id, member };
    let mut members: Vec<Trajectory> = (0..4).map(|member| Trajectory::new(episode(member), "order")).collect();
    let mut threads = vec![format.thread(); 4];
    let mut said = BTreeMap::<u64, Vec<Completion>>::new();
    for (turn, text) in TURNS.into_iter().enumerate() {
        let mut open = Vec::new();
        for (member, thread) in members.iter_mut().zip(&mut threads) {
            if forgetful && turn > 0 {
                member.fork();
                *thread = format.thread();
                thread.hear(&Message::new(Role::User, TURNS[0]));
            }
            thread.hear(&Message::new(Role::User, text));
            let prompt: Prompt = thread.prompt().unwrap();
            member.push_context(Role::User, &prompt.heard);
            open = prompt.open;
        }
        let requests = members.iter().map(|member| request(member, turn, &open, &format, temperature)).collect();
        for (conversation, reply) in replies(&mut engine, requests) {
            let (_, close) = threads[conversation as usize].reply(&reply.tokens).unwrap();
            let member = &mut members[conversation as usize];
            member.push_sampled(&open, &reply.tokens, &reply.log_probs, reply.version, &close);
            said.entry(conversation).or_default().push(reply);
        }
    }
    members.iter_mut().zip([1.0, 0.0, 0.5, 0.0]).for_each(|(member, reward)| member.reward = Some(reward));
    (Group { id, members }, said)
}

#[test]
fn sampler_and_trainer_agree_on_every_token_of_four_turns() {
    for temperature in [1.0, 0.7] {
        let (group, _) = converse(temperature, false);
        assert!(group.members.iter().all(|member| member.sampled_tokens() >= TURNS.len()));
        let report = learner(|settings| settings.temperature = temperature).step(&[group]).unwrap();
        assert!(report.log_prob_gap <= 1e-5, "{} nats apart", report.log_prob_gap);
        assert_eq!(report.clip_fraction, 0.0);
    }
}

#[test]
fn they_agree_on_every_token_of_every_segment_of_conversations_that_fork() {
    let (group, _) = converse(1.0, true);
    assert!(group.members.iter().all(|member| member.forks.len() == TURNS.len() - 1));
    let report = learner(|_| {}).step(&[group]).unwrap();
    assert!(report.log_prob_gap <= 1e-5, "{} nats apart", report.log_prob_gap);
}

#[test]
fn trained_ids_are_sampled_ids_and_nothing_is_tokenised_again() {
    for (group, said) in [converse(1.0, false), converse(1.0, true)] {
        for member in &group.members {
            let said = &said[&u64::from(member.episode.member)];
            let sampled: Vec<u32> = said.iter().flat_map(|reply| reply.tokens.clone()).collect();
            let scored = member.tokens.iter().zip(&member.mask).filter(|(_, mask)| **mask).map(|(token, _)| *token);
            assert!(scored.eq(sampled));
        }
    }
}
