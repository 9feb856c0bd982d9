//! What holds the policy to the reference: charged to rewards, and adapted.

use stateset_algorithms::{ActorCritic, Algorithm, KlEstimator, KlIn, Ppo};
use stateset_domain::{Adjustments, Artifact, Group, Learner, StepReport};
use stateset_training::{LearnerSettings, Objective, PolicyLearner};

use crate::{distance, flat, group, groups, grpo, learner, plain_descent, stepped};

/// A learner that pays in rewards, and has strayed by a step.
fn strayed(kl_coef: f64, change: impl FnOnce(&mut LearnerSettings)) -> PolicyLearner {
    let mut learner = learner(|settings| {
        plain_descent(settings);
        settings.learning_rate = 0.2;
        (grpo(settings).kl_coef, grpo(settings).kl_in, grpo(settings).kl) = (kl_coef, KlIn::Reward, KlEstimator::K1);
        change(settings);
    });
    learner.step(&groups()).unwrap();
    learner
}

/// Episodes that all earn the same.
fn alike() -> Vec<Group> {
    vec![group(0, &[0.5; 4]), group(1, &[0.5; 3])]
}

#[test]
fn a_policy_that_is_the_reference_has_nothing_to_pay() {
    let step =
        |kl_coef| stepped(learner(|it| (grpo(it).kl_coef, grpo(it).kl_in) = (kl_coef, KlIn::Reward)), &groups()).0;
    assert_eq!(step(0.0), step(0.5));
}

#[test]
fn of_episodes_that_earn_the_same_those_that_strayed_least_are_preferred() {
    let (_, free) = stepped(strayed(0.0, |_| {}), &alike());
    let (_, paying) = stepped(strayed(0.5, |_| {}), &alike());
    assert_eq!(free.grad_norm, 0.0);
    assert!(paying.grad_norm > 0.0 && paying.kl > 0.0, "{paying:?}");
    assert_eq!(paying.frac_zero_std_groups, 1.0, "their rewards are equal all the same");
}

#[test]
fn what_is_paid_does_not_depend_on_micro_batches() {
    let step = |micro_batch_tokens| {
        let learner = strayed(0.5, |settings| settings.micro_batch_tokens = micro_batch_tokens);
        let before = flat(&learner);
        let after = stepped(learner, &alike()).0;
        (distance(&before, &after), after)
    };
    let (far, whole) = step(100_000);
    let apart = distance(&whole, &step(1).1);
    assert!(far > 0.0 && apart < 1e-3 * far, "{apart:e} of {far:e}");
}

fn adaptive(settings: &mut LearnerSettings, target: f64) {
    settings.learning_rate = 0.05;
    settings.undoable = true;
    let grpo = grpo(settings);
    (grpo.kl_coef, grpo.kl_target, grpo.kl_horizon) = (0.5, Some(target), 70.0);
}

/// The weights of so many steps.
fn weights(learner: &mut PolicyLearner, steps: usize) -> Vec<f64> {
    let weight = |report: StepReport| report.kl_coef.unwrap();
    (0..steps).map(|_| weight(learner.step(&groups()).unwrap())).collect()
}

#[test]
fn a_weight_rises_while_the_policy_is_too_far_from_the_reference_and_falls_while_it_is_too_near() {
    // Seven episodes a step of a horizon of seventy: a fiftieth, where the KL is far off its target.
    let near = |found: &[f64], expected: [f64; 3]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
    let low = weights(&mut learner(|settings| adaptive(settings, 100.0)), 3);
    assert!(near(&low, [0.5, 0.5 * 0.98, 0.5 * 0.98 * 0.98]), "{low:?}");
    let mut far = learner(|settings| adaptive(settings, 1e-9));
    let high = weights(&mut far, 3);
    // Before the first step the policy is the reference.
    assert!(near(&high, [0.5, 0.5 * 0.98, 0.5 * 0.98 * 1.02]), "{high:?}");
}

#[test]
fn an_adjustment_sets_what_is_adapted_and_not_how_far_that_has_come() {
    let mut learner = learner(|settings| adaptive(settings, 100.0));
    weights(&mut learner, 1);
    let adjusted = Adjustments { kl_coef: Some(2.0), ..Adjustments::default() };
    learner.adjust(&adjusted);
    learner.adjust(&adjusted);
    assert!((weights(&mut learner, 1)[0] - 2.0 * 0.98).abs() < 1e-12);
    learner.adjust(&Adjustments::default());
    assert!((weights(&mut learner, 1)[0] - 0.5 * 0.98 * 0.98).abs() < 1e-12);
}

fn line(learner: &PolicyLearner) -> String {
    let files: Vec<Artifact> = learner.save().unwrap();
    let file = files.into_iter().find(|file| file.name == "learner.json").unwrap();
    String::from_utf8(file.bytes.to_vec()).unwrap()
}

#[test]
fn an_adapted_weight_is_saved_restored_and_taken_back() {
    let make = || learner(|settings| adaptive(settings, 0.3));
    let mut uninterrupted = make();
    weights(&mut uninterrupted, 2);
    let saved = uninterrupted.save().unwrap();
    let mut restored = make();
    restored.restore(&saved).unwrap();
    assert_eq!(restored.save().unwrap(), saved);
    assert_eq!(weights(&mut restored, 2), weights(&mut uninterrupted, 2));
    let scale = |learner: &PolicyLearner| line(learner).split("kl_scale").nth(1).unwrap().to_owned();
    let before = scale(&restored);
    weights(&mut restored, 1);
    assert_ne!(scale(&restored), before);
    restored.undo().unwrap();
    assert_eq!(scale(&restored), before);
    restored.spoil_gradient();
    assert!(restored.step(&groups()).unwrap().skipped);
    assert_eq!(scale(&restored), before, "a step that was skipped adapts nothing");
}

#[test]
fn a_learner_that_adapts_nothing_says_nothing_of_it() {
    let mut learner = learner(|settings| grpo(settings).kl_coef = 0.5);
    assert_eq!(learner.step(&groups()).unwrap().kl_coef, None);
    assert!(!line(&learner).contains("kl_scale"));
}

#[test]
fn the_penalty_of_ppo_is_adapted_alike() {
    let ppo = Ppo { kl_coef: 0.5, kl_target: Some(100.0), kl_horizon: 70.0, ..Ppo::default() };
    let objective = Objective::ActorCritic(ActorCritic::ppo(&ppo, Algorithm::Ppo.settings()));
    let mut learner = learner(|settings| settings.objective = objective);
    let found = weights(&mut learner, 2);
    assert!((found[1] - 0.5 * 0.98).abs() < 1e-12, "{found:?}");
}
