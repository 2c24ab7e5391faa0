//! The gate's result as JUnit XML, which every CI shows: one test case for each figure.

use std::fmt::Write as _;

/// How a figure ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Case {
    /// Within its bound.
    Passed,
    /// Beyond it, and how.
    Failed(String),
    /// Nothing can be said, and why.
    Skipped(String),
}

/// The document. Each case is (suite, name, how it ended, what was measured).
#[must_use]
pub fn document(seconds: f64, cases: &[(String, String, Case, String)]) -> String {
    let count = |wanted: fn(&Case) -> bool| cases.iter().filter(|(_, _, case, _)| wanted(case)).count();
    let (failed, skipped) =
        (count(|case| matches!(case, Case::Failed(_))), count(|case| matches!(case, Case::Skipped(_))));
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut line = |parts: std::fmt::Arguments<'_>| {
        text.write_fmt(parts).expect("a string takes it");
        text.push('\n');
    };
    line(format_args!(
        "<testsuites><testsuite name=\"ringmain gate\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{seconds:.1}\">",
        cases.len()
    ));
    for (suite, name, case, measured) in cases {
        let (suite, name, measured) = (escaped(suite), escaped(name), escaped(measured));
        line(format_args!("<testcase classname=\"{suite}\" name=\"{name}\">"));
        match case {
            Case::Passed => {}
            Case::Failed(why) => line(format_args!("<failure message=\"{}\"/>", escaped(why))),
            Case::Skipped(why) => line(format_args!("<skipped message=\"{}\"/>", escaped(why))),
        }
        line(format_args!("<system-out>{measured}</system-out></testcase>"));
    }
    line(format_args!("</testsuite></testsuites>"));
    text
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML 1.0 has no other control characters.
            char if char.is_control() && char != '\n' && char != '\t' => safe.push('\u{fffd}'),
            char => safe.push(char),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_names_cannot_break_the_document() {
        let case = |name: &str, case| ("times".to_owned(), name.to_owned(), case, "1 < 2".to_owned());
        let text = document(
            1.0,
            &[
                case("a&b", Case::Passed),
                case("\"c\"", Case::Failed("<worse>\u{1}".to_owned())),
                case("d", Case::Skipped(String::new())),
            ],
        );
        assert!(text.contains("tests=\"3\" failures=\"1\" skipped=\"1\""));
        assert!(text.contains("name=\"a&amp;b\""));
        assert!(text.contains("message=\"&lt;worse&gt;\u{fffd}\""));
        assert!(text.contains("1 &lt; 2"));
    }
}
