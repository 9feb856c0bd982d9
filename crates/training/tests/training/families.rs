//! Conversations that begin alike: computed once, with the same outcome.

use stateset_algorithms::Algorithm;
use stateset_domain::{Group, Role, Stream, Trajectory};
use stateset_training::LearnerSettings;

use crate::{distance, flat, group, learner, plain_descent, stepped};

/// The members of [`group`]s, each after a prompt of 40 tokens that is its group's own.
fn prompted() -> Vec<Group> {
    let mut groups = vec![group(0, &[1.0, 0.0, 0.25, 0.0]), group(1, &[0.0, 0.5, 1.0])];
    for group in &mut groups {
        let mut stream = Stream::new(u64::from(group.id.index));
        let prompt: Vec<u32> = (0..40).map(|_| stream.below(288) as u32).collect();
        group.members.iter_mut().for_each(|member| *member = after(&prompt, member));
    }
    groups
}

fn after(prompt: &[u32], member: &Trajectory) -> Trajectory {
    let mut whole = Trajectory::new(member.episode, "made-up");
    whole.push_context(Role::System, prompt);
    let first = member.mask.iter().position(|sampled| *sampled).unwrap();
    let end = first + member.mask[first..].iter().position(|sampled| !*sampled).unwrap();
    whole.push_context(Role::User, &member.tokens[..first]);
    whole.push_sampled(&[], &member.tokens[first..end], &member.log_probs[first..end], member.versions[first], &[]);
    whole.reward = member.reward;
    whole
}

/// What a step from the same policy moved, and what it reported.
fn step(change: impl FnOnce(&mut LearnerSettings)) -> (Vec<f32>, f64, stateset_domain::StepReport) {
    let learner = learner(|settings| {
        plain_descent(settings);
        settings.micro_batch_tokens = 100_000;
        change(settings);
    });
    let before = flat(&learner);
    let (after, report) = stepped(learner, &prompted());
    let moved = distance(&after, &before);
    (after, moved, report)
}

#[test]
fn a_prompt_computed_once_teaches_what_it_teaches_when_computed_for_each() {
    let objectives: [fn(&mut LearnerSettings); 3] =
        [|_| {}, |settings| crate::grpo(settings).kl_coef = 0.5, |settings| settings.objective = Algorithm::Dpo.into()];
    for objective in objectives {
        let (whole, moved, report) = step(objective);
        for tokens in [1, 100, 150] {
            let (split, _, other) = step(|settings| {
                objective(settings);
                settings.micro_batch_tokens = tokens;
            });
            let apart = distance(&split, &whole);
            assert!(apart < 2e-6 * moved, "{tokens} tokens at a time: {apart:e} of {moved:e}");
            assert!((other.grad_norm - report.grad_norm).abs() < 2e-6 * report.grad_norm);
            assert!((other.entropy - report.entropy).abs() < 1e-5);
            assert_eq!(other.train_tokens, report.train_tokens, "conversations are counted whole");
        }
    }
}

#[test]
fn shared_prompts_give_the_same_bits_on_one_thread_as_on_two() {
    let bits = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (weights, _, report) = pool.install(|| step(|settings| crate::grpo(settings).kl_coef = 0.5));
        (weights.iter().map(|weight| weight.to_bits()).collect::<Vec<u32>>(), report)
    };
    assert_eq!(bits(1), bits(2));
}

#[test]
fn checkpoints_change_no_bit_of_a_step() {
    let (kept, _, report) = step(|_| {});
    let (replayed, _, again) = step(|settings| settings.activation_checkpointing = true);
    assert_eq!((kept, report), (replayed, again));
}
