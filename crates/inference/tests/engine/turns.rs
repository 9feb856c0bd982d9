//! Prefixes kept between turns save work and change nothing.

use stateset_domain::{Completion, Engine, GenerateRequest, RequestId, Stream};
use stateset_inference::{BatchEngine, EngineLimits};

use crate::{LIMITS, answer, engine, finish, request};

/// The request for turn `turn` of conversation 1, which has come as far as `tokens`.
fn turn(turn: u64, tokens: &[u32]) -> GenerateRequest {
    let stream = Stream::new(5).fork(turn);
    GenerateRequest { id: RequestId(turn), tokens: tokens.to_vec(), stream, ..request(1) }
}

/// Three turns, each answered by `engine(turn)`.
fn converse(mut ask: impl FnMut(GenerateRequest) -> Completion) -> Vec<Completion> {
    let (mut tokens, mut replies) = (request(1).tokens, Vec::new());
    tokens.truncate(8);
    for number in 0..3 {
        let reply = ask(turn(number, &tokens));
        tokens.extend(&reply.tokens);
        tokens.extend([3, 1, 4]);
        replies.push(reply);
    }
    replies
}

#[test]
fn a_kept_prefix_answers_as_a_fresh_engine_does() {
    let mut kept = engine(LIMITS);
    let fresh = converse(|request| answer(&mut engine(LIMITS), request));
    assert_eq!(converse(|request| answer(&mut kept, request)), fresh);
}

#[test]
fn a_prefix_lost_to_other_conversations_is_built_again() {
    let mut small = engine(EngineLimits { slots: 2, ..LIMITS });
    let crowded = converse(|wanted| {
        let reply = answer(&mut small, wanted);
        (10..14).for_each(|conversation| small.submit(request(conversation)).unwrap());
        finish(&mut small);
        reply
    });
    assert_eq!(crowded, converse(|request| answer(&mut engine(LIMITS), request)));
}

#[test]
fn a_history_that_changed_is_read_again_from_where_it_changed() {
    let mut engine_with_history = engine(LIMITS);
    answer(&mut engine_with_history, turn(0, &[1, 2, 3, 4, 5, 6]));
    let changed = turn(1, &[1, 2, 9, 4, 5, 6, 7]);
    assert_eq!(answer(&mut engine_with_history, changed.clone()), answer(&mut engine(LIMITS), changed));
}

/// Whether a request of conversation 1 finishes with no further slot than the one it is given.
fn finishes(engine: &mut BatchEngine) -> bool {
    engine.submit(turn(9, &[1, 2])).unwrap();
    finish(engine).contains_key(&9)
}

#[test]
fn released_conversations_free_their_slots_whether_live_waiting_or_idle() {
    let mut engine = engine(EngineLimits { slots: 1, ..LIMITS });
    (10..13).for_each(|conversation| engine.submit(request(conversation)).unwrap());
    engine.step().unwrap();
    engine.release(11);
    engine.release(10);
    let replies = finish(&mut engine);
    assert_eq!(replies.keys().copied().collect::<Vec<_>>(), [1012], "10 was live and 11 waited");
    engine.release(12);
    engine.release(12);
    assert!(finishes(&mut engine));
}

#[test]
fn a_conversation_released_in_mid_reply_starts_over() {
    let mut engine_released = engine(LIMITS);
    engine_released.submit(request(1)).unwrap();
    (0..5).for_each(|_| drop(engine_released.step().unwrap()));
    engine_released.release(1);
    assert_eq!(answer(&mut engine_released, request(1)), answer(&mut engine(LIMITS), request(1)));
}
