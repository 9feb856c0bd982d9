//! When a reply ends, and which requests are refused.

use std::sync::Arc;

use stateset_domain::{Completion, Engine, EngineError, Finish, GenerateRequest, Sampling};
use stateset_inference::BatchEngine;

use crate::{LIMITS, Letters, answer, config, engine, finish, request};

fn reply_to(change: impl FnOnce(&mut GenerateRequest)) -> Completion {
    let mut request = request(1);
    request.stop_tokens.clear();
    change(&mut request);
    answer(&mut engine(LIMITS), request)
}

#[test]
fn a_reply_ends_at_its_token_limit() {
    let reply = reply_to(|request| request.sampling.max_tokens = 7);
    assert_eq!((reply.tokens.len(), reply.log_probs.len(), reply.finish), (7, 7, Finish::Length));
}

#[test]
fn a_stop_token_ends_the_reply_and_is_kept() {
    let free = reply_to(|_| {});
    let (stop, first) = (free.tokens[5], free.tokens.iter().position(|token| *token == free.tokens[5]).unwrap());
    let reply = reply_to(|request| request.stop_tokens = vec![stop]);
    assert_eq!((&reply.tokens[..], reply.finish), (&free.tokens[..=first], Finish::Stop));
    assert_eq!(reply.log_probs, free.log_probs[..=first]);
}

#[test]
fn a_stop_text_ends_the_reply_even_across_tokens_and_is_kept() {
    let free = reply_to(|_| {});
    let letters = |tokens: &[u32]| stateset_domain::Tokenizer::decode(&Letters, tokens).unwrap();
    let stop = letters(&free.tokens[4..7]);
    let end = letters(&free.tokens).find(&stop).unwrap() + 3;
    let reply = reply_to(|request| request.sampling.stop = vec!["never?".into(), stop]);
    assert_eq!((&reply.tokens[..], reply.finish), (&free.tokens[..end], Finish::Stop));
}

#[test]
fn a_full_context_ends_the_reply() {
    let reply = reply_to(|request| {
        request.tokens = vec![1; 90];
        request.sampling.max_tokens = 50;
    });
    assert_eq!((reply.tokens.len(), reply.finish), (96 - 90, Finish::Length));
}

#[test]
fn greedy_replies_ignore_the_stream_and_are_likely() {
    let greedy = |seed| {
        reply_to(|request| {
            request.sampling = request.sampling.greedy();
            request.stream = stateset_domain::Stream::new(seed);
        })
    };
    assert_eq!(greedy(1), greedy(2));
    let least = (1.0f32 / 26.0).ln();
    assert!(greedy(1).log_probs.iter().all(|log_prob| *log_prob > least), "the likeliest of 26 is above 1/26");
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let sampling = |change: fn(&mut Sampling)| move |request: &mut GenerateRequest| change(&mut request.sampling);
    let bad: [&dyn Fn(&mut GenerateRequest); 11] = [
        &|request| request.tokens.clear(),
        &|request| request.tokens = vec![1; 96],
        &|request| request.tokens = vec![26],
        &|request| request.conversation = 1,
        &sampling(|sampling| sampling.temperature = -1.0),
        &sampling(|sampling| sampling.temperature = f32::NAN),
        &sampling(|sampling| sampling.top_p = 0.0),
        &sampling(|sampling| sampling.top_p = 1.5),
        &sampling(|sampling| sampling.min_p = f32::NAN),
        &sampling(|sampling| sampling.min_p = -0.1),
        &sampling(|sampling| sampling.max_tokens = 0),
    ];
    let mut busy = engine(LIMITS);
    busy.submit(request(1)).unwrap();
    busy.step().unwrap();
    for (i, change) in bad.iter().enumerate() {
        let mut request = request(2);
        change(&mut request);
        assert!(matches!(busy.submit(request), Err(EngineError::Request(_))), "bad request {i} was taken");
    }
    let replies = finish(&mut busy);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[&1001], answer(&mut engine(LIMITS), request(1)));
}

#[test]
fn an_engine_without_weights_serves_nothing() {
    let mut empty = BatchEngine::new(&config(), Arc::new(Letters), LIMITS);
    empty.submit(request(1)).unwrap();
    assert_eq!(empty.step(), Err(EngineError::Compute("no weights are loaded".into())));
}
