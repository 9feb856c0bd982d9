//! A policy on a GPU learns what it learns on the CPU, and what is promised of a learner holds of it. A CPU plays the GPU.

use std::sync::Arc;

use stateset_domain::{Engine, GenerateRequest, Learner, LearnerError, RequestId, Sampling, Stream};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_kernels::cuda::Shim;
use stateset_training::{GpuPolicy, LearnerSettings, PolicyLearner};

use crate::rollout::replies;
use crate::{BASE, distance, flat, group, groups, grpo, learner, settings};

fn shim() -> Arc<Shim> {
    Arc::new(Shim { schedule: 0 })
}

fn on_device(change: impl FnOnce(&mut LearnerSettings)) -> Result<PolicyLearner, LearnerError> {
    let mut settings = settings();
    change(&mut settings);
    let policy = GpuPolicy::new(&shim(), &BASE.weights).unwrap();
    PolicyLearner::on(Box::new(policy), BASE.clone(), settings)
}

fn demanding(settings: &mut LearnerSettings) {
    grpo(settings).kl_coef = 0.1;
    grpo(settings).epochs = 2;
    settings.optimizer.weight_decay = 0.01;
    settings.undoable = true;
}

#[test]
fn steps_are_those_of_the_cpu() {
    let (mut cpu, mut device) = (learner(demanding), on_device(demanding).unwrap());
    for step in 0..2 {
        let groups = [group(step, &[1.0, 0.0, 0.5]), groups().remove(0)];
        let (expected, found) = (cpu.step(&groups).unwrap(), device.step(&groups).unwrap());
        let pairs = [
            (expected.loss, found.loss),
            (expected.grad_norm, found.grad_norm),
            (expected.kl, found.kl),
            (expected.entropy, found.entropy),
        ];
        for (expected, found) in pairs {
            assert!((expected - found).abs() <= 1e-4 * expected.abs().max(1e-2), "{found} is not {expected}");
        }
        assert_eq!(found.train_tokens, expected.train_tokens);
    }
    let (began, expected, found) = (flat(&learner(|_| {})), flat(&cpu), flat(&device));
    // AdamW's first updates have the size of the learning rate, whatever the gradient's: noise in what is nearly 0 is seen.
    assert!(distance(&expected, &found) <= 0.02 * distance(&expected, &began), "{}", distance(&expected, &found));
}

#[test]
fn a_step_is_undone_and_saved_and_goes_on_bit_by_bit() {
    let mut learner = on_device(demanding).unwrap();
    learner.step(&groups()).unwrap();
    let saved = learner.save().unwrap();
    let after = learner.step(&groups()).map(|_| learner.snapshot().unwrap().digest()).unwrap();
    learner.undo().unwrap();
    assert_eq!(learner.save().unwrap()[..3], saved[..3], "an undone step leaves nothing");
    let mut restored = on_device(demanding).unwrap();
    restored.restore(&saved).unwrap();
    assert_eq!(restored.save().unwrap(), saved);
    restored.step(&groups()).unwrap();
    assert_eq!(restored.snapshot().unwrap().digest(), after);
}

#[test]
fn a_step_whose_gradient_is_no_number_is_skipped() {
    let mut learner = on_device(|settings| settings.undoable = true).unwrap();
    let before = flat(&learner);
    learner.spoil_gradient();
    assert!(learner.step(&groups()).unwrap().skipped);
    assert_eq!(flat(&learner), before);
}

#[test]
fn what_is_only_done_on_the_cpu_is_refused_by_name() {
    let refused = on_device(|settings| settings.activation_checkpointing = true).err().unwrap().to_string();
    assert!(refused.contains("activation checkpointing is only done on the CPU"), "{refused}");
}

#[test]
fn an_engine_on_a_device_samples_what_the_cpu_samples() {
    let limits = EngineLimits { slots: 3, positions: 64, step_tokens: 16 };
    let tokenizer = Arc::new(BASE.tokenizer.clone());
    let config = &BASE.weights.config;
    let mut cpu = BatchEngine::new(config, tokenizer.clone(), limits);
    let mut device = BatchEngine::on(shim(), config, tokenizer, limits).unwrap();
    // More conversations than slots, two of which begin alike, and a second turn, by what came from the host and what stayed on the device.
    let mut learnt = on_device(|_| {}).unwrap();
    learnt.step(&groups()).unwrap();
    let (from_host, stayed) = (learner(|_| {}).snapshot().unwrap(), learnt.snapshot().unwrap());
    assert!(from_host.resident().is_none() && stayed.resident().is_some());
    for turn in 1..3usize {
        let snapshot = if turn == 1 { &from_host } else { &stayed };
        assert_eq!(cpu.load(snapshot).unwrap(), device.load(snapshot).unwrap());
        let request = |conversation: u64| GenerateRequest {
            id: RequestId(conversation),
            conversation,
            tokens: (0..20 * turn as u32).map(|i| (i * 7 + 50 * (conversation as u32 / 2)) % 280).collect(),
            sampling: Sampling { max_tokens: 9, ..Sampling::default() },
            stop_tokens: vec![4],
            stream: Stream::new(conversation).fork(turn as u64),
        };
        let requests = || (0..4).map(request).collect::<Vec<_>>();
        let (expected, found) = (replies(&mut cpu, requests()), replies(&mut device, requests()));
        for (expected, found) in expected.values().zip(found.values()) {
            assert_eq!(found.tokens, expected.tokens);
            for (expected, found) in expected.log_probs.iter().zip(&found.log_probs) {
                assert!((expected - found).abs() <= 1e-4, "{found} is not {expected}");
            }
        }
    }
}
