use proptest::prelude::*;

use super::*;

const ALL: [Preference; 13] = [
    Preference::Sigmoid,
    Preference::Robust,
    Preference::Hinge,
    Preference::Ipo,
    Preference::IpoSum,
    Preference::ExoPair,
    Preference::NcaPair,
    Preference::BcoPair,
    Preference::SppoHard,
    Preference::ApoZero,
    Preference::ApoDown,
    Preference::DiscoPop,
    Preference::SigmoidNorm,
];

/// Of an answer of 10 tokens that became likelier by a nat, and one of 8 that became less so by two; `beta` is 0.1.
fn loss(loss: Preference, label_smoothing: f64) -> f64 {
    let pair = Pair { chosen: 1.0, rejected: -2.0, tokens: (10, 8) };
    Dpo { loss, label_smoothing, ..Dpo::default() }.evaluate(pair).loss
}

#[test]
fn a_pair_that_is_three_nats_apart() {
    let golden = [
        (Preference::Sigmoid, 0.0, 0.554355),
        (Preference::Sigmoid, 0.1, 0.584355),
        (Preference::Robust, 0.1, 0.516855),
        (Preference::Hinge, 0.0, 0.700000),
        (Preference::Ipo, 0.0, 21.622500),
        (Preference::IpoSum, 0.0, 4.000000),
        (Preference::ExoPair, 0.001, 2.258199),
        (Preference::NcaPair, 0.0, 1.315664),
        (Preference::BcoPair, 0.0, 1.242536),
        (Preference::SppoHard, 0.0, 25.0),
        (Preference::ApoZero, 0.0, 0.925187),
        (Preference::ApoDown, 0.0, 0.950537),
        (Preference::DiscoPop, 0.0, 0.740357),
        (Preference::SigmoidNorm, 0.0, 0.675800),
    ];
    for (preference, smoothing, expected) in golden {
        let found = loss(preference, smoothing);
        assert!((found - expected).abs() < 5e-7, "{preference:?}: {found} is not {expected}");
    }
}

#[test]
fn a_policy_that_is_its_reference_is_pulled_towards_the_chosen_answer() {
    // DiscoPOP's loss rises before it falls.
    for loss in ALL.into_iter().filter(|loss| *loss != Preference::DiscoPop) {
        let dpo =
            Dpo { loss, label_smoothing: if loss == Preference::ExoPair { 0.001 } else { 0.0 }, ..Dpo::default() };
        let found = dpo.evaluate(Pair { chosen: 0.0, rejected: 0.0, tokens: (4, 4) });
        assert!(found.d_rejected > 0.0 && found.d_chosen < found.d_rejected, "{loss:?}: {found:?}");
        assert!(found.d_chosen <= 0.0, "{loss:?}: {found:?}");
    }
}

#[test]
fn every_token_of_an_answer_gets_its_answers_slope_and_pairs_are_averaged() {
    let answer = |new: &'static [f64], reference: &'static [f64], advantages| Sequence {
        new,
        old: new,
        reference: Some(reference),
        mask: &[true, false, true],
        advantages,
        weights: None,
        entropies: None,
    };
    let chosen = answer(&[-1.0, f64::NAN, -1.0], &[-1.5, 0.0, -1.5], &[1.0; 3]);
    let rejected = answer(&[-3.0, f64::NAN, -3.0], &[-2.0, 0.0, -2.0], &[-1.0; 3]);
    let silent = answer(&[-1.0; 3], &[-1.0; 3], &[0.0; 3]);
    let mut slopes = [f64::NAN; 12];
    let dpo = Dpo::default();
    let found = dpo.evaluate_pairs(&[chosen, rejected, silent, silent], 2, &mut slopes);
    let one = dpo.evaluate(Pair { chosen: 1.0, rejected: -2.0, tokens: (2, 2) });
    assert!((found.loss - one.loss / 2.0).abs() < 1e-12 && found.tokens == 8);
    let (up, down) = (one.d_chosen / 2.0, one.d_rejected / 2.0);
    let expected = [up, 0.0, up, down, 0.0, down, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert!(slopes.iter().zip(expected).all(|(slope, it)| (slope - it).abs() < 1e-12), "{slopes:?}");
}

#[test]
fn settings_out_of_range_or_out_of_place_are_reported() {
    let dpo = Dpo { beta: 0.0, label_smoothing: 0.6, ..Dpo::default() };
    assert_eq!(dpo.validate().len(), 2);
    assert_eq!(Dpo { loss: Preference::ExoPair, ..Dpo::default() }.validate().len(), 1);
    let idle = Dpo { loss: Preference::Hinge, label_smoothing: 0.1, ..Dpo::default() };
    assert_eq!(idle.validate(), ["label_smoothing is set to 0.1, but only sigmoid, robust and exo_pair look at it"]);
    assert!(Dpo::default().validate().is_empty());
}

proptest! {
    #[test]
    fn slopes_are_derivatives(
        u in -400.0..400.0f64, v in -400.0..400.0f64, near in any::<bool>(), beta in 0.02..1.0f64,
        smoothing in 0.001..0.4f64, loss in prop::sample::select(ALL.to_vec()), tokens in (0..9usize, 0..9usize),
    ) {
        const STEP: f64 = 1e-5;
        let (u, v) = if near { (u / 100.0, v / 100.0) } else { (u, v) };
        let dpo = Dpo { loss, beta, label_smoothing: smoothing, ..Dpo::default() };
        // The edges of the hinge and of what is cut off.
        let x = beta * (u - v);
        prop_assume!((x - 1.0).abs() > 1e-3 && (x + LIMIT).abs() > 1e-3);
        let at = |du: f64, dv: f64| dpo.evaluate(Pair { chosen: u + du, rejected: v + dv, tokens });
        let found = at(0.0, 0.0);
        prop_assert!(found.loss.is_finite() && found.d_chosen.is_finite() && found.d_rejected.is_finite());
        let rounding = 8.0 * f64::EPSILON * found.loss.abs().max(1.0) / STEP;
        let chosen = (at(STEP, 0.0).loss - at(-STEP, 0.0).loss) / (2.0 * STEP);
        let rejected = (at(0.0, STEP).loss - at(0.0, -STEP).loss) / (2.0 * STEP);
        // DiscoPOP bends within a twentieth.
        let close = |a: f64, b: f64| (a - b).abs() < 1e-5 * a.abs().max(1.0) + rounding;
        prop_assert!(close(found.d_chosen, chosen), "{:?}: {} is not {}", loss, found.d_chosen, chosen);
        prop_assert!(close(found.d_rejected, rejected), "{:?}: {} is not {}", loss, found.d_rejected, rejected);
    }
}
