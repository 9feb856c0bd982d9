//! Choosing the next token, and recording the log-probability it was chosen with.
//!
//! Filters apply in the order of the [`Sampling`] fields: temperature, top-k, top-p (nucleus, Holtzman et al., arXiv:1904.09751), min-p
//! (arXiv:2407.01082). What survives is renormalised, and the recorded log-probability is under that distribution.

use stateset_domain::{Sampling, Stream};
use stateset_kernels::cpu;

/// The token chosen for a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Its id.
    pub token: u32,
    /// Log-probability (nats) under the distribution it was drawn from; under the full distribution when greedy.
    pub log_prob: f32,
}

/// How the token behind a row is to be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// Which row of the step.
    pub row: usize,
    /// By which distribution.
    pub sampling: &'a Sampling,
    /// By the uniform number at `position` of this stream.
    pub stream: Stream,
    /// Where in the stream.
    pub position: u64,
}

/// Chooses tokens. Holds nothing but scratch space, so that results never depend on earlier calls.
#[derive(Debug, Default)]
pub struct Sampler {
    order: Vec<u32>,
    survivors: Vec<f32>,
    sums: Vec<f64>,
}

impl Sampler {
    /// Chooses from `logits[vocab]`, which are overwritten, by the uniform number `u` in `[0, 1)`. Logits that are no distribution
    /// (a NaN, a positive infinity) give a log-probability of NaN.
    ///
    /// # Panics
    /// If there are no logits.
    pub fn choose(&mut self, logits: &mut [f32], sampling: &Sampling, u: f64) -> Choice {
        let mut largest = cpu::max(logits);
        if sampling.temperature == 0.0 {
            return greedy(logits, largest);
        }
        if sampling.temperature != 1.0 {
            let scale = 1.0 / sampling.temperature;
            logits.iter_mut().for_each(|z| *z *= scale);
            largest *= scale;
        }
        let sum = cpu::exp_in_place(logits, largest);
        if sum.is_nan() {
            return Choice { token: 0, log_prob: f32::NAN };
        }
        if filters(sampling) { self.choose_filtered(logits, sampling, u) } else { draw(logits, sum, u, &mut self.sums) }
    }

    fn choose_filtered(&mut self, weights: &[f32], sampling: &Sampling, u: f64) -> Choice {
        self.order.clear();
        self.order.extend(0..weights.len() as u32);
        let weight = |id: &u32| weights[*id as usize];
        // Ties break by id, so that the order does not depend on the sort.
        let by_weight = |a: &u32, b: &u32| weight(b).total_cmp(&weight(a)).then(a.cmp(b));
        if sampling.top_k > 0 && sampling.top_k < weights.len() {
            self.order.select_nth_unstable_by(sampling.top_k, by_weight);
            self.order.truncate(sampling.top_k);
        }
        self.order.sort_unstable_by(by_weight);
        if sampling.top_p < 1.0 {
            let enough = f64::from(sampling.top_p) * self.order.iter().map(|id| f64::from(weight(id))).sum::<f64>();
            let mut held = 0.0;
            let kept = self.order.iter().take_while(|id| {
                let more = held < enough;
                held += f64::from(weight(id));
                more
            });
            let kept = kept.count().max(1);
            self.order.truncate(kept);
        }
        let least = sampling.min_p * weight(&self.order[0]);
        self.order.retain(|id| weight(id) >= least);
        self.survivors.clear();
        self.survivors.extend(self.order.iter().map(weight));
        let choice = draw(&self.survivors, self.survivors.iter().sum(), u, &mut self.sums);
        Choice { token: self.order[choice.token as usize], ..choice }
    }
}

fn filters(sampling: &Sampling) -> bool {
    sampling.top_k > 0 || sampling.top_p < 1.0 || sampling.min_p > 0.0
}

fn greedy(logits: &mut [f32], largest: f32) -> Choice {
    let token = logits.iter().position(|z| *z == largest).unwrap_or(0) as u32;
    let sum = cpu::exp_in_place(logits, largest);
    Choice { token, log_prob: -sum.ln() }
}

/// Weights that are added up together before one of them is looked for.
const BLOCK: usize = 256;

