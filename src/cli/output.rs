//! What a command answers, on stdout.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::Ended;

/// Where answers go. The first error is kept and told by [`Output::finish`]; a reader that has left (`| head`) is none.
pub(super) struct Output {
    sink: Box<dyn Write>,
    error: Option<io::Error>,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self { sink: Box::new(io::BufWriter::new(io::stdout())), error: None }
    }

    /// One line of text.
    pub(super) fn line(&mut self, text: impl fmt::Display) {
        if self.error.is_none() {
            self.error = writeln!(self.sink, "{text}").err();
        }
    }

    /// A line beside the answer, on stderr.
    pub(super) fn note(&mut self, text: impl fmt::Display) {
        if self.error.is_none() {
            self.error = writeln!(io::stderr(), "{text}").err();
        }
    }

    /// One JSON value on a line of its own.
    pub(super) fn json(&mut self, value: &impl Serialize) {
        let text = serde_json::to_string(value).expect("our own types have string keys and finite numbers");
        self.line(text);
    }

    /// Lets out what was said so far: somebody waits for it.
    pub(super) fn flush(&mut self) {
        if self.error.is_none() {
            self.error = self.sink.flush().err();
        }
    }

    pub(super) fn finish(mut self) -> Result<(), Ended> {
        let flushed = self.sink.flush();
        match self.error.map_or(flushed, Err) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Ended::Failed(format!("stdout: {error}"))),
            _ => Ok(()),
        }
    }
}

/// Rows below their headings, each column as wide as its widest cell.
pub(super) fn table(output: &mut Output, headings: &[&str], rows: Vec<Vec<String>>) {
    let cell_widths = |at: usize| rows.iter().filter_map(move |row| row.get(at)).map(|cell| cell.chars().count());
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(at, heading)| cell_widths(at).max().unwrap_or(0).max(heading.len()))
        .collect();
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&headings).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        output.line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
