//! How much worse is too much: `benches/bounds.toml`, and the trade-offs that a change has stated.

use std::collections::BTreeMap;

use serde::Deserialize;

/// All bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    counts: BTreeMap<String, Bound>,
    times: BTreeMap<String, Bound>,
    #[serde(skip)]
    trade_offs: Vec<TradeOff>,
}

/// One bound and why it is what it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The share by which head may be worse than base.
    pub bound: f64,
    /// What a smaller base counts as.
    #[serde(default)]
    pub least: f64,
    /// Why.
    pub reason: String,
}

/// A line of `benches/trade-offs.txt`.
#[derive(Clone, Debug, PartialEq)]
struct TradeOff {
    figure: String,
    share: f64,
    reason: String,
}

impl Bounds {
    /// Those of this repository.
    ///
    /// # Panics
    /// Never: a test reads the file.
    #[must_use]
    pub fn own() -> Self {
        Self::parse(include_str!("../../../benches/bounds.toml")).expect("the file that was built in")
    }

    /// Reads a file of bounds.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bounds: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for (table, needed) in [(&bounds.counts, "other"), (&bounds.times, "throughput")] {
            if !table.contains_key(needed) {
                return Err(format!("has no bound called {needed:?}"));
            }
        }
        let mut all = bounds.counts.iter().chain(&bounds.times);
        match all.find(|(_, bound)| !(0.0..=10.0).contains(&bound.bound) || bound.reason.trim().is_empty()) {
            Some((name, _)) => Err(format!("{name}: a bound is a share from 0 to 10, with its reason")),
            None => Ok(bounds),
        }
    }

    /// Takes the lines of head's file of trade-offs that base's does not have.
    ///
    /// # Errors
    /// Names a line that is none.
    pub fn trade(&mut self, head: &str, base: &str) -> Result<(), String> {
        let known: Vec<&str> = base.lines().map(str::trim).collect();
        for (number, line) in head.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || known.contains(&line) {
                continue;
            }
            let wrong = || {
                format!(
                    "trade-offs, line {}: not FIGURE SHARE REASON, such as: small/throughput 0.10 checks x",
                    number + 1
                )
            };
            let (figure, rest) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
            let (share, reason) = rest.trim_start().split_once(char::is_whitespace).ok_or_else(wrong)?;
            let share: f64 = share.parse().ok().filter(|share| (0.0..=10.0).contains(share)).ok_or_else(wrong)?;
            self.trade_offs.push(TradeOff { figure: figure.to_owned(), share, reason: reason.trim().to_owned() });
        }
        Ok(())
    }

    /// The bound of a count, by what it counts.
    #[must_use]
    pub fn of_count(&self, name: &str, unit: &str) -> Bound {
        let last = name.rsplit('/').next().unwrap_or(name);
        let kind = match last {
            _ if unit == "instructions" => "instructions",
            "worker-switches" => "worker-switches",
            "allocations" => "allocations",
            "allocated-bytes" => "allocated-bytes",
            "copies" => "copies",
            "copied-bytes" | "record-bytes" => "copied-bytes",
            "hops" => "hops",
            _ if unit.starts_with("calls") && name.contains("/queued-") => "queued-syscalls",
            "io_uring_enter" => "enters",
            _ if unit.starts_with("calls") => "syscalls",
            _ => "other",
        };
        self.excused(name, self.counts.get(kind).or_else(|| self.counts.get("other")))
    }

    /// The bound of a time: of a row's figure.
    #[must_use]
    pub fn of_time(&self, row: &str, figure: &str) -> Bound {
        self.excused(&format!("{row}/{figure}"), self.times.get(figure).or_else(|| self.times.get("throughput")))
    }

    /// The bound, wider where a trade-off was stated.
    fn excused(&self, name: &str, bound: Option<&Bound>) -> Bound {
        let mut bound = bound.cloned().expect("`parse` looked for it");
        let matches = |figure: &str| match figure.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == figure,
        };
        for stated in self.trade_offs.iter().filter(|stated| matches(&stated.figure)) {
            if stated.share > bound.bound {
                bound.bound = stated.share;
                bound.reason = format!("stated: {}", stated.reason);
            }
        }
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_repository_is_one() {
        let bounds = Bounds::own();
        assert!((bounds.of_time("small", "throughput").bound - 0.05).abs() < 1e-12);
        assert!((bounds.of_time("small", "p99.9").bound - 0.25).abs() < 1e-12);
        assert!((bounds.of_count("paths/append", "instructions").bound - 0.01).abs() < 1e-12);
        let of = |name: &str| bounds.of_count(name, "calls per request");
        let (alone, queued) = (of("requests/produce-1/syscalls"), of("requests/queued-produce-1/syscalls"));
        assert!(alone.bound < queued.bound && queued.least < alone.least);
        assert!(Bounds::parse("[counts.other]\nbound = 0.1\nreason = ''").is_err());
    }

    #[test]
    fn a_stated_trade_off_counts_until_base_has_it() {
        let line = "small/* 0.2 each record is now checked twice";
        let mut bounds = Bounds::own();
        bounds.trade(line, "# nothing").expect("a line");
        let bound = bounds.of_time("small", "throughput");
        assert!((bound.bound - 0.2).abs() < 1e-12);
        assert_eq!(bound.reason, "stated: each record is now checked twice");
        assert!((bounds.of_time("smaller", "throughput").bound - 0.05).abs() < 1e-12);
        let mut bounds = Bounds::own();
        bounds.trade(line, line).expect("a line");
        assert!((bounds.of_time("small", "throughput").bound - 0.05).abs() < 1e-12);
        for wrong in ["small", "small 0.1", "small x y", "small -1 y"] {
            assert!(Bounds::own().trade(wrong, "").is_err(), "{wrong}");
        }
    }
}
