//! What a policy's step makes larger, by name.

use serde::{Deserialize, Serialize};

use super::token::{Term, clip, dppo, reinforce, sapo, weighed};
use super::{Evaluation, Sequence, sequence as whole};
use crate::Grpo;
use crate::ratio::importance;

/// What is made larger.
///
/// With the ratio `r = exp(new - old)` of a token, `s` the geometric mean of an answer's ratios, `w` their product, and the advantage `A`,
/// a token loses (`sg` marks what is not differentiated through):
///
/// | Variant                    | Loss                                                      | Source                                   |
/// |----------------------------|-----------------------------------------------------------|------------------------------------------|
/// | [`Clip`](Self::Clip)       | `-min(min(r, c) A, clip(r) A)`                            | PPO, arXiv:1707.06347; dual clip, arXiv:1912.09729 |
/// | [`Gspo`](Self::Gspo)       | the same with `s`                                         | GSPO, arXiv:2507.18071                   |
/// | [`GspoToken`](Self::GspoToken) | the same value; each token's slope by its own advantage | GSPO §4.3                             |
/// | [`Gmpo`](Self::Gmpo)       | `-A exp(mean log r)`, each `log r` clipped against `A`    | GMPO, arXiv:2507.20673                   |
/// | [`Cispo`](Self::Cispo)     | `-sg(min(r, ratio_max)) A log p`                          | MiniMax-M1, arXiv:2506.13585; TRL's bound |
/// | [`CispoRange`](Self::CispoRange) | `-sg(clip(r, 1 - clip_low, 1 + clip_high)) A log p` | verl's bounds                            |
/// | [`Sapo`](Self::Sapo)       | `-(4 / T) sigmoid(T (r - 1)) A`                           | SAPO, arXiv:2511.20347                   |
/// | [`Vespo`](Self::Vespo)     | `-sg(exp(l + k log w - l w)) A log p`                     | VESPO, as in TRL                         |
/// | [`Dppo`](Self::Dppo)       | `-[p moved by no more than the range] r A + 1e-3 (log r)^2` | prime-rl                               |
/// | [`Reinforce`](Self::Reinforce) | `-A log p`                                            | Williams 1992; A2C                       |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// PPO's clipped ratio.
    #[default]
    Clip,
    /// One ratio for the whole answer.
    Gspo,
    /// One ratio for the whole answer, an advantage for each token.
    GspoToken,
    /// The geometric mean of clipped ratios.
    Gmpo,
    /// Log-probabilities weighed by ratios that are cut off above.
    Cispo,
    /// Log-probabilities weighed by ratios that are cut off on both sides.
    CispoRange,
    /// A soft gate in place of a clip.
    Sapo,
    /// Log-probabilities weighed by a function of the whole answer's ratio.
    Vespo,
    /// Ratios, as long as probabilities have not moved far.
    Dppo,
    /// Log-probabilities alone.
    Reinforce,
}

impl Surrogate {
    /// Every one of them.
    pub const ALL: [Self; 10] = [
        Self::Clip,
        Self::Gspo,
        Self::GspoToken,
        Self::Gmpo,
        Self::Cispo,
        Self::CispoRange,
        Self::Sapo,
        Self::Vespo,
        Self::Dppo,
        Self::Reinforce,
    ];

    /// The loss of one sequence whose tokens weigh `pushes`. Writes the slopes of its sampled tokens to `d_new`.
    pub(super) fn evaluate(
        self,
        settings: &Grpo,
        sequence: &Sequence<'_>,
        pushes: &[f64],
        d_new: &mut [f64],
    ) -> Evaluation {
        let range = (1.0 - settings.clip_low, 1.0 + settings.clip_high);
        let Sequence { new, old, advantages, .. } = *sequence;
        let ratio = |t: usize| importance(new[t], old[t]);
        let mut token = |term: &dyn Fn(usize) -> Term| {
            let mut sum = Evaluation::default();
            for t in sequence.sampled_at() {
                let term = term(t);
                sum.count(ratio(t).value, &term);
                sum.loss += pushes[t] * term.value;
                d_new[t] = pushes[t] * term.slope;
            }
            sum
        };
        match self {
            Self::Clip => token(&|t| clip(settings, ratio(t), advantages[t])),
            Self::Cispo => token(&|t| weighed(ratio(t).value, (0.0, settings.ratio_max), new[t], advantages[t])),
            Self::CispoRange => token(&|t| weighed(ratio(t).value, range, new[t], advantages[t])),
            Self::Sapo => token(&|t| sapo(ratio(t), advantages[t])),
            Self::Dppo => token(&|t| dppo(settings, new[t], old[t], advantages[t])),
            Self::Reinforce => token(&|t| reinforce(new[t], advantages[t])),
            Self::Gspo => whole::gspo(settings, sequence, pushes, false, d_new),
            Self::GspoToken => whole::gspo(settings, sequence, pushes, true, d_new),
            Self::Gmpo => whole::gmpo(settings, sequence, pushes, d_new),
            Self::Vespo => whole::vespo(sequence, pushes, d_new),
        }
    }
}
