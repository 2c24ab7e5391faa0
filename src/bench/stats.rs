//! Medians, ratios of pairs, and how sure one can be of them. The one home of statistics: tables, comparisons and the gate
//! ask here.
//!
//! Two things are compared by pairs that were measured next to each other, because a machine drifts by more in an hour
//! than two builds differ. The statistic is the Hodges-Lehmann estimate of the pairs' ratios, the median of the means of every
//! two of them: of ten pairs it makes nearly as much as their mean does, and like their median it bears a few that went wrong.
//! Its interval is that of the percentile bootstrap, with a fixed seed, so that the same figures always give the same
//! verdict; widened, because of few pairs the bootstrap alone claims too much (see `widening`).

use serde::{Deserialize, Serialize};

/// A ratio and the interval that has it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Of the pairs' ratios, head to base.
    pub center: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How many pairs.
    pub pairs: usize,
}

/// The median; NaN of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The ratio of pairs (base, head). `None` where no pair has two positive numbers.
#[must_use]
pub fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let whole = pairs.iter().filter(|(base, head)| *base > 0.0 && *head > 0.0 && base.is_finite() && head.is_finite());
    // In logarithms, where 2 and 1/2 are equally far from 1.
    let logs: Vec<f64> = whole.map(|(base, head)| (head / base).ln()).collect();
    if logs.is_empty() {
        return None;
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut centers: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<f64> = (0..logs.len()).map(|_| logs[random.below(logs.len())]).collect();
            hodges_lehmann(&drawn)
        })
        .collect();
    centers.sort_by(f64::total_cmp);
    let (center, wider) = (hodges_lehmann(&logs), widening(logs.len()));
    let at = |thousandths: usize| {
        let end = centers[(RESAMPLES * thousandths / 1000).min(RESAMPLES - 1)];
        (center + (end - center) * wider).exp()
    };
    Some(Ratio { center: center.exp(), low: at(25), high: at(975), pairs: logs.len() })
}

/// By what the percentile interval of so many pairs has to be stretched to hold the truth as often as it says. Drawing from a
/// sample gives only (n - 1) / n of its variance, and quantiles as of a normal distribution where a few values need those of
/// Student's t (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015: the narrowness bias). 1 of one pair, of
/// which nothing is known.
fn widening(pairs: usize) -> f64 {
    if pairs < 2 {
        return 1.0;
    }
    // Cornish and Fisher's expansion of t's 97.5 % quantile about the normal one: within 3 % from two degrees of freedom on.
    let (z, freedom) = (1.959_964_f64, f64::from(u32::try_from(pairs - 1).unwrap_or(u32::MAX)));
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    let t = z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3);
    ((freedom + 1.0) / freedom).sqrt() * t / z
}

/// The median of the means of every two of the values, each with itself included (Walsh averages).
fn hodges_lehmann(values: &[f64]) -> f64 {
    let means = values
        .iter()
        .enumerate()
        .flat_map(|(index, one)| values[index..].iter().map(move |other| f64::midpoint(*one, *other)));
    let mut means: Vec<f64> = means.collect();
    let (count, middle) = (means.len(), means.len() / 2);
    let (below, upper, _) = means.select_nth_unstable_by(middle, f64::total_cmp);
    if count % 2 == 1 { *upper } else { f64::midpoint(*upper, below.iter().copied().fold(f64::MIN, f64::max)) }
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % bound
    }
}

const RESAMPLES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn one_pair_that_went_wrong_hardly_moves_the_center() {
        assert!((hodges_lehmann(&[4.0]) - 4.0).abs() < 1e-12);
        assert!((hodges_lehmann(&[1.0, 2.0, 6.0]) - 2.75).abs() < 1e-12, "of 1, 1.5, 2, 3.5, 4 and 6");
        let mut values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        assert!((hodges_lehmann(&values) - 4.5).abs() < 1e-12);
        values[9] = 1e9;
        assert!((hodges_lehmann(&values) - 4.5).abs() < 0.6, "{}", hodges_lehmann(&values));
    }

    #[test]
    fn equal_pairs_have_the_ratio_one_and_no_doubt() {
        let found = ratio(&[(5.0, 5.0); 10]).expect("pairs");
        assert!(
            (found.center - 1.0).abs() < 1e-12 && (found.low - 1.0).abs() < 1e-12 && (found.high - 1.0).abs() < 1e-12
        );
    }

    #[test]
    fn an_interval_holds_the_truth_about_as_often_as_it_says() {
        // 200 comparisons whose true ratio is 0.9, each pair with its own noise of a few percent: of ten pairs as the gate
        // and `scripts/compare` have, and of five. 190 are due, three standard deviations are nine.
        for count in [10, 5] {
            let mut random = Random(7);
            let mut noise =
                || 1.0 + (0..12).map(|_| (random.below(2_001) as f64 - 1_000.0) / 1_000.0).sum::<f64>() * 0.01;
            let held = (0..200)
                .filter(|_| {
                    let pairs: Vec<(f64, f64)> = (0..count).map(|_| (100.0 * noise(), 90.0 * noise())).collect();
                    let found = ratio(&pairs).expect("pairs");
                    found.low <= 0.9 && 0.9 <= found.high
                })
                .count();
            assert!((181..=199).contains(&held), "{held} of 200, of {count} pairs each");
        }
    }

    #[test]
    fn few_pairs_are_trusted_less() {
        // sqrt(10 / 9) * 2.2622 / 1.96, and what is left of it of many.
        assert!((widening(10) - 1.216_6).abs() < 1e-3, "{}", widening(10));
        assert!((widening(100_000) - 1.0).abs() < 1e-4);
        assert!((widening(3) / (1.5_f64.sqrt() * 4.302_7 / 1.96) - 1.0).abs() < 0.035, "{}", widening(3));
        assert!((widening(1) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_number_is_no_pair() {
        assert_eq!(ratio(&[(0.0, 1.0), (f64::NAN, 2.0)]), None);
        assert_eq!(ratio(&[(0.0, 1.0), (2.0, 4.0)]).map(|found| found.pairs), Some(1));
    }
}
