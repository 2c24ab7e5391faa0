//! Where settings come from: a file of lines `key=value` like Kafka's server.properties, the environment, flags.

use std::fmt;

use super::Problem;

/// One setting as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, in Kafka's spelling.
    pub key: String,
    /// The value, as text.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

impl Setting {
    pub(super) fn problem(&self, why: String) -> Problem {
        Problem::Value { key: self.key.clone(), value: self.value.clone(), origin: self.origin.clone(), why }
    }
}

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file, as it was named.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Variables that are not settings: the file to read, what to log, and which program the tests run.
pub const RESERVED_VARIABLES: &[&str] = &["RINGMAIN_CONFIG", "RINGMAIN_LOG", "RINGMAIN_BIN"];

/// The settings of a file's text. Comments start with `#` or `!`; a line that ends in `\` goes on in the next, as in
/// java.util.Properties.
///
/// # Errors
/// The first line that is no setting.
pub fn from_text(text: &str, name: &str) -> Result<Vec<Setting>, Problem> {
    let mut settings = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let origin = Origin::File { name: name.to_owned(), line: index + 1 };
        let mut line = first.trim().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while let Some(rest) = line.strip_suffix('\\') {
            let next = lines.next().map_or("", |(_, next)| next.trim());
            line = format!("{rest}{next}");
        }
        let Some(at) = line.find(['=', ':']) else { return Err(Problem::Line { origin, line }) };
        let (key, value) = (line[..at].trim(), line[at + 1..].trim());
        settings.push(Setting { key: key.to_owned(), value: value.to_owned(), origin });
    }
    Ok(settings)
}

/// The settings among an environment's variables: `RINGMAIN_NUM_PARTITIONS` is `num.partitions`.
pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Setting> {
    let mut settings: Vec<Setting> = variables
        .into_iter()
        .filter(|(name, _)| !RESERVED_VARIABLES.contains(&name.as_str()))
        .filter_map(|(name, value)| {
            let key = name.strip_prefix("RINGMAIN_")?.to_lowercase().replace('_', ".");
            Some(Setting { key, value, origin: Origin::Environment(name) })
        })
        .collect();
    settings.sort_by(|a, b| a.key.cmp(&b.key));
    settings
}

/// The setting of a flag `--set key=value`.
///
/// # Errors
/// When there is no `=`.
pub fn from_flag(flag: &str, text: &str) -> Result<Setting, Problem> {
    let origin = Origin::Flag(flag.to_owned());
    match text.split_once('=') {
        Some((key, value)) => Ok(Setting { key: key.trim().to_owned(), value: value.trim().to_owned(), origin }),
        None => Err(Problem::Line { origin, line: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::{from_environment, from_flag, from_text};

    #[test]
    fn a_file_of_kafka_reads_as_kafka_reads_it() {
        let text = "# comment\n! too\n\nlog.dirs = /a\nlisteners: PLAINTEXT://:1,\\\n  PLAINTEXT://:2\n  node.id=3\n";
        let settings = from_text(text, "f").expect("well-formed");
        let pairs: Vec<(&str, &str)> = settings.iter().map(|s| (s.key.as_str(), s.value.as_str())).collect();
        assert_eq!(pairs, [("log.dirs", "/a"), ("listeners", "PLAINTEXT://:1,PLAINTEXT://:2"), ("node.id", "3")]);
        assert_eq!(settings[2].origin.to_string(), "f:7");
    }

    #[test]
    fn a_line_without_a_value_is_named() {
        assert_eq!(
            from_text("a=1\nwhat\n", "f").expect_err("no setting").to_string(),
            "f:2: \"what\" is not of the form key=value"
        );
        assert!(from_flag("--set", "node.id").is_err());
    }

    #[test]
    fn variables_become_keys() {
        let variables =
            [("RINGMAIN_LOG_RETENTION_MS", "5"), ("HOME", "/x"), ("RINGMAIN_CONFIG", "f"), ("RINGMAIN_NODE_ID", "2")];
        let settings = from_environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let keys: Vec<&str> = settings.iter().map(|setting| setting.key.as_str()).collect();
        assert_eq!(keys, ["log.retention.ms", "node.id"]);
    }
}
