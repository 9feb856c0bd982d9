//! Steps that cannot be taken leave the weights as they were, to the bit.

use stateset_domain::{Group, Learner, LearnerError, PolicyVersion, Role};
use stateset_models::Pretrained;
use stateset_training::PolicyLearner;

use crate::{BASE, group, groups, learner, settings};

fn refused(groups: &[Group]) -> String {
    let mut learner = learner(|_| {});
    let before = learner.snapshot().unwrap().digest();
    let error = learner.step(groups).unwrap_err();
    assert_eq!(learner.snapshot().unwrap().digest(), before);
    match error {
        LearnerError::Batch(reason) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn a_reward_that_is_not_finite_is_refused_by_episode() {
    for reward in [f32::NAN, f32::INFINITY] {
        let reason = refused(&[group(0, &[1.0, 0.0]), group(1, &[0.0, reward, 1.0])]);
        assert!(reason.contains("train-1-1-1") && reason.contains(&reward.to_string()), "{reason}");
    }
}

#[test]
fn an_episode_that_was_not_judged_or_does_not_line_up_is_refused() {
    let mut groups = groups();
    groups[1].members[0].reward = None;
    assert!(refused(&groups).contains("without a reward"));
    groups[1].members[0].reward = Some(1.0);
    groups[1].members[2].mask.pop();
    assert!(refused(&groups).contains("train-1-1-2"));
    groups[1].members[2].mask.push(false);
    groups[1].members[1].mask[0] = true;
    assert!(refused(&groups).contains("nothing precedes"));
}

#[test]
fn segments_that_are_empty_out_of_order_or_begin_with_what_was_sampled_are_refused() {
    let (whole, tokens) = (groups(), groups()[1].members[1].tokens.len());
    let sampled = whole[1].members[1].spans[1].sampled.start;
    for forks in [vec![0], vec![tokens], vec![5, 5], vec![6, 5], vec![usize::MAX], vec![sampled]] {
        let mut groups = whole.clone();
        groups[1].members[1].forks = forks;
        let reason = refused(&groups);
        assert!(reason.contains("train-1-1-1: "), "{reason}");
    }
}

#[test]
fn a_spoilt_gradient_skips_one_step_and_moves_nothing() {
    let mut learner = learner(|_| {});
    let before = learner.snapshot().unwrap().digest();
    learner.spoil_gradient();
    let report = learner.step(&groups()).unwrap();
    assert!(report.skipped && report.grad_norm.is_nan() && report.loss.is_finite(), "{report:?}");
    assert_eq!(learner.snapshot().unwrap().digest(), before);
    assert!(!learner.step(&groups()).unwrap().skipped);
}

#[test]
fn weights_that_are_not_finite_skip_the_step() {
    let spoilt = |(i, x): (usize, &f32)| if i == 7 { f32::NAN } else { *x };
    let weights = BASE.weights.map(|values| values.iter().enumerate().map(spoilt).collect());
    let mut learner = PolicyLearner::new(Pretrained { weights, ..BASE.clone() }, settings()).unwrap();
    let before = learner.snapshot().unwrap();
    let report = learner.step(&groups()).unwrap();
    let after = learner.snapshot().unwrap();
    assert!(report.skipped);
    assert_eq!((after.digest(), after.version().0), (before.digest(), 1), "only the step is counted");
}

#[test]
fn a_step_that_goes_wrong_in_a_later_epoch_is_taken_back_whole() {
    let mut wild = learner(|settings| {
        crate::grpo(settings).epochs = 3;
        settings.learning_rate = 1e30;
    });
    let before = (wild.snapshot().unwrap().digest(), optimizer(&wild));
    assert!(wild.step(&groups()).unwrap().skipped);
    assert_eq!((wild.snapshot().unwrap().digest(), optimizer(&wild)), before);
}

fn optimizer(learner: &PolicyLearner) -> Vec<u8> {
    let files = learner.save().unwrap();
    files.into_iter().find(|file| file.name == "optimizer.safetensors").unwrap().bytes
}

#[test]
fn a_conversation_beyond_the_context_is_an_error_that_says_so() {
    let mut groups = groups();
    let member = &mut groups[0].members[0];
    member.push_context(Role::User, &[1; 160]);
    member.push_sampled(&[], &[2], &[-1.0], PolicyVersion(0), &[]);
    let error = learner(|_| {}).step(&groups).unwrap_err();
    assert!(matches!(&error, LearnerError::Compute(reason) if reason.contains("exceeds the context")), "{error}");
}