/// Inverse transform over unnormalised `weights`: first the block in which `u` falls, then the weight within it. `sums` is scratch.
fn draw(weights: &[f32], sum: f32, u: f64, sums: &mut Vec<f64>) -> Choice {
    sums.clear();
    sums.extend(weights.chunks(BLOCK).map(wide_sum));
    let mut left = u * sums.iter().sum::<f64>();
    let last = sums.len() - 1;
    let block = sums[..last].iter().position(|sum| {
        let here = left < *sum;
        left -= if here { 0.0 } else { *sum };
        here
    });
    let start = block.unwrap_or(last) * BLOCK;
    let end = (start + BLOCK).min(weights.len());
    let within = weights[start..end].iter().position(|w| {
        left -= f64::from(*w);
        left < 0.0
    });
    let token = within.map_or(end - 1, |i| start + i);
    Choice { token: token as u32, log_prob: (weights[token] / sum).ln() }
}

/// Eight sums side by side, which need not wait for one another.
fn wide_sum(weights: &[f32]) -> f64 {
    let (eights, rest) = weights.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for eight in eights {
        lanes.iter_mut().zip(eight).for_each(|(lane, w)| *lane += f64::from(*w));
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|w| f64::from(*w)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(logits: &[f32], sampling: &Sampling, u: f64) -> Choice {
        Sampler::default().choose(&mut logits.to_vec(), sampling, u)
    }

    /// Probabilities 1/2, 1/4, 1/8, 1/8 in logit form.
    fn halves() -> Vec<f32> {
        [0.5f32, 0.25, 0.125, 0.125].iter().map(|p| p.ln()).collect()
    }

    fn log_prob_is(choice: Choice, p: f32) -> bool {
        (choice.log_prob - p.ln()).abs() < 1e-6
    }

    #[test]
    fn unfiltered_choices_follow_the_inverse_transform() {
        let plain = Sampling::default();
        for (u, token, p) in [(0.0, 0, 0.5), (0.49, 0, 0.5), (0.6, 1, 0.25), (0.8, 2, 0.125), (0.999, 3, 0.125)] {
            let choice = chosen(&halves(), &plain, u);
            assert!(choice.token == token && log_prob_is(choice, p), "{u}: {choice:?}");
        }
    }

    #[test]
    fn filters_renormalise_what_survives() {
        let top_k = Sampling { top_k: 2, ..Sampling::default() };
        assert!(log_prob_is(chosen(&halves(), &top_k, 0.99), 1.0 / 3.0));
        let top_p = Sampling { top_p: 0.6, ..Sampling::default() };
        let choice = chosen(&halves(), &top_p, 0.99);
        assert!(choice.token == 1 && log_prob_is(choice, 1.0 / 3.0));
        let min_p = Sampling { min_p: 0.6, ..Sampling::default() };
        let choice = chosen(&halves(), &min_p, 0.99);
        assert!(choice.token == 0 && log_prob_is(choice, 1.0));
    }

    #[test]
    fn temperature_zero_is_greedy_and_reports_the_full_distribution() {
        let choice = chosen(&halves(), &Sampling { temperature: 0.0, top_k: 3, ..Sampling::default() }, 0.99);
        assert!(choice.token == 0 && log_prob_is(choice, 0.5));
    }

    #[test]
    fn temperature_sharpens_before_the_draw() {
        let sharp = chosen(&halves(), &Sampling { temperature: 0.5, ..Sampling::default() }, 0.0);
        let expected = 0.25 / (0.25 + 0.0625 + 2.0 * 0.015_625);
        assert!(log_prob_is(sharp, expected), "{sharp:?}");
    }

    #[test]
    fn a_large_vocabulary_is_drawn_from_as_one_sum_would_have_it() {
        for vocab in [255, 256, 257, 1000] {
            let logits: Vec<f32> = (0..vocab).map(|i| (i * 37 % 101) as f32 * 0.05).collect();
            let total: f64 = logits.iter().map(|z| f64::from(*z).exp()).sum();
            for u in (0..500).map(|i| (f64::from(i) + 0.5) / 500.0) {
                let Choice { token, log_prob } = chosen(&logits, &Sampling::default(), u);
                let p = |i: usize| f64::from(logits[i]).exp() / total;
                let below: f64 = (0..token as usize).map(p).sum();
                let own = p(token as usize);
                assert!(below - 1e-5 < u && u < below + own + 1e-5, "{vocab}: {u} is not in token {token}");
                assert!((f64::from(log_prob) - own.ln()).abs() < 1e-5);
            }
        }
    }
}
