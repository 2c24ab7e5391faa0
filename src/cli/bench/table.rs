//! What `bench` prints: figures that fit a terminal, rounded to what they mean.

use crate::bench::report::{Comparison, Latency, Report, Row, Verdict};
use crate::cli::output::{Output, table};

/// All tables of a report.
pub(super) fn print(report: &Report, output: &mut Output) {
    if !report.rows.is_empty() {
        throughput(report, output);
        output.line("");
        latency(report, output);
        notes(report, output);
    }
    if !report.floor.is_empty() {
        output.line("");
        super::floor::print(&report.floor, output);
    }
    if !report.comparisons.is_empty() {
        output.line("");
        comparisons(&report.comparisons, output);
    }
}

fn throughput(report: &Report, output: &mut Output) {
    let several = report.brokers.len() > 1;
    let mut headings = vec![
        "row",
        "MB/s",
        "records/s",
        "requests/s",
        "offered/s",
        "out MB/s",
        "CPU s/GB",
        "CPU us/request",
        "MiB",
        "floor",
    ];
    if several {
        headings.insert(1, "broker");
    }
    let rows = report.rows.iter().map(|row| {
        let server = |figure: fn(&crate::bench::report::ServerCost) -> f64, digits: usize| {
            row.server.as_ref().map_or_else(|| "-".to_owned(), |cost| format!("{:.digits$}", figure(cost)))
        };
        let mut cells = vec![
            name(row),
            count(row.mb_per_second),
            count(row.records_per_second),
            count(row.requests_per_second),
            row.offered_per_second.map_or_else(|| "-".to_owned(), count),
            row.fetched_mb_per_second.map_or_else(|| "-".to_owned(), count),
            server(|cost| cost.cpu_seconds_per_gb, 2),
            server(|cost| cost.cpu_us_per_request, 1),
            server(|cost| mib(cost.resident_bytes), 0),
            row.floor_share.as_ref().map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share.share * 100.0)),
        ];
        if several {
            cells.insert(1, report.brokers.get(row.broker).map_or_else(String::new, |broker| broker.name.clone()));
        }
        cells
    });
    table(output, &headings, rows.collect());
}

fn latency(report: &Report, output: &mut Output) {
    let mut rows = Vec::new();
    for row in &report.rows {
        let broker = report.brokers.get(row.broker).filter(|_| report.brokers.len() > 1);
        let kinds = [
            ("acknowledgement", &row.latency.acknowledgement),
            ("end to end", &row.latency.end_to_end),
            ("fetch", &row.latency.fetch),
        ];
        for (kind, latency) in kinds {
            if let Some(latency) = latency {
                let name = broker.map_or_else(|| row.name.clone(), |broker| format!("{} ({})", row.name, broker.name));
                rows.push(latency_cells(name, kind, row.offered_per_second.is_some(), latency));
            }
        }
    }
    let headings = ["latency, ms", "of", "loop", "p50", "p90", "p99", "p99.9", "p99.99", "max", "count"];
    table(output, &headings, rows);
}

fn latency_cells(name: String, kind: &str, open: bool, latency: &Latency) -> Vec<String> {
    let mut cells = vec![name, kind.to_owned(), if open { "open" } else { "closed" }.to_owned()];
    for ms in [latency.p50, latency.p90, latency.p99, latency.p999, latency.p9999, latency.max] {
        cells.push(figure(ms));
    }
    cells.push(latency.count.to_string());
    cells
}

fn notes(report: &Report, output: &mut Output) {
    for row in &report.rows {
        for (error, count) in &row.errors {
            output.line(format_args!("{}: {error}: {count} times", row.name));
        }
        if let Some(note) = &row.generator.note {
            output.line(format_args!("{}: {note}", row.name));
        }
        if let Some(steal) = row.steal_share.filter(|steal| *steal > STEAL_SHOWN) {
            output.line(format_args!(
                "{}: the hypervisor took {:.1} % of the processors' time",
                row.name,
                steal * 100.0
            ));
        }
    }
    for note in report.host.notes.iter().chain(&report.notes) {
        output.line(note);
    }
}

/// Pairs and what they say.
pub(in crate::cli) fn comparisons(comparisons: &[Comparison], output: &mut Output) {
    let rows = comparisons.iter().map(|comparison| {
        vec![
            comparison.row.clone(),
            format!(
                "{}{}",
                comparison.metric,
                if comparison.unit.is_empty() { String::new() } else { format!(", {}", comparison.unit) }
            ),
            comparison.base.clone(),
            figure(comparison.base_median),
            comparison.head.clone(),
            figure(comparison.head_median),
            format!("{:.3}", comparison.ratio),
            format!("{:.3} to {:.3}", comparison.interval.0, comparison.interval.1),
            comparison.pairs.to_string(),
            comparison.control.map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.3} to {high:.3}")),
            comparison.bound.map_or_else(|| "-".to_owned(), |bound| format!("{:.1} %", bound * 100.0)),
            comparison.verdict.map_or("-", word).to_owned(),
        ]
    });
    let headings = [
        "row",
        "figure",
        "base",
        "median",
        "head",
        "median",
        "head/base",
        "95 %",
        "pairs",
        "control",
        "bound",
        "verdict",
    ];
    table(output, &headings, rows.collect());
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "same",
        Verdict::Better => "better",
        Verdict::Worse => "WORSE",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn name(row: &Row) -> String {
    if row.generator.bottleneck { format!("{} (load's limit)", row.name) } else { row.name.clone() }
}

/// A rate: whole from a hundred on.
fn count(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Three digits that mean something.
pub(in crate::cli) fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 bytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const STEAL_SHOWN: f64 = 0.02;
