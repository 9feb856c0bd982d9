//! Cloning demonstrations.

use stateset_algorithms::Schedule;
use stateset_domain::NamedTensor;
use stateset_models::{Autograd, PackedBatch};
use stateset_training::{Demonstration, OptimizerSettings, Supervised, SupervisedReport, SupervisedSettings};

use crate::{BASE, trajectory};

fn demonstrations() -> Vec<Demonstration> {
    let clone = |member| {
        let trajectory = trajectory(0, member, 1.0);
        Demonstration { tokens: trajectory.tokens, spoken: trajectory.mask }
    };
    (0..4).map(clone).collect()
}

fn supervised(context_weight: f64, micro_batch_tokens: usize) -> Supervised {
    let settings = SupervisedSettings {
        steps: 40,
        learning_rate: 3e-3,
        schedule: Schedule::default(),
        optimizer: OptimizerSettings::default(),
        context_weight,
        micro_batch_tokens,
    };
    Supervised::new(&BASE.weights, settings).unwrap()
}

fn stepped(context_weight: f64, batch: &[Demonstration]) -> (Vec<NamedTensor>, SupervisedReport) {
    let mut supervised = supervised(context_weight, 64);
    let report = supervised.step(batch).unwrap();
    (supervised.tensors().unwrap(), report)
}

#[test]
fn the_loss_on_a_fixed_batch_falls_to_almost_nothing() {
    let (mut supervised, batch) = (supervised(0.1, 64), demonstrations());
    let losses: Vec<f64> = (0..40).map(|_| supervised.step(&batch).unwrap().loss).collect();
    assert!(losses[0] > 4.0 && losses[39] < 0.2 * losses[0], "{losses:?}");
}

#[test]
fn without_context_weight_the_loss_is_the_mean_over_spoken_tokens() {
    let batch = demonstrations();
    let mut packed = PackedBatch::default();
    batch.iter().for_each(|demo| packed.push(&demo.tokens, &demo.spoken));
    let [found, _] = Autograd::new(&BASE.weights).and_then(|model| model.log_probs(&packed, 1.0)).unwrap();
    let expected = -found.iter().map(|x| f64::from(*x)).sum::<f64>() / found.len() as f64;
    let (_, report) = stepped(0.0, &batch);
    assert!((report.loss - expected).abs() < 1e-5, "{} is not {expected}", report.loss);
}

#[test]
fn without_context_weight_what_users_say_is_not_learned() {
    let with_tail = |context_weight, tail: u32| {
        let mut batch = demonstrations();
        batch.iter_mut().for_each(|demo| *demo.tokens.last_mut().unwrap() = tail);
        stepped(context_weight, &batch).0
    };
    assert_eq!(with_tail(0.0, 5), with_tail(0.0, 6));
    assert_ne!(with_tail(0.1, 5), with_tail(0.1, 6));
}

#[test]
fn demonstrations_in_which_nobody_speaks_move_nothing() {
    let mut batch = demonstrations();
    batch.iter_mut().for_each(|demo| demo.spoken.fill(false));
    batch.push(Demonstration { tokens: Vec::new(), spoken: Vec::new() });
    let (weights, report) = stepped(0.0, &batch);
    assert_eq!((report.loss, report.grad_norm), (0.0, 0.0));
    assert_eq!(weights, BASE.weights.to_tensors());
}

#[test]
fn loss_and_gradient_do_not_depend_on_micro_batches() {
    let whole = supervised(0.1, 100_000).step(&demonstrations()).unwrap();
    let split = supervised(0.1, 1).step(&demonstrations()).unwrap();
    assert!((whole.loss - split.loss).abs() < 1e-6 * whole.loss);
    assert!((whole.grad_norm - split.grad_norm).abs() < 1e-6 * whole.grad_norm);
}
