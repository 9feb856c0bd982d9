//! Learning from what is given: conversations to imitate, and pairs of which one is preferred.

use std::sync::Arc;

use stateset_algorithms::{Algorithm, Decay, Schedule};
use stateset_domain::{Adjustments, Digest, Learner, LearnerError};
use stateset_models::HostWeights;
use stateset_training::{
    Dataset, Demonstration, Items, LearnerSettings, Objective, PolicyLearner, PreferencePair, Supervised,
    SupervisedSettings,
};

use crate::{BASE, distance, flat, groups, plain_descent, settings, trajectory};

fn said(index: u32, member: u32) -> Demonstration {
    let trajectory = trajectory(index, member, 1.0);
    Demonstration { tokens: trajectory.tokens, spoken: trajectory.mask }
}

fn conversations(count: u32) -> Vec<Demonstration> {
    (0..count).map(|member| said(0, member)).collect()
}

fn pairs(count: u32) -> Vec<PreferencePair> {
    (0..count).map(|index| PreferencePair { chosen: said(index, 0), rejected: said(index, 1) }).collect()
}

fn of(list: Vec<Demonstration>, batch: usize) -> Dataset {
    Dataset { items: Items::Conversations(list.into()), batch, seed: 5 }
}

fn of_pairs(list: Vec<PreferencePair>, batch: usize) -> Dataset {
    Dataset { items: Items::Pairs(list.into()), batch, seed: 5 }
}

fn offline(dataset: Dataset, change: impl FnOnce(&mut LearnerSettings)) -> PolicyLearner {
    let pairs = matches!(dataset.items, Items::Pairs(_));
    let objective: Objective = if pairs { Algorithm::Dpo } else { Algorithm::Sft }.into();
    let mut settings = LearnerSettings { objective, ..settings() };
    change(&mut settings);
    PolicyLearner::offline(BASE.clone(), settings, dataset).unwrap()
}

/// The weights after one step.
fn stepped(dataset: Dataset, change: impl FnOnce(&mut LearnerSettings)) -> Vec<f32> {
    let mut learner = offline(dataset, change);
    assert!(!learner.step(&[]).unwrap().skipped);
    flat(&learner)
}

fn digest(learner: &PolicyLearner) -> Digest {
    learner.snapshot().unwrap().digest()
}

#[test]
fn imitating_the_same_conversations_costs_almost_nothing_in_the_end() {
    let mut learner = offline(of(conversations(4), 4), |settings| settings.learning_rate = 3e-3);
    let losses: Vec<f64> = (0..40).map(|_| learner.step(&[]).unwrap().loss).collect();
    assert!(losses[0] > 4.0 && losses[39] < 0.2 * losses[0], "{losses:?}");
}

#[test]
fn a_step_of_imitation_is_one_of_cross_entropy() {
    let mut plain = settings();
    plain_descent(&mut plain);
    let cross_entropy = SupervisedSettings {
        steps: plain.total_steps,
        learning_rate: plain.learning_rate,
        schedule: plain.schedule,
        optimizer: plain.optimizer,
        context_weight: 0.0,
        micro_batch_tokens: plain.micro_batch_tokens,
    };
    let mut supervised = Supervised::new(&BASE.weights, cross_entropy).unwrap();
    let wanted = supervised.step(&conversations(4)).unwrap();
    let mut learner = offline(of(conversations(4), 4), plain_descent);
    let base = flat(&learner);
    let report = learner.step(&[]).unwrap();
    assert!((report.loss - wanted.loss).abs() < 1e-5, "{} is not {}", report.loss, wanted.loss);
    assert_eq!(report.train_tokens, wanted.tokens as u64);
    let there: Vec<f32> = supervised.tensors().unwrap().iter().flat_map(|it| it.data.to_vec()).collect();
    assert!(distance(&flat(&learner), &there) < 1e-5 * distance(&base, &there));
}

#[test]
fn what_others_say_after_the_last_reply_never_matters_and_what_they_said_before_does() {
    let change = |at: fn(&[u32]) -> usize, token: u32| {
        let mut list = conversations(3);
        list.iter_mut().for_each(|it| {
            let at = at(&it.tokens);
            it.tokens[at] = token;
        });
        stepped(of(list, 3), |_| {})
    };
    assert_eq!(change(|tokens| tokens.len() - 1, 100), change(|tokens| tokens.len() - 1, 200));
    assert_ne!(change(|_| 0, 100), change(|_| 0, 200));
}

#[test]
fn no_gradient_depends_on_how_a_batch_is_split() {
    let assert_same = |dataset: &Dataset| {
        let with = |tokens| {
            stepped(dataset.clone(), |settings| {
                plain_descent(settings);
                settings.micro_batch_tokens = tokens;
            })
        };
        let (whole, base) = (with(100_000), flat(&offline(dataset.clone(), |_| {})));
        for tokens in [1, 60, 90] {
            assert!(distance(&with(tokens), &whole) < 1e-6 * distance(&base, &whole), "{tokens} tokens at a time");
        }
    };
    assert_same(&of(conversations(5), 5));
    assert_same(&of_pairs(pairs(4), 4));
}

