//! Who is credited with what, and which tokens learn from it.

use stateset_algorithms::{Advantage, CreditFor, KlIn, Rewards};
use stateset_domain::{Group, Learner, RewardTerm, Role};

use crate::{distance, flat, group, groups, grpo, learner, plain_descent, stepped};

/// Episodes that earn the same, of which the first has the better first turn.
fn turned() -> Vec<Group> {
    let mut group = group(0, &[0.5, 0.5]);
    group.members[0].turn_rewards = vec![1.0, 0.0];
    group.members[1].turn_rewards = vec![0.0, 0.0];
    vec![group]
}

#[test]
fn a_turn_without_a_reward_of_its_own_has_the_credit_of_its_episode() {
    let step = |credit| stepped(learner(|settings| grpo(settings).credit = credit), &groups());
    assert_eq!(step(CreditFor::Turns), step(CreditFor::Episode));
    let discounted = |settings: &mut _| (grpo(settings).credit, grpo(settings).gamma) = (CreditFor::Turns, 0.5);
    assert_ne!(stepped(learner(discounted), &groups()).0, step(CreditFor::Episode).0);
}

#[test]
fn a_turns_own_reward_teaches_that_turn() {
    let step = |credit, turn_weight| {
        let learner = learner(|settings| {
            let grpo = grpo(settings);
            (grpo.credit, grpo.turn_weight) = (credit, turn_weight);
        });
        stepped(learner, &turned()).1.grad_norm
    };
    assert!(step(CreditFor::Turns, 1.0) > 0.0);
    assert_eq!((step(CreditFor::Turns, 0.0), step(CreditFor::Episode, 1.0)), (0.0, 0.0));
}

/// Two episodes whose rewards are equal in sum and in nothing else.
fn mixed(second: Vec<RewardTerm>) -> Vec<Group> {
    let mut group = group(0, &[0.5, 0.5]);
    let term = |weight, value| RewardTerm { weight, value };
    group.members[0].reward_terms = vec![term(0.5, 1.0), term(0.25, 0.0)];
    group.members[1].reward_terms = second;
    vec![group]
}

#[test]
fn rewards_that_are_measured_apart_teach_where_their_sums_are_equal() {
    let term = |weight, value| RewardTerm { weight, value };
    let step = |rewards, terms| {
        let learner = learner(|settings| grpo(settings).rewards = rewards);
        stepped(learner, &mixed(terms)).1.grad_norm
    };
    let second = || vec![term(0.5, 0.0), term(0.25, 2.0)];
    assert!(step(Rewards::Apart, second()) > 0.0);
    assert_eq!(step(Rewards::Summed, second()), 0.0);
}

#[test]
fn rewards_that_are_not_the_same_for_all_cannot_be_measured_apart() {
    let mut learner = learner(|settings| grpo(settings).rewards = Rewards::Apart);
    let error = learner.step(&mixed(Vec::new())).unwrap_err().to_string();
    assert!(error.contains("measured apart") && error.contains("[0.5, 0.25]"), "{error}");
    // A reward that is not made of several is one.
    assert!(!learner.step(&groups()).unwrap().skipped);
}

#[test]
fn credit_of_turns_does_not_depend_on_micro_batches() {
    let step = |micro_batch_tokens| {
        let learner = learner(|settings| {
            plain_descent(settings);
            settings.micro_batch_tokens = micro_batch_tokens;
            (grpo(settings).credit, grpo(settings).gamma) = (CreditFor::Turns, 0.5);
        });
        let before = flat(&learner);
        let after = stepped(learner, &groups()).0;
        (distance(&before, &after), after)
    };
    let (far, whole) = step(100_000);
    let apart = distance(&whole, &step(1).1);
    assert!(far > 0.0 && apart < 1e-6 * far, "{apart:e} of {far:e}");
}

/// A group of which the first two end their replies themselves.
fn cut_off() -> Group {
    let mut group = group(0, &[1.0, 0.0, 0.25]);
    for member in &mut group.members[..2] {
        for span in member.spans.iter_mut().filter(|span| span.role == Role::Assistant) {
            (span.sampled.end, member.mask[span.sampled.end]) = (span.tokens.end, true);
        }
    }
    group
}

#[test]
fn nothing_is_learned_from_an_episode_that_was_cut_off_but_others_are_compared_with_it() {
    let step = |masked, groups: &[Group]| {
        let mut learner = learner(|settings| {
            plain_descent(settings);
            grpo(settings).advantage = Advantage::Centred;
            grpo(settings).mask_truncated = masked;
        });
        let report = learner.step(groups).unwrap();
        (flat(&learner), report)
    };
    let whole = cut_off();
    let (weights, report) = step(true, std::slice::from_ref(&whole));
    // Of what is learned from, tokens are counted and told of; rewards of all are compared.
    let tokens: usize = whole.members[..2].iter().map(|member| member.tokens.len()).sum();
    assert_eq!(report.train_tokens, tokens as u64);
    assert_ne!(weights, step(false, std::slice::from_ref(&whole)).0);
    let mean = (1.0 + 0.0 + 0.25) / 3.0;
    let counts: Vec<f64> = whole.members[..2].iter().map(|member| member.sampled_tokens() as f64).collect();
    let expected = -((1.0 - mean) * counts[0] - mean * counts[1]) / (counts[0] + counts[1]);
    assert!((report.loss - expected).abs() < 1e-9, "{} is not {expected}", report.loss);
    // What the one that was cut off said does not matter.
    let mut other = whole.clone();
    let last = &mut other.members[2];
    last.tokens.iter_mut().for_each(|token| *token = (*token + 1) % 200);
    last.log_probs.iter_mut().for_each(|it| *it *= 2.0);
    assert_eq!(step(true, &[other]).0, weights);
}

#[test]
fn a_batch_of_which_everything_was_cut_off_teaches_nothing() {
    let learner = learner(|settings| {
        grpo(settings).mask_truncated = true;
        (grpo(settings).kl_coef, grpo(settings).kl_in) = (0.5, KlIn::Reward);
    });
    let before = flat(&learner);
    let (after, report) = stepped(learner, &groups());
    assert_eq!((after, report.grad_norm, report.train_tokens), (before, 0.0, 0));
}

#[test]
fn an_episode_whose_turns_do_not_hold_its_tokens_is_refused() {
    let mut groups = groups();
    groups[0].members[0].spans.pop();
    groups[0].members[0].spans.pop();
    let refused = learner(|settings| grpo(settings).credit = CreditFor::Turns).step(&groups).unwrap_err();
    assert!(refused.to_string().contains("its turns have"), "{refused}");
}

#[test]
fn length_makes_an_episode_worth_less_than_others_that_earn_the_same() {
    let groups = [group(0, &[0.5; 4])];
    let longest = groups[0].members.iter().map(stateset_domain::Trajectory::sampled_tokens).max().unwrap();
    let norm = |overlong_cache| {
        let learner = learner(|settings| {
            let grpo = grpo(settings);
            (grpo.max_completion_tokens, grpo.overlong_cache) = (longest, overlong_cache);
        });
        let (_, report) = stepped(learner, &groups);
        assert_eq!(report.frac_zero_std_groups, 1.0, "their rewards are equal all the same");
        report.grad_norm
    };
    assert_eq!(norm(None), 0.0);
    assert!(norm(Some(longest)) > 0.0);
}
