//! A prompt that several conversations begin with is computed once, which changes no bit of any reply.

use std::collections::BTreeMap;

use stateset_domain::{Completion, Engine, GenerateRequest, PolicyVersion, Sampling};
use stateset_inference::{BatchEngine, EngineLimits};

use crate::{LIMITS, answer, engine, finish, request, snapshot};

/// A member of a group: a prompt of 50 tokens that all have in common, then `own` tokens of its own.
fn member(conversation: u64, own: usize) -> GenerateRequest {
    let letter = |i: u64| (i * i % 23) as u32;
    let own = (0..own as u64).map(|i| letter(i + 3 * conversation + 1));
    let tokens = (0..50).map(letter).chain(own).collect();
    let sampling = Sampling { max_tokens: 6, ..Sampling::default() };
    GenerateRequest { tokens, sampling, ..request(conversation) }
}

fn alone(request: GenerateRequest) -> Completion {
    answer(&mut engine(LIMITS), request)
}

/// Whether `replies` are what each of `members` is answered alone.
fn assert_as_alone(replies: &BTreeMap<u64, Completion>, members: &[GenerateRequest]) {
    assert_eq!(replies.len(), members.len());
    for member in members {
        assert_eq!(replies[&member.id.0], alone(member.clone()), "conversation {}", member.conversation);
    }
}

fn submit(engine: &mut BatchEngine, members: &[GenerateRequest]) {
    members.iter().for_each(|member| engine.submit(member.clone()).unwrap());
}

#[test]
fn members_of_a_group_are_answered_as_if_alone() {
    let members: Vec<_> = (0..8).map(|i| member(i, i as usize % 3 * 4)).chain([request(20), request(21)]).collect();
    for limits in [LIMITS, EngineLimits { step_tokens: 7, ..LIMITS }, EngineLimits { slots: 3, ..LIMITS }] {
        let mut engine = engine(limits);
        submit(&mut engine, &members);
        assert_as_alone(&finish(&mut engine), &members);
    }
}

#[test]
fn the_prompt_of_a_group_is_computed_once() {
    let members: Vec<_> = (0..8).map(|i| member(i, 0)).collect();
    let mut narrow = engine(EngineLimits { step_tokens: 10, ..LIMITS });
    submit(&mut narrow, &members);
    let steps = (1..1000).find(|_| narrow.step().unwrap().live == 0).unwrap();
    // Five steps for one prompt, one for the last token of the other seven, and six replies of six tokens; eight prompts are 40 steps.
    assert!(steps <= 5 + 1 + 6, "{steps} steps");
}

#[test]
fn who_joins_late_or_comes_after_shares_what_is_there() {
    let mut engine = engine(LIMITS);
    let members = [member(1, 0), member(2, 3), member(3, 0), member(4, 5)];
    submit(&mut engine, &members[..1]);
    (0..3).for_each(|_| drop(engine.step().unwrap()));
    submit(&mut engine, &members[1..2]);
    let mut replies = finish(&mut engine);
    submit(&mut engine, &members[2..3]);
    replies.extend(finish(&mut engine));
    (1..4).for_each(|conversation| engine.release(conversation));
    submit(&mut engine, &members[3..]);
    replies.extend(finish(&mut engine));
    assert_as_alone(&replies, &members);
}

#[test]
fn a_group_goes_on_when_the_one_it_waits_for_is_released() {
    let members: Vec<_> = (0..4).map(|i| member(i, 0)).collect();
    for steps in 0..8 {
        let mut engine = engine(EngineLimits { step_tokens: 10, ..LIMITS });
        submit(&mut engine, &members);
        (0..steps).for_each(|_| drop(engine.step().unwrap()));
        engine.release(0);
        assert_as_alone(&finish(&mut engine), &members[1..]);
    }
}

#[test]
fn nothing_computed_with_old_weights_is_shared() {
    let members: Vec<_> = (0..4).map(|i| member(i, 2)).collect();
    let mut second = engine(LIMITS);
    second.load(&snapshot(2)).unwrap();
    for steps in [1, 3, 6] {
        let mut swapped = engine(EngineLimits { step_tokens: 20, ..LIMITS });
        submit(&mut swapped, &members);
        (0..steps).for_each(|_| drop(swapped.step().unwrap()));
        swapped.load(&snapshot(2)).unwrap();
        let replies = finish(&mut swapped);
        for member in &members {
            let reply = &replies[&member.id.0];
            second.release(member.conversation);
            assert_eq!(*reply, answer(&mut second, member.clone()));
            assert_eq!(reply.version, PolicyVersion(2));
        }
    }
}
