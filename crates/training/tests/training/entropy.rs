//! A bonus for entropy that follows the entropy.

use stateset_domain::{Learner, StepReport};
use stateset_training::{LearnerSettings, PolicyLearner};

use crate::{group, groups, grpo, learner, plain_descent};

/// The random policy has an entropy of some five nats a token.
fn steered(target: f64) -> impl FnOnce(&mut LearnerSettings) {
    move |settings| {
        settings.undoable = true;
        let grpo = grpo(settings);
        (grpo.entropy_coef, grpo.entropy_target, grpo.entropy_coef_delta) = (0.01, Some(target), 0.02);
    }
}

fn steps(learner: &mut PolicyLearner, count: usize) -> Vec<StepReport> {
    (0..count).map(|_| learner.step(&groups()).unwrap()).collect()
}

fn paid(reports: &[StepReport]) -> Vec<f64> {
    reports.iter().map(|report| report.entropy_coef.unwrap()).collect()
}

fn near(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
}

#[test]
fn a_bonus_grows_while_entropy_is_below_its_target_and_is_not_paid_above_it() {
    let low = paid(&steps(&mut learner(steered(100.0)), 3));
    assert!(near(&low, &[0.01, 0.03, 0.05]), "{low:?}");
    let high = paid(&steps(&mut learner(steered(0.1)), 3));
    assert!(near(&high, &[0.01, 0.0, 0.0]), "{high:?}");
}

#[test]
fn a_bonus_raises_entropy() {
    let entropy = |coef: f64| {
        let mut learner = learner(|settings| {
            plain_descent(settings);
            steered(100.0)(settings);
            settings.learning_rate = 0.3;
            (grpo(settings).entropy_coef, grpo(settings).entropy_coef_delta) = (coef, 1e-9);
        });
        steps(&mut learner, 4).last().unwrap().entropy
    };
    assert!(entropy(0.5) > entropy(0.0));
}

#[test]
fn what_steers_by_entropy_sees_every_token_whether_it_has_credit_or_not() {
    let groups = [group(0, &[0.5; 4]), group(1, &[0.0, 1.0])];
    let tokens: usize = groups.iter().flat_map(|group| &group.members).map(|member| member.tokens.len()).sum();
    let mut learner = learner(steered(0.1));
    for _ in 0..2 {
        assert_eq!(learner.step(&groups).unwrap().train_tokens, tokens as u64);
    }
}

#[test]
fn an_adapted_bonus_is_restored_and_taken_back() {
    let make = || learner(steered(100.0));
    let mut uninterrupted = make();
    steps(&mut uninterrupted, 2);
    let saved = uninterrupted.save().unwrap();
    let mut restored = make();
    restored.restore(&saved).unwrap();
    assert_eq!(restored.save().unwrap(), saved);
    assert_eq!(steps(&mut restored, 1), steps(&mut uninterrupted, 1));
    restored.undo().unwrap();
    assert!(near(&paid(&steps(&mut restored, 1)), &[0.05]), "as before the step that was taken back");
    restored.spoil_gradient();
    assert!(steps(&mut restored, 1)[0].skipped);
    assert!(near(&paid(&steps(&mut restored, 1)), &[0.07]), "a step that was skipped adapts nothing");
}

#[test]
fn a_bonus_that_is_not_adapted_is_always_paid_and_not_reported() {
    let mut learner = learner(|settings| grpo(settings).entropy_coef = 0.1);
    let norms: Vec<f64> = steps(&mut learner, 2).iter().map(|report| report.grad_norm).collect();
    assert!(norms.iter().all(|norm| *norm > 0.0));
    assert_eq!(steps(&mut learner, 1)[0].entropy_coef, None);
}
