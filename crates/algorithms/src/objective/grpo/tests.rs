//! Golden values by hand, properties over random batches, and what is at the edges.

mod golden;
mod properties;

use crate::staleness::{Mode, Rule};
use crate::{
    Advantage, Aggregation, Answer, Evaluation, Grpo, ImportanceSampling, KlEstimator, Normalizer, Sequence, Slopes,
    Staleness, Surrogate,
};

/// A sequence that owns its numbers.
#[derive(Debug, Clone)]
struct Tokens {
    new: Vec<f64>,
    old: Vec<f64>,
    reference: Vec<f64>,
    mask: Vec<bool>,
    advantages: Vec<f64>,
    weights: Option<Vec<f64>>,
}

impl Tokens {
    fn sampled(new: &[f64], old: &[f64], reference: &[f64], advantage: f64) -> Self {
        let [new, old, reference] = [new, old, reference].map(<[f64]>::to_vec);
        let (mask, advantages) = (vec![true; new.len()], vec![advantage; new.len()]);
        Self { mask, new, old, reference, advantages, weights: None }
    }

    fn view(&self) -> Sequence<'_> {
        let Self { new, old, reference, mask, advantages, weights } = self;
        Sequence {
            new,
            old,
            reference: Some(reference),
            mask,
            advantages,
            weights: weights.as_deref(),
            entropies: None,
        }
    }
}

const AGGREGATIONS: [Aggregation; 4] =
    [Aggregation::Grpo, Aggregation::Dapo, Aggregation::DrGrpo, Aggregation::SequenceSum];

fn normalizer(grpo: &Grpo, batch: &[Tokens]) -> Normalizer {
    grpo.normalizer(batch.iter().map(|sequence| sequence.view().sampled()))
}

/// Evaluates `part` of a batch; the slopes come sequence after sequence.
fn evaluate(grpo: &Grpo, part: &[Tokens], normalizer: &Normalizer) -> (Evaluation, Vec<f64>) {
    let views: Vec<_> = part.iter().map(Tokens::view).collect();
    let mut slopes = Slopes::zeros(part.iter().map(|sequence| sequence.new.len()).sum());
    slopes.log_probs.fill(f64::NAN);
    let evaluation = grpo.evaluate(&views, normalizer, &mut slopes);
    (evaluation, slopes.log_probs)
}

fn whole(grpo: &Grpo, batch: &[Tokens]) -> (Evaluation, Vec<f64>) {
    evaluate(grpo, batch, &normalizer(grpo, batch))
}

/// A token of which nothing but its log-probability is known.
fn alone() -> Sequence<'static> {
    Sequence {
        new: &[-1.0],
        old: &[-1.0],
        reference: None,
        mask: &[true],
        advantages: &[1.0],
        weights: None,
        entropies: None,
    }
}

#[test]
fn entropy_earns_what_its_token_weighs() {
    let entropies = [0.5, f64::NAN, 2.0];
    let mask = [true, false, true];
    let (zeros, advantages) = ([0.0; 3], [0.0; 3]);
    let sequence = Sequence {
        new: &zeros,
        old: &zeros,
        mask: &mask,
        advantages: &advantages,
        entropies: Some(&entropies),
        ..alone()
    };
    let grpo = Grpo { entropy_coef: 0.1, ..Grpo::default() };
    let mut slopes = Slopes::zeros(3);
    // Two of four tokens of the batch: (0.5 + 2) x 0.1 / 4.
    let evaluation = grpo.evaluate(&[sequence], &grpo.normalizer([2, 2]), &mut slopes);
    assert!((evaluation.loss + 0.0625).abs() < 1e-12, "{evaluation:?}");
    assert_eq!(slopes.entropies, [-0.025, 0.0, -0.025]);
}

#[test]
fn how_far_a_policy_has_moved_is_measured_from_where_the_update_began() {
    let sequence =
        Sequence { new: &[-1.0, -2.0], old: &[-1.5, -2.0], mask: &[true; 2], advantages: &[0.0; 2], ..alone() };
    let grpo = Grpo::default();
    let moved = grpo.evaluate(&[sequence], &grpo.normalizer([2]), &mut Slopes::zeros(2)).mean_moved();
    // exp(.5) - .5 - 1 for the one that moved
    assert!((moved - (0.5f64.exp() - 1.5) / 2.0).abs() < 1e-12, "{moved}");
}

#[test]
fn without_a_reference_there_is_no_kl() {
    let sequence = alone();
    let grpo = Grpo::default();
    let evaluation = grpo.evaluate(&[sequence], &grpo.normalizer([1]), &mut Slopes::zeros(1));
    assert_eq!((evaluation.loss, evaluation.mean_kl()), (-1.0, 0.0));
}

#[test]
#[should_panic(expected = "a KL term needs a reference policy")]
fn a_kl_term_without_a_reference_is_refused() {
    let sequence = alone();
    let grpo = Grpo { kl_coef: 0.1, ..Grpo::default() };
    grpo.evaluate(&[sequence], &grpo.normalizer([1]), &mut Slopes::zeros(1));
}

#[test]
fn an_episode_that_sampled_nothing_adds_nothing() {
    let silent = Tokens { mask: vec![false; 2], ..Tokens::sampled(&[-1.0, -2.0], &[-1.0; 2], &[-1.0; 2], 1.0) };
    let empty = Tokens::sampled(&[], &[], &[], 1.0);
    for (aggregation, surrogate) in
        AGGREGATIONS.into_iter().flat_map(|it| Surrogate::ALL.map(|surrogate| (it, surrogate)))
    {
        let grpo = Grpo { aggregation, surrogate, ..Grpo::default() };
        let (evaluation, slopes) = whole(&grpo, &[silent.clone(), empty.clone()]);
        assert_eq!((evaluation.loss.abs(), evaluation.tokens, slopes), (0.0, 0, vec![0.0; 2]), "{grpo:?}");
        assert_eq!((evaluation.clip_fraction(), evaluation.mean_ratio()), (0.0, 0.0));
    }
}

#[test]
fn a_token_that_either_policy_rules_out_keeps_the_batch_finite() {
    let infinite = f64::NEG_INFINITY;
    for (surrogate, advantage) in Surrogate::ALL.into_iter().flat_map(|it| [(it, 1.5), (it, -0.5)]) {
        let grpo = Grpo { kl_coef: 0.1, surrogate, ..Grpo::default() };
        let tokens =
            Tokens::sampled(&[infinite, -1.0, -1.0], &[-1.0, -900.0, -1.0], &[-1.0, -1.0, infinite], advantage);
        let (evaluation, slopes) = whole(&grpo, &[tokens]);
        assert!(
            evaluation.loss.is_finite() && slopes.iter().all(|slope| slope.is_finite()),
            "{surrogate:?}: {evaluation:?} {slopes:?}"
        );
    }
}
