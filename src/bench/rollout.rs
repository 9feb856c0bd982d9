//! How fast the engine samples.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use stateset_domain::{Completion, Engine, GenerateRequest, RequestId, Role, Sampling, Trajectory, sha256_hex};
#[cfg(feature = "cuda")]
use stateset_domain::{PolicySnapshot, PolicyVersion};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_models::{ModelConfig, ServedWeights};

use super::measure::{Listener, Progress, Repeats};
use super::report::{Measured, Report, Work};
use super::{Shape, Workload};
use crate::device::{Device, Place};
use crate::runtime::STEP_TOKENS;

/// Measures the rollout of `workload` by a decoder of `shape`.
///
/// # Errors
/// If the shape cannot be used, or the workload does not fit it.
pub(crate) fn rollout(
    shape: &Shape,
    workload: &Workload,
    device: Device,
    repeats: Repeats,
    listener: Listener<'_>,
) -> Result<Report> {
    let config = shape.config()?;
    workload.check(&config)?;
    listener(Progress::Preparing);
    let model = shape.model(&config, workload.seed)?;
    let place = device.settle(&config, None, false)?;
    let mut engine = match place {
        Place::Cpu => {
            let engine = BatchEngine::new(&config, Arc::new(model.tokenizer.clone()), limits(workload));
            Box::new(engine.serving(ServedWeights::of(&model.weights)))
        }
        #[cfg(feature = "cuda")]
        Place::Gpu => {
            let mut engine = place.engine(&config, Arc::new(model.tokenizer.clone()), limits(workload))?;
            engine.load(&PolicySnapshot::new(PolicyVersion(0), model.weights.to_tensors()))?;
            engine
        }
    };
    let mut sampled = Vec::new();
    let laps = repeats.run(&["rollout"], listener, |repetition, watch| {
        let mut conversations = workload.begin(repetition, config.vocab_size);
        watch.skip();
        play(&mut *engine, workload, (repetition, config.vocab_size), &mut conversations)?;
        watch.phase();
        sampled.extend(conversations.iter().flat_map(|it| it.tokens.iter().flat_map(|id| id.to_le_bytes())));
        Ok(())
    })?;
    let measured = Measured {
        bench: "rollout",
        title: title(shape, &config, workload),
        settings: settings(shape, workload),
        tokens: workload.sampled(),
        counted: "sampled",
        work: Work::Products(workload.sampling().forward(&config)),
        digest: sha256_hex(&sampled),
    };
    Report::beside_the_roof(measured, place, laps, listener)
}

/// A slot for each conversation.
pub(super) fn limits(workload: &Workload) -> EngineLimits {
    EngineLimits { slots: workload.sequences, positions: workload.longest() + 1, step_tokens: STEP_TOKENS }
}

/// Plays every conversation to its end. Whoever has got a reply goes on at once, as conversations do that are actors; nobody waits for the
/// slowest.
pub(super) fn play(
    engine: &mut dyn Engine,
    workload: &Workload,
    (repetition, vocabulary): (usize, usize),
    conversations: &mut [Trajectory],
) -> Result<()> {
    let ask = |engine: &mut dyn Engine, conversation: &Trajectory, sequence: usize, turn: usize| {
        engine.submit(GenerateRequest {
            id: RequestId((sequence * workload.turns + turn) as u64),
            conversation: sequence as u64,
            tokens: conversation.tokens.clone(),
            sampling: Sampling { max_tokens: workload.reply(sequence, turn), ..Sampling::default() },
            stop_tokens: Vec::new(),
            stream: workload.stream(repetition).fork(3).fork(sequence as u64).fork(turn as u64),
        })
    };
    for (sequence, conversation) in conversations.iter().enumerate() {
        ask(engine, conversation, sequence, 0)?;
    }
    let mut left = conversations.len();
    while left > 0 {
        for finished in engine.step()?.finished {
            let (sequence, turn) = (finished.id.0 as usize / workload.turns, finished.id.0 as usize % workload.turns);
            let Completion { tokens, log_probs, version, .. } = finished.completion;
            let conversation = &mut conversations[sequence];
            conversation.push_sampled(&[], &tokens, &log_probs, version, &[]);
            if turn + 1 < workload.turns {
                let said = workload.say(repetition, (sequence, turn + 1), vocabulary);
                conversation.push_context(Role::User, &said);
                ask(engine, conversation, sequence, turn + 1)?;
            } else {
                engine.release(sequence as u64);
                left -= 1;
            }
        }
    }
    let (found, wanted) = (conversations.iter().map(Trajectory::sampled_tokens).sum::<usize>(), workload.sampled());
    (found == wanted).then_some(()).with_context(|| format!("the engine sampled {found} tokens instead of {wanted}"))
}

/// What is measured, in words.
pub(super) fn title(shape: &Shape, config: &ModelConfig, workload: &Workload) -> String {
    let Workload { sequences, prompt, completion, group, ragged, turns, .. } = workload;
    let weights = config.parameters().iter().map(|it| it.len()).sum::<usize>() as f64 / 1e6;
    let reply = if *ragged { format!("4 to {completion}") } else { completion.to_string() };
    let turns = if *turns > 1 { format!(", {turns} turns") } else { String::new() };
    let prompts = match group {
        1 => "prompts all different".to_owned(),
        group => format!("each prompt {group} times"),
    };
    format!(
        "{shape}, {weights:.1} million weights; {sequences} conversations of {prompt} + {reply} tokens{turns}, {prompts}"
    )
}

/// The settings, by the names of their flags.
pub(super) fn settings(shape: &Shape, workload: &Workload) -> Map<String, Value> {
    let Workload { sequences, prompt, completion, group, ragged, turns, seed } = workload;
    let shape = shape.to_string();
    let all = json!({
        "shape": shape, "sequences": sequences, "prompt": prompt, "completion": completion, "group": group,
        "ragged": ragged, "turns": turns, "seed": seed,
    });
    match all {
        Value::Object(settings) => settings,
        _ => unreachable!("an object was written"),
    }
}
