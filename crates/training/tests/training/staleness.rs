//! What tokens count that an older policy sampled.

use stateset_algorithms::staleness::{Mode, Rule};
use stateset_domain::{Group, Learner, PolicyVersion, StepReport};

use crate::{flat, groups, learner};

/// [`groups`], sampled by `version`.
fn sampled_by(version: u64) -> Vec<Group> {
    let mut groups = groups();
    for member in groups.iter_mut().flat_map(|group| &mut group.members) {
        member.versions.iter_mut().for_each(|sampler| *sampler = PolicyVersion(version));
    }
    groups
}

/// A second step, on tokens of `version`: the learner is at version 1.
fn second_step(rule: Rule, mode: Mode, version: u64) -> (Vec<f32>, StepReport) {
    let mut learner = learner(|settings| {
        settings.staleness.rule = rule;
        settings.staleness.importance.mode = mode;
    });
    learner.step(&groups()).unwrap();
    let report = learner.step(&sampled_by(version)).unwrap();
    (flat(&learner), report)
}

/// Sampled tokens of episodes that have credit; the others push nothing, whoever sampled them.
fn tokens() -> u64 {
    let credited = |group: Group| {
        let advantages = crate::advantages(&group);
        let members = group.members.into_iter().zip(advantages).filter(|(_, advantage)| *advantage != 0.0);
        members.map(|(member, _)| member.sampled_tokens() as u64).sum::<u64>()
    };
    groups().into_iter().map(credited).sum()
}

#[test]
fn the_age_of_every_token_is_counted() {
    let (_, report) = second_step(Rule::Keep, Mode::TokenTruncate, 0);
    assert_eq!((report.staleness_mean, report.staleness_max), (1.0, 1));
    assert_eq!((report.tokens_dropped, report.tokens_down_weighted), (0, 0));
    let (_, report) = second_step(Rule::Drop, Mode::TokenTruncate, 1);
    assert_eq!((report.staleness_mean, report.staleness_max), (0.0, 0));
}

#[test]
fn dropped_tokens_push_nothing() {
    let (_, report) = second_step(Rule::Drop, Mode::TokenTruncate, 0);
    assert_eq!((report.tokens_dropped, report.loss, report.grad_norm), (tokens(), 0.0, 0.0));
}

#[test]
fn stale_tokens_are_weighed_and_fresh_ones_count_in_full() {
    let (kept, _) = second_step(Rule::Keep, Mode::TokenTruncate, 0);
    let (weighed, report) = second_step(Rule::Truncate, Mode::TokenTruncate, 0);
    assert_ne!(weighed, kept);
    assert!(report.tokens_down_weighted > 0 && report.tokens_dropped == 0, "{report:?}");
    let (fresh, _) = second_step(Rule::Truncate, Mode::TokenTruncate, 1);
    assert_eq!(fresh, kept, "kept and fresh alike count in full");
}

#[test]
fn an_episode_out_of_range_is_masked_as_a_whole() {
    // The made-up sampler gives every token -5 nats, the model about -5.5: over an episode the ratio is far below any `clip_min`.
    let mut learner = learner(|settings| {
        settings.staleness.rule = Rule::Truncate;
        settings.staleness.importance.mode = Mode::SequenceMask;
        settings.staleness.importance.clip_min = 0.9;
    });
    learner.step(&groups()).unwrap();
    let report = learner.step(&sampled_by(0)).unwrap();
    assert_eq!((report.tokens_dropped, report.grad_norm), (tokens(), 0.0));
}

#[test]
fn bad_episodes_that_the_policy_left_behind_are_let_go_of_and_good_ones_are_not() {
    // The made-up sampler gives every token -5 nats, the model about -5.5.
    let step = |threshold| {
        let mut learner = learner(|settings| crate::grpo(settings).off_policy_threshold = threshold);
        let report = learner.step(&groups()).unwrap();
        (flat(&learner), report)
    };
    let bad = |group: Group| {
        let advantages = crate::advantages(&group);
        let members = group.members.into_iter().zip(advantages).filter(|(_, advantage)| *advantage < 0.0);
        members.map(|(member, _)| member.sampled_tokens() as u64).sum::<u64>()
    };
    let (all, report) = step(None);
    assert_eq!(report.tokens_dropped, 0);
    let (good, report) = step(Some(1e-6));
    assert_eq!(report.tokens_dropped, groups().into_iter().map(bad).sum::<u64>());
    assert!(good != all && report.grad_norm > 0.0);
    assert_eq!(step(Some(15.0)).0, all);
}
