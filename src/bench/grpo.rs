//! What a training step costs without actors.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;
use stateset_domain::Trajectory;
use stateset_inference::BatchEngine;
use stateset_models::ServedWeights;

use super::measure::{Listener, Progress, Repeats};
use super::report::{Measured, Report, Work};
use super::rollout::{limits, play, settings, title};
use super::step::{Learning, check, groups};
use super::{Refused, Shape, Workload};

/// A reply is rewarded for the share of its ids that are below this.
const REWARDED_BELOW: u32 = 101;

/// Added for every other member, so that no group is flat and no episode exactly average: what has no advantage is not computed.
const APART: f32 = 1e-4;

/// Measures rollout, reward, optimizer step and hand-over of a decoder of `shape` over `workload`.
///
/// # Errors
/// If the shape cannot be used, or the workload does not fit it.
pub(crate) fn grpo(
    shape: &Shape,
    workload: &Workload,
    learning: Learning,
    repeats: Repeats,
    listener: Listener<'_>,
) -> Result<Report> {
    let config = shape.config()?;
    workload.check(&config)?;
    if workload.group < 2 {
        return Err(Refused("--group must be at least 2: rewards are compared within a group".into()).into());
    }
    listener(Progress::Preparing);
    let model = shape.model(&config, workload.seed)?;
    let place = learning.place(&config)?;
    let tokenizer = Arc::new(model.tokenizer.clone());
    let mut engine = match learning.adapter() {
        Some(lora) => {
            let engine = BatchEngine::new(&config, tokenizer, limits(workload));
            Box::new(engine.adapting(ServedWeights::of(&model.weights), lora))
        }
        None => place.engine(&config, tokenizer, limits(workload))?,
    };
    let mut learner = place.learner(model, learning.settings())?;
    engine.load(&learner.snapshot()?)?;
    let laps = repeats.run(&["rollout", "reward", "step", "hand_over"], listener, |repetition, watch| {
        let mut conversations = workload.begin(repetition, config.vocab_size);
        watch.skip();
        play(&mut *engine, workload, (repetition, config.vocab_size), &mut conversations)?;
        watch.phase();
        conversations.iter_mut().for_each(|it| it.reward = Some(reward(it)));
        let groups = groups(conversations, workload.group);
        watch.phase();
        let report = learner.step(&groups)?;
        watch.phase();
        let snapshot = learner.snapshot()?;
        let served = engine.load(&snapshot)?;
        watch.phase();
        ensure!(served == snapshot.digest(), "the engine serves {served} instead of {}", snapshot.digest());
        check(&report, workload)
    })?;
    let mut settings = settings(shape, workload);
    settings.insert("beta".into(), json!(learning.beta));
    settings.insert("micro_batch_tokens".into(), json!(learning.micro_batch_tokens));
    settings.insert("lora".into(), json!(learning.lora));
    let sampling = workload.sampling().forward(&config);
    let measured = Measured {
        bench: "grpo",
        title: title(shape, &config, workload),
        settings,
        tokens: workload.tokens(),
        counted: "of conversations",
        work: Work::Products(sampling + learning.operations(workload, &config)),
        digest: learner.snapshot()?.digest().to_string(),
    };
    Report::beside_the_roof(measured, place, laps, listener)
}

fn reward(conversation: &Trajectory) -> f32 {
    let sampled = || conversation.tokens.iter().zip(&conversation.mask).filter(|(_, sampled)| **sampled);
    let rewarded = sampled().filter(|(id, _)| **id < REWARDED_BELOW).count();
    let apart = if conversation.episode.member.is_multiple_of(2) { APART } else { 0.0 };
    rewarded as f32 / sampled().count() as f32 + apart
}
