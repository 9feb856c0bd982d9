//! How far a rate can be trusted.

/// Wilson's 95 % interval of a rate measured `n` times: unlike the usual one it stays within 0 and 1, and is honest near both.
pub(crate) fn interval(rate: f64, n: u64) -> (f64, f64) {
    let (n, z) = (n.max(1) as f64, 1.96_f64);
    let centre = (rate + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let reach = z / (1.0 + z * z / n) * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - reach).max(0.0), (centre + reach).min(1.0))
}

/// The 97.5 % quantile of Student's distribution. Beyond the table it is rounded up to the last one in it.
pub(crate) fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 15] =
        [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131];
    TABLE[freedom.clamp(1, TABLE.len()) - 1]
}

/// The mean of `rates`.
pub(crate) fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / rates.len() as f64
}

/// The sample variance of two rates or more; 0 of fewer.
pub(crate) fn variance(rates: &[f64]) -> f64 {
    let mean = mean(rates);
    let squares: f64 = rates.iter().map(|rate| (rate - mean).powi(2)).sum();
    if rates.len() < 2 { 0.0 } else { squares / (rates.len() - 1) as f64 }
}

/// The 95 % interval of the mean of runs that differ in their seed only: Student's over runs, and at least Wilson's over all episodes,
/// for runs that happen to agree have no spread and still an error.
pub(crate) fn of_mean(rates: &[f64], episodes: u64) -> (f64, f64) {
    let mean = mean(rates);
    let (low, high) = interval(mean, episodes);
    if rates.len() < 2 {
        return (low, high);
    }
    let reach = student(rates.len() - 1) * (variance(rates) / rates.len() as f64).sqrt();
    (low.min(mean - reach).max(0.0), high.max(mean + reach).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_wilsons() {
        // 8 of 10: centre (.8 + .19208) / 1.38416 = .71674, reach 1.96 / 1.38416 * sqrt(.016 + .0096040) = .22658.
        let (low, high) = interval(0.8, 10);
        assert!((low - 0.4902).abs() < 1e-3 && (high - 0.9433).abs() < 1e-3, "{low} {high}");
        assert_eq!(interval(0.0, 256).0, 0.0);
    }

    #[test]
    fn the_mean_of_several_runs_has_students_interval_and_that_of_one_wilsons() {
        // mean .8, s = .1, k = 3: reach 4.303 * .1 / sqrt(3) = .2484.
        let (low, high) = of_mean(&[0.7, 0.8, 0.9], 768);
        assert!((low - 0.5516).abs() < 1e-3 && high == 1.0, "{low} {high}");
        assert_eq!(of_mean(&[0.8], 256), interval(0.8, 256));
        assert!(of_mean(&[1.0, 1.0], 512).0 < 1.0, "agreement by chance is no certainty");
    }
}