#[test]
fn of_a_pair_the_chosen_conversation_becomes_the_likelier_one() {
    let margin = |weights: &HostWeights| -> f64 {
        let of = |side: &Demonstration| -> f64 {
            let mut packed = stateset_models::PackedBatch::default();
            packed.push(&side.tokens, &side.spoken);
            let found = stateset_models::Autograd::new(weights).and_then(|model| model.log_probs(&packed, 1.0));
            found.unwrap()[0].iter().copied().map(f64::from).sum()
        };
        pairs(3).iter().map(|pair| of(&pair.chosen) - of(&pair.rejected)).sum()
    };
    let mut learner = offline(of_pairs(pairs(3), 3), |_| {});
    let first = learner.step(&[]).unwrap();
    // -log sigmoid(0): the policy is the reference.
    assert!((first.loss - std::f64::consts::LN_2).abs() < 1e-6 && first.kl.is_nan(), "{first:?}");
    let last = (0..8).map(|_| learner.step(&[]).unwrap().loss).last().unwrap();
    assert!(last < 0.5 * first.loss, "{last} is not half of {}", first.loss);
    let after = HostWeights::from_tensors(&BASE.weights.config, learner.snapshot().unwrap().tensors()).unwrap();
    assert!(margin(&after) > margin(&BASE.weights) + 1.0);
}

/// Takes six steps; then three, and three more in another process. Both must come to the same bits.
fn assert_resumable(dataset: &Dataset) {
    let demanding = || {
        offline(dataset.clone(), |settings| {
            settings.schedule = Schedule { kind: Decay::Cosine, warmup_steps: 2 };
            settings.optimizer.weight_decay = 0.01;
        })
    };
    let steps =
        |learner: &mut PolicyLearner, count| (0..count).for_each(|_| assert!(!learner.step(&[]).unwrap().skipped));
    let mut uninterrupted = demanding();
    steps(&mut uninterrupted, 3);
    let mut restored = demanding();
    restored.restore(&uninterrupted.save().unwrap()).unwrap();
    steps(&mut uninterrupted, 3);
    steps(&mut restored, 3);
    assert_eq!(digest(&restored), digest(&uninterrupted));
    assert_eq!(restored.save().unwrap(), uninterrupted.save().unwrap());
}

#[test]
fn a_restored_learner_goes_on_with_what_it_would_have_used() {
    assert_resumable(&of(conversations(5), 3));
    let items = Items::Endless(Arc::new(|number| Ok(said(number as u32, 0))));
    assert_resumable(&Dataset { items, batch: 2, seed: 0 });
}

#[test]
fn what_the_reference_says_is_the_same_bits_whenever_it_is_asked() {
    assert_resumable(&of_pairs(pairs(5), 3));
}

#[test]
fn sampled_episodes_and_their_temperature_have_no_part_in_it() {
    let dataset = || of(conversations(4), 2);
    let mut learner = offline(dataset(), |_| {});
    learner.adjust(&Adjustments { temperature: Some(0.5), ..Adjustments::default() });
    learner.step(&groups()).unwrap();
    assert_eq!(flat(&learner), stepped(dataset(), |_| {}));
}

#[test]
fn a_step_that_is_taken_back_was_never_taken() {
    let mut learner = offline(of(conversations(4), 2), |settings| settings.undoable = true);
    let base = flat(&learner);
    learner.step(&[]).unwrap();
    learner.undo().unwrap();
    assert_eq!(flat(&learner), base);
}

#[test]
fn what_an_objective_cannot_learn_from_is_refused() {
    let refused = |algorithm: Algorithm, dataset| {
        let settings = LearnerSettings { objective: algorithm.into(), ..settings() };
        matches!(PolicyLearner::offline(BASE.clone(), settings, dataset), Err(LearnerError::Batch(_)))
    };
    assert!(refused(Algorithm::Sft, of_pairs(pairs(1), 1)));
    assert!(refused(Algorithm::Dpo, of(conversations(1), 1)));
    assert!(refused(Algorithm::Grpo, of(conversations(1), 1)));
    assert!(refused(Algorithm::Sft, of(Vec::new(), 1)));
    assert!(refused(Algorithm::Sft, of(conversations(1), 0)));
    let mut hungry =
        PolicyLearner::new(BASE.clone(), LearnerSettings { objective: Algorithm::Sft.into(), ..settings() }).unwrap();
    assert!(matches!(hungry.step(&groups()), Err(LearnerError::Batch(_))));
}
