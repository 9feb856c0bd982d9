//! Whole next-token distributions, as plain numbers.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Log-probabilities of every token at every scored position `[rows, vocab]`, nats.
pub(crate) struct Distributions {
    vocab: usize,
    log_p: Vec<f32>,
}

impl Distributions {
    /// `log softmax(logits / temperature)`, of logits `[rows, vocab]`.
    pub(crate) fn of(logits: &Tensor, temperature: f32) -> Result<Self> {
        let (_, vocab) = logits.dims2()?;
        let mut log_p = logits.flatten_all()?.to_vec1::<f32>()?;
        log_p.par_chunks_mut(vocab).for_each(|row| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|z| *z = (*z - largest) / temperature);
            let log_sum = row.iter().map(|z| f64::from(z.exp())).sum::<f64>().ln() as f32;
            row.iter_mut().for_each(|z| *z -= log_sum);
        });
        Ok(Self { vocab, log_p })
    }

    /// How many positions there are.
    pub(crate) fn rows(&self) -> usize {
        self.log_p.len() / self.vocab
    }

    /// The log-probability of one token at each position.
    pub(crate) fn select(&self, targets: &[u32]) -> Vec<f64> {
        let rows = self.log_p.chunks(self.vocab).zip(targets);
        rows.map(|(row, target)| f64::from(row[*target as usize])).collect()
    }

    /// The sum over positions of `KL(self, other)`, nats.
    pub(crate) fn kl_sum(&self, other: &Self) -> f64 {
        let rows = self.log_p.par_chunks(self.vocab).zip(other.log_p.par_chunks(self.vocab));
        let kl = |(new, old): (&[f32], &[f32])| -> f64 {
            let term = |(new, old): (&f32, &f32)| f64::from(new.exp()) * f64::from(new - old);
            new.iter().zip(old).map(term).sum()
        };
        // Collected first: a parallel sum would depend on how the rows were split.
        rows.map(kl).collect::<Vec<f64>>().iter().sum()
    }

    /// `(diag p - p p^T) u` at every position, for `u` `[rows, vocab]`, times `scale`; in place.
    pub(crate) fn spread(&self, u: &mut [f32], scale: f32) {
        u.par_chunks_mut(self.vocab).zip(self.log_p.par_chunks(self.vocab)).for_each(|(u, log_p)| {
            let mean = u.iter().zip(log_p).map(|(u, lp)| f64::from(lp.exp()) * f64::from(*u)).sum::<f64>() as f32;
            u.iter_mut().zip(log_p).for_each(|(u, lp)| *u = scale * lp.exp() * (*u - mean));
        });
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn two_rows() -> Distributions {
        let logits = Tensor::new(&[[0.0f32, 1.0, 2.0], [5.0, 5.0, 5.0]], &Device::Cpu).unwrap();
        Distributions::of(&logits, 0.5).unwrap()
    }

    #[test]
    fn probabilities_are_of_the_distribution_at_the_temperature() {
        let found = two_rows().select(&[2, 0]);
        // exp(4) / (1 + exp(2) + exp(4)), and one third
        let first = (4.0f64.exp() / (1.0 + 2.0f64.exp() + 4.0f64.exp())).ln();
        assert!((found[0] - first).abs() < 1e-6 && (found[1] + 3.0f64.ln()).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn kl_is_0_from_itself_and_as_defined_from_another() {
        let (this, other) = (two_rows(), {
            let logits = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
            Distributions::of(&logits, 1.0).unwrap()
        });
        assert_eq!(this.kl_sum(&this), 0.0);
        // log 3 less the entropy of the first row
        let p: Vec<f64> = [0, 1, 2].map(|t| this.select(&[t])[0].exp()).to_vec();
        let expected = 3.0f64.ln() + p.iter().map(|p| p * p.ln()).sum::<f64>();
        assert!((this.kl_sum(&other) - expected).abs() < 1e-6);
    }

    #[test]
    fn what_all_logits_share_spreads_to_nothing() {
        let mut u = vec![3.0; 6];
        two_rows().spread(&mut u, 1.0);
        assert!(u.iter().all(|it| it.abs() < 1e-6), "{u:?}");
    }
}
