//! Runs of several brokers made one report: the rows of each, and the brokers compared by pairs.
//!
//! The n-th run of a row on one broker is paired with the n-th run of the same row on another: whoever runs them takes
//! turns, so that a pair was measured next to each other.

use super::parameters::Workload;
use super::report::{Comparison, Report, Row};
use super::{floor, stats};

/// A figure that brokers are compared by.
struct Metric {
    name: &'static str,
    unit: &'static str,
    higher_is_better: bool,
    of: fn(&Row) -> Option<f64>,
}

const METRICS: [Metric; 8] = [
    Metric {
        name: "delivered",
        unit: "MB/s",
        higher_is_better: true,
        of: |row| row.fetched_mb_per_second.filter(|_| row.workload == Workload::Tail),
    },
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

/// Who is compared with whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Against<'a> {
    /// The broker that each other is compared with: the base of every comparison. The first, where neither is said.
    pub base: Option<&'a str>,
    /// The broker that is compared with each other: the head of every comparison.
    pub head: Option<&'a str>,
}

/// One report of several. Of each row of each broker the run with the median throughput is kept; comparisons are of all.
///
/// # Errors
/// Where there is nothing, or no broker of that name.
pub fn merge(reports: Vec<Report>, against: Against<'_>) -> Result<Report, String> {
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
    let number = |name: &str| {
        let found = merged.brokers.iter().position(|broker| broker.name == name);
        found.ok_or_else(|| format!("no run is of a broker called {name:?}"))
    };
    let (one, is_head) = match (against.base, against.head) {
        (_, Some(head)) => (number(head)?, true),
        (Some(base), None) => (number(base)?, false),
        (None, None) => (0, false),
    };
    let others = (0..merged.brokers.len()).filter(|other| *other != one);
    let pairs: Vec<(usize, usize)> = others.map(|other| if is_head { (other, one) } else { (one, other) }).collect();
    merged.comparisons = comparisons(&rows, &merged, &pairs);
    merged.rows = medians(rows);
    floor_shares(&mut merged);
    Ok(merged)
}

fn comparisons(rows: &[Row], report: &Report, pairs: &[(usize, usize)]) -> Vec<Comparison> {
    let mut found = Vec::new();
    for name in names(rows) {
        let of = |broker: usize| rows.iter().filter(|row| row.name == name && row.broker == broker).collect::<Vec<_>>();
        for (base, head) in pairs {
            let (base_rows, head_rows) = (of(*base), of(*head));
            for metric in &METRICS {
                let names = (report.brokers[*base].name.as_str(), report.brokers[*head].name.as_str());
                found.extend(comparison(name, metric, names, &base_rows, &head_rows));
            }
        }
    }
    found
}

/// Says of each row what share it is of the floor's stage that does the same work, where the floor was measured.
pub fn floor_shares(report: &mut Report) {
    for row in report.rows.iter_mut().filter(|row| row.floor_share.is_none()) {
        row.floor_share = floor::share(row, &report.floor);
    }
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
        ratio: ratio.center,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::parameters::Parameters;
    use crate::bench::report::FloorRow;
    use crate::bench::report::{Broker, GeneratorCost};

    /// A run of one row on one broker.
    fn run(broker: &str, mb_per_second: f64) -> Report {
        let row = serde_json::json!({
            "name": "produce-64k", "question": "?", "workload": "produce", "broker": 0,
            "parameters": Parameters { batch_bytes: 66_000, ..Parameters::default() },
            "warm_up_seconds": 1.0, "seconds": 1.0, "offered_per_second": null, "requests": 1, "records": 1, "bytes": 1,
            "requests_per_second": 1.0, "records_per_second": 1.0, "mb_per_second": mb_per_second, "fetched_bytes": null,
            "fetched_mb_per_second": null, "latency": {}, "errors": {}, "server": null,
            "generator": GeneratorCost::default(), "stages": [], "series": [], "floor_share": null, "steal_share": null
        });
        let rows = vec![serde_json::from_value(row).expect("a row")];
        let brokers = vec![Broker { name: broker.to_owned(), ..Broker::default() }];
        Report { rows, brokers, ..Report::default() }
    }

    fn floor(stage: &str, batch_bytes: usize, mb_per_second: f64) -> FloorRow {
        FloorRow {
            stage: stage.to_owned(),
            batch_bytes,
            seconds: 1.0,
            requests_per_second: 1.0,
            mb_per_second,
            cpu_seconds_per_gb: 1.0,
            cpu_us_per_request: 1.0,
            latency: None,
            note: None,
        }
    }

    #[test]
    fn the_nth_runs_of_two_brokers_are_a_pair() {
        let reports = vec![run("a", 100.0), run("b", 210.0), run("b", 380.0), run("a", 200.0), run("a", 1.0)];
        let merged = merge(reports.clone(), Against { head: Some("b"), base: None }).expect("reports");
        let found = &merged.comparisons[0];
        assert_eq!((found.base.as_str(), found.head.as_str(), found.pairs), ("a", "b", 2));
        assert!((found.ratio - (2.1_f64 * 1.9).sqrt()).abs() < 1e-9, "{}", found.ratio);
        assert_eq!(merged.rows.len(), 2, "one row for each broker");
        assert!((merged.rows[0].mb_per_second - 100.0).abs() < 1e-9, "the median run is kept");
        let turned = merge(reports, Against::default()).expect("reports");
        assert_eq!((turned.comparisons[0].base.as_str(), turned.comparisons[0].head.as_str()), ("a", "b"));
        assert!(merge(vec![run("a", 1.0)], Against { head: Some("c"), base: None }).is_err());
        assert!(merge(Vec::new(), Against::default()).is_err());
    }

    #[test]
    fn a_row_is_a_share_of_the_floor_that_does_the_same() {
        let mut report = run("a", 100.0);
        report.floor =
            vec![floor("receive", 66_000, 900.0), floor("flush", 16_000, 300.0), floor("flush", 65_536, 200.0)];
        let merged = merge(vec![report.clone()], Against::default()).expect("reports");
        let share = merged.rows[0].floor_share.clone().expect("a floor that flushes");
        assert_eq!(share.stage, "flush");
        assert!((share.share - 0.5).abs() < 1e-9);
        report.floor.retain(|row| row.stage == "receive");
        assert!(merge(vec![report], Against::default()).expect("reports").rows[0].floor_share.is_none());
    }
}
