//! Who is credited with what, and which tokens learn from it.

use stateset_algorithms::CreditFor;
use stateset_domain::{Group, Learner};

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

#[test]
fn an_episode_whose_turns_do_not_hold_its_tokens_is_refused() {
    let mut groups = groups();
    groups[0].members[0].spans.pop();
    groups[0].members[0].spans.pop();
    let refused = learner(|settings| grpo(settings).credit = CreditFor::Turns).step(&groups).unwrap_err();
    assert!(refused.to_string().contains("its turns have"), "{refused}");
}
