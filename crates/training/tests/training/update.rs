//! The optimizer, seen through the weights.

use stateset_algorithms::{Decay, Schedule};
use stateset_domain::Learner;

use crate::{distance, flat, group, groups, learner, plain_descent, stepped};

#[test]
fn decay_shrinks_matrices_and_leaves_norms_alone() {
    let mut learner = learner(|settings| {
        settings.learning_rate = 0.5;
        settings.optimizer.weight_decay = 0.1;
    });
    let before = learner.snapshot().unwrap();
    learner.step(&[group(0, &[1.0, 1.0])]).unwrap();
    for (before, after) in before.tensors().iter().zip(learner.snapshot().unwrap().tensors()) {
        let kept = if before.shape.len() == 2 { 1.0 - 0.5f32 * 0.1 } else { 1.0 };
        let expected: Vec<f32> = before.data.iter().map(|x| x * kept).collect();
        assert_eq!(after.data[..], expected, "{}", before.name);
    }
}

#[test]
fn a_long_gradient_is_cut_to_its_limit_and_reported_uncut() {
    let with = |limit| {
        let learner = learner(|settings| {
            plain_descent(settings);
            settings.optimizer.max_grad_norm = limit;
        });
        let before = flat(&learner);
        let (after, report) = stepped(learner, &groups());
        (distance(&after, &before), report.grad_norm)
    };
    let (free, norm) = with(1e9);
    let (cut, norm_when_cut) = with(1e-2);
    assert_eq!(norm, norm_when_cut);
    assert!(free > 0.1 && (cut - 1e-2).abs() < 1e-4, "{free} {cut}");
}

#[test]
fn the_learning_rate_follows_its_schedule() {
    let mut learner = learner(|settings| {
        settings.schedule = Schedule { kind: Decay::Linear, warmup_steps: 2 };
        settings.total_steps = 4;
        settings.learning_rate = 1.0;
    });
    let rates: Vec<f64> = (0..4).map(|_| learner.step(&[]).unwrap().lr).collect();
    assert_eq!(rates, [0.5, 1.0, 1.0, 0.5]);
}

#[test]
fn every_step_is_a_new_version() {
    let mut learner = learner(|_| {});
    let versions: Vec<u64> = (0..3)
        .map(|_| {
            learner.step(&groups()).unwrap();
            learner.snapshot().unwrap().version().0
        })
        .collect();
    assert_eq!(versions, [1, 2, 3]);
}
