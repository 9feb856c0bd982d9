//! Conversations that forked: each segment is computed by itself, and all of them are one episode.

use stateset_algorithms::{Advantage, Aggregation, Algorithm, CreditFor};
use stateset_domain::{Group, StepReport, Trajectory};
use stateset_training::{LearnerSettings, Objective};

use crate::{distance, flat, groups, grpo, learner, plain_descent, stepped, trajectory};

/// Where the second turn begins.
fn second_turn(episode: &Trajectory) -> usize {
    episode.spans[2].tokens.start
}

/// The same tokens, but the second turn begins a segment.
fn forked(episode: &Trajectory) -> Trajectory {
    Trajectory { forks: vec![second_turn(episode)], ..episode.clone() }
}

/// Each turn as an episode of its own, with the reward of the whole.
fn apart(episode: &Trajectory) -> [Trajectory; 2] {
    let at = second_turn(episode);
    [0..at, at..episode.tokens.len()].map(|part| {
        let mut own = Trajectory::new(episode.episode, "made-up");
        for span in episode.spans.iter().filter(|span| part.contains(&span.tokens.start)) {
            let [context, sampled, close] =
                [span.tokens.start..span.sampled.start, span.sampled.clone(), span.sampled.end..span.tokens.end]
                    .map(|range| &episode.tokens[range]);
            match sampled {
                [] => own.push_context(span.role, &[context, close].concat()),
                _ => {
                    let log_probs = &episode.log_probs[span.sampled.clone()];
                    own.push_sampled(context, sampled, log_probs, episode.versions[span.sampled.start], close);
                }
            }
        }
        own.reward = episode.reward;
        own
    })
}

/// What a step from the same policy made of the weights, and what it reported.
fn step(groups: &[Group], change: impl FnOnce(&mut LearnerSettings)) -> (Vec<f32>, StepReport) {
    let learner = learner(|settings| {
        plain_descent(settings);
        settings.micro_batch_tokens = 100_000;
        change(settings);
    });
    stepped(learner, groups)
}

fn each(groups: &[Group], make: impl Fn(&Trajectory) -> Vec<Trajectory>) -> Vec<Group> {
    groups
        .iter()
        .map(|group| Group { members: group.members.iter().flat_map(&make).collect(), ..group.clone() })
        .collect()
}

#[test]
fn segments_share_the_episodes_advantage_and_teach_what_as_many_episodes_would() {
    // Centred advantages are the same whether every member counts once or twice, and so is a token's weight in the mean over tokens.
    let centred = |settings: &mut LearnerSettings| grpo(settings).advantage = Advantage::Centred;
    let (groups, untouched) = (groups(), flat(&learner(|_| {})));
    let (segments, report) = step(&each(&groups, |it| vec![forked(it)]), centred);
    let (episodes, other) = step(&each(&groups, |it| apart(it).to_vec()), centred);
    let moved = distance(&segments, &untouched);
    assert!(distance(&segments, &episodes) < 1e-6 * moved, "{:e} of {moved:e}", distance(&segments, &episodes));
    assert!((report.grad_norm - other.grad_norm).abs() < 1e-6 * other.grad_norm);
    assert_eq!(report.train_tokens, other.train_tokens);
    let (whole, _) = step(&groups, centred);
    assert!(distance(&segments, &whole) > 0.01 * moved, "what a segment was sampled after matters");
}

#[test]
fn in_a_mean_over_episodes_one_that_forked_counts_once() {
    let episodes = [trajectory(0, 0, 1.0), trajectory(0, 1, 0.0)];
    let group = Group { members: vec![forked(&episodes[0]), episodes[1].clone()], ..groups()[0].clone() };
    let (_, report) = step(&[group], |settings| {
        grpo(settings).advantage = Advantage::Centred;
        grpo(settings).aggregation = Aggregation::Grpo;
    });
    // -(1/2 - 1/2) / 2; with a sequence for each segment it would be -(1/2 + 1/2 - 1/2) / 3
    assert!(report.loss.abs() < 1e-12, "{}", report.loss);
}

#[test]
fn every_kind_of_objective_learns_from_episodes_that_forked() {
    let groups = each(&groups(), |it| vec![forked(it)]);
    let untouched = flat(&learner(|_| {}));
    for algorithm in
        [Algorithm::Grpo, Algorithm::Gspo, Algorithm::Gmpo, Algorithm::Dpo, Algorithm::Ppo, Algorithm::Trpo]
    {
        for tokens in [1, 100_000] {
            let (weights, _) = step(&groups, |settings| {
                settings.objective = algorithm.into();
                settings.micro_batch_tokens = tokens;
            });
            assert_ne!(weights, untouched, "{algorithm:?}");
        }
    }
    let (weights, _) = step(&groups, |settings| {
        let Objective::Grpo(grpo) = &mut settings.objective else { panic!("not GRPO") };
        grpo.credit = CreditFor::Turns;
    });
    assert_ne!(weights, untouched);
}
