//! Medians, ratios of pairs, and how sure one can be of them. The one home of statistics: tables, comparisons and the gate
//! ask here.
//!
//! Two things are compared by pairs that were measured next to each other, because a machine drifts by more in an hour
//! than two builds differ. The statistic is the median of the pairs' ratios; its interval is that of the percentile
//! bootstrap, with a fixed seed, so that the same figures always give the same verdict.

use serde::{Deserialize, Serialize};

/// A ratio and the interval that has it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Median of the pairs' ratios, head to base.
    pub median: f64,
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
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<f64> = (0..logs.len()).map(|_| logs[random.below(logs.len())]).collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |thousandths: usize| medians[(RESAMPLES * thousandths / 1000).min(RESAMPLES - 1)].exp();
    Some(Ratio { median: median(&logs).exp(), low: at(25), high: at(975), pairs: logs.len() })
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
    fn equal_pairs_have_the_ratio_one_and_no_doubt() {
        let found = ratio(&[(5.0, 5.0); 10]).expect("pairs");
        assert!(
            (found.median - 1.0).abs() < 1e-12 && (found.low - 1.0).abs() < 1e-12 && (found.high - 1.0).abs() < 1e-12
        );
    }

    #[test]
    fn an_interval_holds_the_truth_about_as_often_as_it_says() {
        // 400 comparisons of ten pairs whose true ratio is 0.9, each pair with its own noise of a few percent.
        let mut random = Random(7);
        let mut noise = || 1.0 + (0..12).map(|_| (random.below(2_001) as f64 - 1_000.0) / 1_000.0).sum::<f64>() * 0.01;
        let held = (0..400)
            .filter(|_| {
                let pairs: Vec<(f64, f64)> = (0..10).map(|_| (100.0 * noise(), 90.0 * noise())).collect();
                let found = ratio(&pairs).expect("pairs");
                found.low <= 0.9 && 0.9 <= found.high
            })
            .count();
        assert!((360..=398).contains(&held), "{held} of 400");
    }

    #[test]
    fn what_is_no_number_is_no_pair() {
        assert_eq!(ratio(&[(0.0, 1.0), (f64::NAN, 2.0)]), None);
        assert_eq!(ratio(&[(0.0, 1.0), (2.0, 4.0)]).map(|found| found.pairs), Some(1));
    }
}
