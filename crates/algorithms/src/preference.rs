//! Learning from preferences: of two answers to the same prompt, which is better.
//!
//! Every loss looks at two numbers: `u`, by how much likelier the policy makes the chosen answer than the reference does, and `v`, the same
//! of the rejected one; sums over an answer's tokens, in nats. With `D = u - v`, `x = beta D`, `S` the logistic function, `LS` its
//! logarithm, `e` the label smoothing, and `n_u`, `n_v` the answers' lengths in tokens:
//!
//! | Variant                              | Loss of a pair                                              | Source                       |
//! |--------------------------------------|-------------------------------------------------------------|------------------------------|
//! | [`Sigmoid`](Preference::Sigmoid)     | `-(1 - e) LS(x) - e LS(-x)`                                 | DPO, arXiv:2305.18290; smoothed, cDPO |
//! | [`Robust`](Preference::Robust)       | `(-(1 - e) LS(x) + e LS(-x)) / (1 - 2e)`                    | arXiv:2403.00409             |
//! | [`Hinge`](Preference::Hinge)         | `max(0, 1 - x)`                                             | SLiC, arXiv:2305.10425       |
//! | [`Ipo`](Preference::Ipo)             | `(u / n_u - v / n_v - 1 / (2 beta))^2`                      | IPO, arXiv:2310.12036, as in TRL |
//! | [`IpoSum`](Preference::IpoSum)       | `(D - 1 / (2 beta))^2`                                      | the same, as published and in OpenRLHF |
//! | [`ExoPair`](Preference::ExoPair)     | `S(x) (LS(x) - log(1 - e)) + S(-x) (LS(-x) - log e)`        | EXO, arXiv:2402.00856        |
//! | [`NcaPair`](Preference::NcaPair)     | `-LS(beta u) - LS(-beta u) / 2 - LS(-beta v) / 2`           | NCA, arXiv:2402.05369        |
//! | [`BcoPair`](Preference::BcoPair)     | `-LS(beta u) - LS(-beta v)`                                 | BCO, arXiv:2404.04656, without its shift |
//! | [`SppoHard`](Preference::SppoHard)   | `(u - 1 / (2 beta))^2 + (v + 1 / (2 beta))^2`               | SPPO, arXiv:2405.00675       |
//! | [`ApoZero`](Preference::ApoZero)     | `1 - S(beta u) + S(beta v)`                                 | APO, arXiv:2408.06266        |
//! | [`ApoDown`](Preference::ApoDown)     | `S(beta u) + 1 - S(x)`                                      | the same                     |
//! | [`DiscoPop`](Preference::DiscoPop)   | `-LS(x) (1 - g) + exp(-x) g`, `g = S(x / 0.05)`             | arXiv:2406.08414             |
//! | [`SigmoidNorm`](Preference::SigmoidNorm) | `-LS(beta (u / n_u - v / n_v))`                         | TRL                          |

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ratio::{Sloped, k3};
use crate::{Algorithm, Evaluation, Section, Sequence};

/// DiscoPOP's temperature.
const DISCOPOP: f64 = 0.05;

/// Exponents beyond this are cut off, nats.
const LIMIT: f64 = 80.0;

/// How a pair becomes a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// Direct preference optimisation.
    #[default]
    Sigmoid,
    /// Unbiased where some labels are wrong.
    Robust,
    /// Enough is enough.
    Hinge,
    /// A margin to be met, for each token.
    Ipo,
    /// A margin to be met, for the whole answer.
    IpoSum,
    /// Efficient exact optimisation. Needs label smoothing.
    ExoPair,
    /// Noise-contrastive alignment.
    NcaPair,
    /// A classifier of single answers.
    BcoPair,
    /// Self-play: both answers have their mark.
    SppoHard,
    /// The chosen answer becomes likelier, the rejected one less so.
    ApoZero,
    /// Both become less likely, the rejected one more so.
    ApoDown,
    /// A loss that a language model has discovered.
    DiscoPop,
    /// DPO of means instead of sums.
    SigmoidNorm,
}

/// What a pair comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Log-probability of the chosen answer under the policy, less that under the reference.
    pub chosen: f64,
    /// The same of the rejected answer.
    pub rejected: f64,
    /// Their lengths in tokens.
    pub tokens: (usize, usize),
}

/// A pair's loss, and its derivatives with respect to the policy's log-probability of each answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// The loss.
    pub loss: f64,
    /// With respect to the chosen answer's.
    pub d_chosen: f64,
    /// With respect to the rejected answer's.
    pub d_rejected: f64,
}

