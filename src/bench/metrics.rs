//! Reads a node's metrics.
use super::report::Stage;
use std::io;
/// One look.
#[derive(Debug, Default)]
pub struct Scrape;
/// Looks.
///
/// # Errors
/// Never yet.
pub fn scrape(_address: &str) -> io::Result<Scrape> {
    Ok(Scrape)
}
impl Scrape {
    /// Between two looks.
    #[must_use]
    pub fn stages_since(&self, _before: &Self) -> Vec<Stage> {
        Vec::new()
    }
}
