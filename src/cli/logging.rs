//! The log: lines to stderr, one event each, filtered by `RINGMAIN_LOG`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Starts logging. A filter that does not parse is said so and replaced by the default.
pub(super) fn start() {
    let wanted = std::env::var(VARIABLE).unwrap_or_else(|_| DEFAULT.to_owned());
    let (filter, wrong) = match EnvFilter::try_new(&wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
    };
    let ansi = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi).with_target(false).init();
    if let Some(error) = wrong {
        tracing::warn!("{VARIABLE}={wanted}: {error}; using {DEFAULT}");
    }
}

const VARIABLE: &str = "RINGMAIN_LOG";
const DEFAULT: &str = "info";
