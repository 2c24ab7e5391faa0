//! Several runs made one report: rows of the same name and round are pairs, and brokers are compared by them.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::run::save;
use super::table;
use crate::bench::compare::{self, Against};
use crate::bench::report::Report;
use crate::cli::Ended;
use crate::cli::output::Output;

#[derive(Args, Debug)]
pub(super) struct MergeArgs {
    /// Reports in JSON, in the order in which they were made.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The broker that each other is compared with [default: the first].
    #[arg(long, value_name = "NAME", conflicts_with = "head")]
    base: Option<String>,
    /// The broker that is compared with each other.
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// What the report is called.
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Write it as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write it as HTML.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: &MergeArgs, output: &mut Output) -> Result<(), Ended> {
    let mut reports = Vec::new();
    for path in &args.files {
        let named = |why: String| Ended::Failed(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        let report: Report = serde_json::from_str(&text).map_err(|error| named(format!("is no report: {error}")))?;
        reports.push(report);
    }
    let mut report = compare::merge(reports, Against { base: args.base.as_deref(), head: args.head.as_deref() })
        .map_err(Ended::Failed)?;
    if let Some(title) = &args.title {
        report.title.clone_from(title);
    }
    table::print(&report, output);
    if let Some(path) = &args.json {
        save(path, &serde_json::to_string(&report).expect("string keys"))?;
    }
    if let Some(path) = &args.html {
        save(path, &report.html())?;
        output.note(format_args!("report: {}", path.display()));
    }
    Ok(())
}
