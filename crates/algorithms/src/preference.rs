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
mod tests;