/// Direct preference optimisation and its relatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dpo {
    /// How a pair becomes a loss. Default `sigmoid`.
    pub loss: Preference,
    /// How closely the policy is held to the reference; above 0. Default 0.1.
    pub beta: f64,
    /// The share of pairs believed to be the wrong way round (`sigmoid`, `robust`, `exo_pair`). In `[0, 0.5)`; default 0.
    pub label_smoothing: f64,
    /// Pairs as JSON lines, to learn from in place of episodes. Default: none.
    pub file: Option<PathBuf>,
    /// Pairs of `file` a step. At least 1; default 16.
    pub batch: usize,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { loss: Preference::Sigmoid, beta: 0.1, label_smoothing: 0.0, file: None, batch: 16 }
    }
}

/// `log(1 / (1 + exp(-x)))`, without overflow.
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    log_sigmoid(x).exp()
}

/// `-log_sigmoid(x)` with its slope.
fn cost(x: f64) -> Sloped {
    Sloped { value: -log_sigmoid(x), slope: -sigmoid(-x) }
}

/// `sigmoid(x)` with its slope.
fn gate(x: f64) -> Sloped {
    Sloped { value: sigmoid(x), slope: sigmoid(x) * sigmoid(-x) }
}

impl Dpo {
    /// Everything that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let Self { loss, beta, label_smoothing, file: _, batch } = self;
        let mut problems = Vec::new();
        if !(*beta > 0.0 && beta.is_finite()) {
            problems.push(format!("beta must be above 0, but is {beta}"));
        }
        if !(0.0..0.5).contains(label_smoothing) {
            problems.push(format!("label_smoothing must be 0 or more and below 0.5, but is {label_smoothing}"));
        }
        if *batch == 0 {
            problems.push("batch must be at least 1, but is 0".to_owned());
        }
        match (loss, *label_smoothing > 0.0) {
            (Preference::ExoPair, false) => {
                problems.push("label_smoothing must be above 0 in exo_pair; its authors have 0.001".to_owned());
            }
            (Preference::Sigmoid | Preference::Robust | Preference::ExoPair, _) | (_, false) => {}
            (_, true) => problems.push(format!(
                "label_smoothing is set to {label_smoothing}, but only sigmoid, robust and exo_pair look at it"
            )),
        }
        problems
    }

    /// The loss of one pair.
    #[must_use]
    pub fn evaluate(&self, pair: Pair) -> PairLoss {
        let Pair { chosen: u, rejected: v, tokens } = pair;
        let (beta, e) = (self.beta, self.label_smoothing);
        let lengths = (tokens.0.max(1) as f64, tokens.1.max(1) as f64);
        let x = beta * (u - v);
        // Most losses look at the margin alone.
        let margin = |of: Sloped| PairLoss { loss: of.value, d_chosen: beta * of.slope, d_rejected: -beta * of.slope };
        match self.loss {
            Preference::Sigmoid => margin(smoothed(x, e, 1.0 - e)),
            Preference::Robust => {
                let Sloped { value, slope } = smoothed(x, -e, 1.0 - e);
                margin(Sloped { value: value / (1.0 - 2.0 * e), slope: slope / (1.0 - 2.0 * e) })
            }
            Preference::Hinge => margin(Sloped { value: (1.0 - x).max(0.0), slope: if x < 1.0 { -1.0 } else { 0.0 } }),
            Preference::ExoPair => margin(exact(x, e)),
            Preference::DiscoPop => margin(discovered(x)),
            Preference::Ipo => {
                let short = u / lengths.0 - v / lengths.1 - 0.5 / beta;
                PairLoss {
                    loss: short * short,
                    d_chosen: 2.0 * short / lengths.0,
                    d_rejected: -2.0 * short / lengths.1,
                }
            }
            Preference::IpoSum => {
                let short = u - v - 0.5 / beta;
                PairLoss { loss: short * short, d_chosen: 2.0 * short, d_rejected: -2.0 * short }
            }
            Preference::SigmoidNorm => {
                let Sloped { value, slope } = cost(beta * (u / lengths.0 - v / lengths.1));
                PairLoss { loss: value, d_chosen: beta * slope / lengths.0, d_rejected: -beta * slope / lengths.1 }
            }
            Preference::NcaPair => {
                let (up, down, other) = (cost(beta * u), cost(-beta * u), cost(-beta * v));
                PairLoss {
                    loss: up.value + 0.5 * (down.value + other.value),
                    d_chosen: beta * (up.slope - 0.5 * down.slope),
                    d_rejected: -0.5 * beta * other.slope,
                }
            }
            Preference::BcoPair => {
                let (up, down) = (cost(beta * u), cost(-beta * v));
                PairLoss { loss: up.value + down.value, d_chosen: beta * up.slope, d_rejected: -beta * down.slope }
            }
            Preference::SppoHard => {
                let (short, over) = (u - 0.5 / beta, v + 0.5 / beta);
                PairLoss { loss: short * short + over * over, d_chosen: 2.0 * short, d_rejected: 2.0 * over }
            }
            Preference::ApoZero => {
                let (up, down) = (gate(beta * u), gate(beta * v));
                let loss = 1.0 - up.value + down.value;
                PairLoss { loss, d_chosen: -beta * up.slope, d_rejected: beta * down.slope }
            }
            Preference::ApoDown => {
                let (up, apart) = (gate(beta * u), gate(x));
                let loss = up.value + 1.0 - apart.value;
                PairLoss { loss, d_chosen: beta * (up.slope - apart.slope), d_rejected: beta * apart.slope }
            }
        }
    }
}

