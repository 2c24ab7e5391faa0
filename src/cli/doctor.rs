//! `ringmain doctor`: everything that a start would look at, looked at without starting.

use super::Ended;
use super::checks::{self, Check, Level};
use super::node_args::NodeArgs;
use super::output::Output;

pub(super) fn run(args: &NodeArgs, json: bool, output: &mut Output) -> Result<(), Ended> {
    let config = args.config()?;
    let mut found = checks::of_machine(&config);
    found.extend(checks::of_directory(&config));
    let dir = &config.server.log_dir;
    let usable = found.iter().all(|check| check.level < Level::Fatal || check.name == "io_uring");
    if usable && dir.is_dir() {
        found.extend(checks::in_use(dir));
        match checks::of_flush(dir) {
            Ok((_, _, flush)) => found.extend(flush),
            Err(fatal) => found.push(fatal),
        }
    }
    found.extend(checks::of_listeners(&config));
    found.extend(config.warnings.iter().map(|warning| settings(warning)));
    if json {
        output.json(&found);
    } else {
        print(&found, output);
    }
    if found.iter().any(|check| check.level == Level::Fatal) { Err(Ended::Unwell) } else { Ok(()) }
}

fn settings(warning: &str) -> Check {
    Check { name: "settings", level: Level::Warning, found: warning.to_owned(), fix: None }
}

fn print(found: &[Check], output: &mut Output) {
    for check in found {
        let level = match check.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Fatal => "FATAL",
        };
        output.line(format_args!("{level:<8} {:<15} {}", check.name, check.found));
        if let Some(fix) = &check.fix {
            output.line(format_args!("{:<24} -> {fix}", ""));
        }
    }
    let count = |level| found.iter().filter(|check| check.level == level).count();
    let (fatal, warnings) = (count(Level::Fatal), count(Level::Warning));
    output.line(match (fatal, warnings) {
        (0, 0) => "A node can run here.".to_owned(),
        (0, _) => format!("A node can run here; {warnings} warnings."),
        _ => format!("No node can run here: {fatal} fatal."),
    });
}
