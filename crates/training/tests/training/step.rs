//! What the objective sees, and what has no part in the gradient.

use stateset_domain::{Group, Learner};

use crate::{BASE, distance, flat, group, groups, learner, plain_descent, stepped};

#[test]
fn in_the_first_epoch_every_ratio_is_one_whatever_the_sampler_said() {
    let report = learner(|_| {}).step(&groups()).unwrap();
    let (mut expected, mut tokens) = (0.0, 0.0);
    for group in groups() {
        let advantages = crate::advantages(&group);
        for (member, advantage) in group.members.iter().zip(advantages) {
            expected -= advantage * member.sampled_tokens() as f64;
            tokens += member.sampled_tokens() as f64;
        }
    }
    assert_eq!((report.clip_fraction, report.kl), (0.0, 0.0));
    assert!((report.loss - expected / tokens).abs() < 1e-12, "{} is not {}", report.loss, expected / tokens);
    assert!(report.log_prob_gap > 0.1, "the made-up sampler is told apart: {}", report.log_prob_gap);
}

#[test]
fn later_epochs_move_the_ratio_and_clipping_begins() {
    let report = learner(|settings| {
        crate::grpo(settings).epochs = 4;
        settings.learning_rate = 0.02;
    });
    let (_, report) = stepped(report, &groups());
    let once = learner(|_| {}).step(&groups()).unwrap();
    assert!(report.clip_fraction > 0.0);
    assert_eq!(report.train_tokens, 4 * once.train_tokens);
    assert_eq!(report.loss, once.loss, "the loss is that of the first epoch");
}

#[test]
fn the_gradient_does_not_depend_on_micro_batches() {
    let with = |micro_batch_tokens| {
        let learner = learner(|settings| {
            plain_descent(settings);
            settings.micro_batch_tokens = micro_batch_tokens;
        });
        let before = flat(&learner);
        let (after, report) = stepped(learner, &groups());
        (distance(&after, &before), after, report.grad_norm)
    };
    let (moved, whole, norm) = with(100_000);
    for tokens in [1, 50, 90] {
        let (_, split, split_norm) = with(tokens);
        let apart = distance(&split, &whole);
        assert!(apart < 1e-6 * moved, "{tokens} tokens at a time: {apart:e} of {moved:e}");
        assert!((split_norm - norm).abs() < 1e-6 * norm);
    }
}

#[test]
fn what_follows_the_last_sampled_token_never_matters() {
    let with_tail = |tail: [u32; 3]| {
        let mut groups = groups();
        for member in groups.iter_mut().flat_map(|group| &mut group.members) {
            let end = member.tokens.len();
            member.tokens[end - 3..].copy_from_slice(&tail);
        }
        stepped(learner(|_| {}), &groups).0
    };
    assert_eq!(with_tail([9, 8, 7]), with_tail([100, 200, 30]));
}

#[test]
fn what_precedes_a_sampled_token_does_matter() {
    let with_head = |head| {
        let mut groups = groups();
        groups[0].members[0].tokens[0] = head;
        stepped(learner(|_| {}), &groups).0
    };
    assert_ne!(with_head(9), with_head(100));
}

#[test]
fn equal_rewards_teach_nothing_and_are_counted() {
    let (after, report) = stepped(learner(|_| {}), &[group(0, &[0.5; 3]), group(1, &[1.0])]);
    assert_eq!(after, flat(&learner(|_| {})));
    assert_eq!((report.frac_zero_std_groups, report.grad_norm, report.train_tokens), (1.0, 0.0, 124));
    let (_, report) = stepped(learner(|_| {}), &[group(0, &[0.5; 3]), group(1, &[1.0, 0.0])]);
    assert_eq!(report.frac_zero_std_groups, 0.5);
}

#[test]
fn rewarded_replies_become_likelier_and_the_others_less_so() {
    let log_prob = |weights: &stateset_models::HostWeights, member: usize| -> f32 {
        let trajectory = &groups()[0].members[member];
        let mut packed = stateset_models::PackedBatch::default();
        packed.push(&trajectory.tokens, &trajectory.mask);
        let found = stateset_models::Autograd::new(weights).and_then(|model| model.log_probs(&packed, 1.0));
        found.unwrap()[0].iter().sum()
    };
    let mut learner = learner(|_| {});
    learner.step(&groups()).unwrap();
    let snapshot = learner.snapshot().unwrap();
    let after = stateset_models::HostWeights::from_tensors(&BASE.weights.config, snapshot.tensors()).unwrap();
    assert!(log_prob(&after, 0) > log_prob(&BASE.weights, 0));
    assert!(log_prob(&after, 1) < log_prob(&BASE.weights, 1));
}

#[test]
fn a_reference_equal_to_the_policy_adds_neither_kl_nor_gradient() {
    let with = |kl_coef| stepped(learner(|settings| crate::grpo(settings).kl_coef = kl_coef), &groups());
    let ((plain, _), (drawn, report)) = (with(0.0), with(0.5));
    assert_eq!(report.kl, 0.0);
    assert_eq!(plain, drawn);
}

#[test]
fn a_policy_that_has_strayed_is_drawn_back_to_the_reference() {
    let mut learner = learner(|settings| crate::grpo(settings).kl_coef = 0.5);
    learner.step(&groups()).unwrap();
    let flat_groups: Vec<Group> = vec![group(0, &[0.0; 4]), group(1, &[0.0; 3])];
    let strayed = learner.step(&flat_groups).unwrap();
    assert!(strayed.kl > 0.0 && strayed.grad_norm > 0.0);
    for _ in 0..6 {
        learner.step(&flat_groups).unwrap();
    }
    let back = learner.step(&flat_groups).unwrap();
    assert!(back.kl < strayed.kl, "{} is not below {}", back.kl, strayed.kl);
}
