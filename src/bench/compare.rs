//! Runs of several brokers made one report: the rows of each, and the brokers compared by pairs.
//!
//! The n-th run of a row on one broker is paired with the n-th run of the same row on another: whoever runs them takes
//! turns, so that a pair was measured next to each other.

use super::report::{Comparison, Report, Row};
use super::stats;

/// A figure that brokers are compared by.
struct Metric {
    name: &'static str,
    unit: &'static str,
    higher_is_better: bool,
    of: fn(&Row) -> Option<f64>,
}

const METRICS: [Metric; 7] = [
    Metric { name: "throughput", unit: "MB/s", higher_is_better: true, of: |row| Some(row.mb_per_second) },
    Metric { name: "requests", unit: "1/s", higher_is_better: true, of: |row| Some(row.requests_per_second) },
    Metric {
        name: "CPU",
        unit: "s/GB",
        higher_is_better: false,
        of: |row| row.server.map(|cost| cost.cpu_seconds_per_gb),
    },
    Metric { name: "p50", unit: "ms", higher_is_better: false, of: |row| latency(row).map(|latency| latency.p50) },
    Metric { name: "p99", unit: "ms", higher_is_better: false, of: |row| latency(row).map(|latency| latency.p99) },
    Metric { name: "p99.9", unit: "ms", higher_is_better: false, of: |row| latency(row).map(|latency| latency.p999) },
    Metric { name: "max", unit: "ms", higher_is_better: false, of: |row| latency(row).map(|latency| latency.max) },
];

/// The latency that a row is about.
fn latency(row: &Row) -> Option<&super::report::Latency> {
    let all = &row.latency;
    all.end_to_end.as_ref().or(all.acknowledgement.as_ref()).or(all.fetch.as_ref())
}

/// One report of several. `base`: the broker that others are compared with; the first where it is not said. Of each row of
/// each broker the run with the median throughput is kept; comparisons are of all.
///
/// # Errors
/// Where there is nothing, or no broker of that name.
pub fn merge(reports: Vec<Report>, base: Option<&str>) -> Result<Report, String> {
    let mut merged = reports.first().cloned().ok_or("there is nothing to merge")?;
    (merged.rows, merged.brokers) = (Vec::new(), Vec::new());
    merged.seconds = reports.iter().map(|report| report.seconds).sum();
    let mut rows: Vec<Row> = Vec::new();
    for report in reports {
        for mut row in report.rows {
            let Some(broker) = report.brokers.get(row.broker) else { continue };
            let known = merged.brokers.iter().position(|other| other.name == broker.name);
            row.broker = known.unwrap_or_else(|| {
                merged.brokers.push(broker.clone());
                merged.brokers.len() - 1
            });
            rows.push(row);
        }
        if merged.floor.is_empty() {
            merged.floor = report.floor;
        }
        merged.notes.extend(report.notes.into_iter().filter(|note| !merged.notes.contains(note)).collect::<Vec<_>>());
    }
    let base = match base {
        None => 0,
        Some(name) => merged
            .brokers
            .iter()
            .position(|broker| broker.name == name)
            .ok_or_else(|| format!("no run is of a broker called {name:?}"))?,
    };
    merged.comparisons = comparisons(&rows, &merged, base);
    merged.rows = medians(rows);
    Ok(merged)
}

fn comparisons(rows: &[Row], report: &Report, base: usize) -> Vec<Comparison> {
    let mut found = Vec::new();
    for name in names(rows) {
        let of = |broker: usize| rows.iter().filter(|row| row.name == name && row.broker == broker).collect::<Vec<_>>();
        let base_rows = of(base);
        for head in (0..report.brokers.len()).filter(|head| *head != base) {
            let head_rows = of(head);
            for metric in &METRICS {
                let names = (report.brokers[base].name.as_str(), report.brokers[head].name.as_str());
                found.extend(comparison(name, metric, names, &base_rows, &head_rows));
            }
        }
    }
    found
}

fn comparison(
    row: &str,
    metric: &Metric,
    (base, head): (&str, &str),
    base_rows: &[&Row],
    head_rows: &[&Row],
) -> Option<Comparison> {
    let figures =
        base_rows.iter().zip(head_rows).filter_map(|(base, head)| Some(((metric.of)(base)?, (metric.of)(head)?)));
    let pairs: Vec<(f64, f64)> = figures.collect();
    let ratio = stats::ratio(&pairs)?;
    let (bases, heads): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    Some(Comparison {
        row: row.to_owned(),
        metric: metric.name.to_owned(),
        unit: metric.unit.to_owned(),
        better: if metric.higher_is_better { "higher" } else { "lower" }.to_owned(),
        base: base.to_owned(),
        head: head.to_owned(),
        base_median: stats::median(&bases),
        head_median: stats::median(&heads),
        ratio: ratio.median,
        interval: (ratio.low, ratio.high),
        pairs: ratio.pairs,
        control: None,
        bound: None,
        verdict: None,
    })
}

/// The names of rows, each once, in their order.
fn names(rows: &[Row]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    names
}

/// Of each row and broker the run whose throughput is the median one.
fn medians(rows: Vec<Row>) -> Vec<Row> {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|group| group[0].name == row.name && group[0].broker == row.broker) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let mut kept: Vec<Row> = groups
        .into_iter()
        .map(|mut group| {
            group.sort_by(|one, other| one.mb_per_second.total_cmp(&other.mb_per_second));
            let middle = (group.len() - 1) / 2;
            group.swap_remove(middle)
        })
        .collect();
    let order: Vec<String> = names(&kept).into_iter().map(str::to_owned).collect();
    kept.sort_by_key(|row| (order.iter().position(|name| *name == row.name), row.broker));
    kept
}
