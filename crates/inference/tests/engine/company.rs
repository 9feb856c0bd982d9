//! Who else is being served changes no bit of a reply. Completions are compared whole: tokens, and log-probs bit by bit.

use rayon::ThreadPoolBuilder;
use stateset_domain::{Sampling, Stream};
use stateset_inference::EngineLimits;

use crate::{LIMITS, answer, answers, engine, request};

#[test]
fn a_conversation_is_answered_alike_alone_and_among_63_others() {
    let together = answers(&mut engine(LIMITS), 0..64);
    for conversation in [0, 5, 31, 63] {
        let alone = answer(&mut engine(LIMITS), request(conversation));
        assert_eq!(alone, together[&(1000 + conversation)]);
    }
}

#[test]
fn filtered_sampling_is_answered_alike_in_company() {
    let filtered = |conversation| {
        let sampling =
            Sampling { temperature: 0.7, top_k: 9, top_p: 0.9, min_p: 0.02, ..request(conversation).sampling };
        stateset_domain::GenerateRequest { sampling, ..request(conversation) }
    };
    let alone = answer(&mut engine(LIMITS), filtered(3));
    let mut crowded = engine(LIMITS);
    (10..40).for_each(|conversation| stateset_domain::Engine::submit(&mut crowded, filtered(conversation)).unwrap());
    assert_eq!(answer(&mut crowded, filtered(3)), alone);
}

#[test]
fn more_conversations_than_slots_all_finish_and_are_answered_alike() {
    let few = EngineLimits { slots: 3, ..LIMITS };
    assert_eq!(answers(&mut engine(few), 0..20), answers(&mut engine(LIMITS), 0..20));
}

#[test]
fn how_prompts_are_cut_into_steps_changes_nothing() {
    let narrow = EngineLimits { step_tokens: 5, ..LIMITS };
    assert_eq!(answers(&mut engine(narrow), 0..12), answers(&mut engine(LIMITS), 0..12));
}

#[test]
fn one_thread_and_two_answer_alike() {
    let on = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| answers(&mut engine(LIMITS), 0..24))
    };
    assert_eq!(on(1), on(2));
}

#[test]
fn the_stream_alone_decides_what_is_drawn() {
    let with = |conversation, stream| {
        let request = stateset_domain::GenerateRequest { conversation, stream, ..request(1) };
        answer(&mut engine(LIMITS), request)
    };
    assert_eq!(with(1, Stream::new(3)), with(2, Stream::new(3)));
    assert_ne!(with(1, Stream::new(3)).tokens, with(1, Stream::new(4)).tokens);
}