impl Dpo {
    /// The loss of some of a batch's `pairs`: `sequences` are chosen, rejected, chosen, rejected, and so on. A pair counts as much as the
    /// first of its chosen answer's advantages says. Writes dLoss/dNew to `d_new`, one entry per token; tokens that were not sampled get 0.
    ///
    /// # Panics
    /// If an answer is without the other, or without a reference, or arrays differ in length.
    pub fn evaluate_pairs(&self, sequences: &[Sequence<'_>], pairs: usize, d_new: &mut [f64]) -> Evaluation {
        let (couples, alone) = sequences.as_chunks::<2>();
        assert!(alone.is_empty(), "every answer is half of a pair");
        let mut sum = Evaluation::default();
        let mut rest = d_new;
        for couple in couples {
            let [chosen, rejected] = couple.map(|sequence| sum.compare(&sequence));
            let counts = couple[0].advantages.first().copied().unwrap_or(0.0) / pairs.max(1) as f64;
            let tokens = (couple[0].sampled(), couple[1].sampled());
            let found = self.evaluate(Pair { chosen, rejected, tokens });
            sum.loss += counts * found.loss;
            for (sequence, slope) in couple.iter().zip([found.d_chosen, found.d_rejected]) {
                let (slopes, after) = rest.split_at_mut(sequence.new.len());
                rest = after;
                let of = |sampled: bool| if sampled { counts * slope } else { 0.0 };
                slopes.iter_mut().zip(sequence.mask).for_each(|(it, sampled)| *it = of(*sampled));
            }
        }
        assert!(rest.is_empty(), "d_new has {} more entries than the sequences have tokens", rest.len());
        sum
    }
}

/// `right * -LS(x) + wrong * -LS(-x)`.
fn smoothed(x: f64, wrong: f64, right: f64) -> Sloped {
    let (up, down) = (cost(x), cost(-x));
    Sloped { value: right * up.value + wrong * down.value, slope: right * up.slope - wrong * down.slope }
}

fn exact(x: f64, e: f64) -> Sloped {
    let Sloped { value: up, slope } = gate(x);
    let (right, wrong) = (log_sigmoid(x) - (1.0 - e).ln(), log_sigmoid(-x) - e.ln());
    Sloped { value: up * right + (1.0 - up) * wrong, slope: slope * (right - wrong) }
}

fn discovered(x: f64) -> Sloped {
    let blend = gate(x / DISCOPOP);
    let fall = Sloped { value: (-x).min(LIMIT).exp(), slope: if -x > LIMIT { 0.0 } else { -(-x).exp() } };
    let cost = cost(x);
    Sloped {
        value: cost.value * (1.0 - blend.value) + fall.value * blend.value,
        slope: cost.slope * (1.0 - blend.value)
            + fall.slope * blend.value
            + (fall.value - cost.value) * blend.slope / DISCOPOP,
    }
}

impl Evaluation {
    /// Counts a sequence's tokens. Returns by how much likelier the policy makes it than the reference does, nats.
    fn compare(&mut self, sequence: &Sequence<'_>) -> f64 {
        let reference = sequence.reference.expect("a preference is measured from a reference policy");
        let mut likelier = 0.0;
        for t in sequence.sampled_at() {
            self.tokens += 1;
            self.ratio_sum += 1.0;
            self.kl_sum += k3(sequence.new[t], reference[t]).value;
            likelier += sequence.new[t] - reference[t];
        }
        likelier
    }
}

impl Section for Dpo {
    const NAME: &'static str = "dpo";

    fn problems(&self) -> Vec<String> {
        self.validate()
    }

    fn idle(&self, _algorithm: Algorithm) -> Vec<(&'static str, &'static str)> {
        if self.file.is_some() { Vec::new() } else { vec![("batch", "dpo with a `file`")] }
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            idle.validate(),
            ["label_smoothing is set to 0.1, but only sigmoid, robust and exo_pair look at it"]
        );
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
}
