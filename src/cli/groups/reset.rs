//! `ringmain groups reset-offsets`: where a group goes on, moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::describe::ends;
use crate::cli::output::{Output, table};
use crate::cli::{Ended, moment};
use crate::client::cluster::EARLIEST;
use crate::client::consumer::offsets::{self, Key};
use crate::client::{Cluster, Error};

/// Arguments of `groups reset-offsets`.
#[derive(Args)]
pub(super) struct ResetArgs {
    /// The group.
    group: String,
    /// A topic, or some of its partitions: orders or orders:0,2. May be given again.
    #[arg(long, short, value_name = "TOPIC[:N,...]", required_unless_present = "all_topics")]
    topic: Vec<String>,
    /// Every partition that the group has committed.
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,
    #[command(flatten)]
    to: To,
    /// Do it.
    #[arg(long, conflicts_with = "dry_run")]
    execute: bool,
    /// Only show what would be done (this is the default).
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct To {
    /// To the oldest records.
    #[arg(long)]
    to_earliest: bool,
    /// To the end: nothing of what is there is read.
    #[arg(long)]
    to_latest: bool,
    /// To what is committed now (or the end), within what the log has.
    #[arg(long)]
    to_current: bool,
    /// To this offset, within what the log has.
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// To the first record of that time or later.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    to_datetime: Option<i64>,
    /// So many records on, or back where it is negative.
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record that is no older: 30s, 15m, 2h, 7d, or ISO 8601 like P1DT12H.
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    by_duration: Option<i64>,
}

pub(super) const HELP: &str = "\
Examples:
  ringmain groups reset-offsets readers --topic orders --to-earliest            # shows where it would be
  ringmain groups reset-offsets readers --topic orders --to-earliest --execute
  ringmain groups reset-offsets readers --topic orders:0,2 --shift-by -100 --execute
  ringmain groups reset-offsets readers --all-topics --to-datetime 2026-11-21T10:30:00Z --execute
  ringmain groups reset-offsets readers --topic orders --by-duration 2h --execute

The group must have no members: stop its consumers first.";

#[derive(Serialize)]
struct Row {
    group: String,
    topic: String,
    partition: i32,
    committed: Option<i64>,
    new: i64,
    executed: bool,
}

pub(super) fn run(cluster: &mut Cluster, args: &ResetArgs, json: bool, output: &mut Output) -> Result<(), Ended> {
    let group = &args.group;
    // A group that nobody has made yet may be given offsets too: its state is Dead, or the node knows none of the name.
    let state = match super::described(cluster, group) {
        Ok(found) => found.group_state.as_str().to_owned(),
        Err(error) if error.code() == Some(crate::protocol::ErrorCode::GroupIdNotFound) => "Dead".to_owned(),
        Err(error) => return Err(error.into()),
    };
    if !matches!(state.as_str(), "Empty" | "Dead") {
        return Err(Ended::Failed(format!(
            "{group} is {state}: offsets can be reset while a group has no members; stop its consumers first"
        )));
    }
    let committed = offsets::committed(cluster, group, None)?;
    let keys = if args.all_topics { committed.keys().cloned().collect() } else { named(cluster, &args.topic)? };
    if keys.is_empty() {
        return Err(Ended::Failed(format!("{group} has committed nothing: name topics by --topic")));
    }
    let new = targets(cluster, &args.to, &keys, &committed)?;
    if args.execute {
        offsets::commit(cluster, group, None, &new)?;
    }
    let rows = new.into_iter().map(|(key, new)| {
        let committed = committed.get(&key).copied();
        Row { group: group.clone(), topic: key.0, partition: key.1, committed, new, executed: args.execute }
    });
    if json {
        rows.for_each(|row| output.json(&row));
        return Ok(());
    }
    let rows = rows.map(|row| {
        let committed = row.committed.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        vec![row.group, row.topic, row.partition.to_string(), committed, row.new.to_string()]
    });
    table(output, &["GROUP", "TOPIC", "PARTITION", "COMMITTED", "NEW-OFFSET"], rows.collect());
    if !args.execute {
        output.note("Nothing was changed: --execute does it.");
    }
    Ok(())
}

/// The partitions of `topic` or `topic:0,2`.
fn named(cluster: &mut Cluster, names: &[String]) -> Result<BTreeSet<Key>, Ended> {
    let mut keys = BTreeSet::new();
    for text in names {
        let (name, only) = match text.split_once(':') {
            Some((name, numbers)) => (name, Some(numbers)),
            None => (text.as_str(), None),
        };
        let all = cluster.topic_with_leaders(name, false)?.numbers();
        let wanted = match only {
            None => all,
            Some(numbers) => {
                let number = |number: &str| number.parse().ok().filter(|number| all.contains(number));
                let numbers: Option<Vec<i32>> = numbers.split(',').map(number).collect();
                numbers
                    .ok_or_else(|| Ended::Usage(format!("--topic {text}: {name} has {}, numbered from 0", all.len())))?
            }
        };
        keys.extend(wanted.into_iter().map(|number| (name.to_owned(), number)));
    }
    Ok(keys)
}

/// Where each partition goes, within what its log has.
fn targets(
    cluster: &mut Cluster,
    to: &To,
    keys: &BTreeSet<Key>,
    committed: &BTreeMap<Key, i64>,
) -> Result<BTreeMap<Key, i64>, Error> {
    let starts = at(cluster, keys, EARLIEST)?;
    let ends = ends(cluster, keys);
    let moment = to.to_datetime.or(to.by_duration.map(|duration| now_ms().saturating_sub(duration)));
    let times = moment.map(|moment| at(cluster, keys, moment)).transpose()?;
    let mut new = BTreeMap::new();
    for key in keys {
        let known = |found: &BTreeMap<Key, i64>| found.get(key).copied();
        let start = known(&starts).unwrap_or(0);
        let end = known(&ends).ok_or_else(|| Error::GaveUp(format!("{}-{}: its end is not known", key.0, key.1)))?;
        let now = known(committed);
        let wanted = if to.to_earliest {
            start
        } else if to.to_latest {
            end
        } else if let Some(offset) = to.to_offset {
            offset
        } else if let Some(count) = to.shift_by {
            let now =
                now.ok_or_else(|| Error::GaveUp(format!("{}-{}: nothing is committed to shift", key.0, key.1)))?;
            now.saturating_add(count)
        } else if let Some(times) = &times {
            // -1: nothing is so late.
            known(times).filter(|offset| *offset >= 0).unwrap_or(end)
        } else {
            now.unwrap_or(end)
        };
        new.insert(key.clone(), wanted.clamp(start, end.max(start)));
    }
    Ok(new)
}

fn at(cluster: &mut Cluster, keys: &BTreeSet<Key>, moment: i64) -> Result<BTreeMap<Key, i64>, Error> {
    let mut found = BTreeMap::new();
    let topics: BTreeSet<&str> = keys.iter().map(|(topic, _)| topic.as_str()).collect();
    for topic in topics {
        let own = keys.iter().filter(|(name, _)| name == topic);
        let wanted: Vec<(i32, i64)> = own.map(|(_, partition)| (*partition, moment)).collect();
        let offsets = cluster.offsets_at(topic, &wanted)?;
        found.extend(offsets.into_iter().map(|(partition, offset)| ((topic.to_owned(), partition), offset)));
    }
    Ok(found)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `90s`, `15m`, `2h`, `7d`, or days, hours, minutes and whole seconds in ISO 8601 (`P1DT2H30M5S`).
fn duration_ms(text: &str) -> Result<i64, String> {
    let wrong = || "a duration such as 30s, 15m, 2h, 7d, or P1DT12H".to_owned();
    let upper = text.to_ascii_uppercase();
    let (days, time) = match upper.strip_prefix('P') {
        Some(iso) => iso.split_once('T').unwrap_or((iso, "")),
        None if upper.ends_with('D') => (upper.as_str(), ""),
        None => ("", upper.as_str()),
    };
    if days.is_empty() && time.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0_i64;
    let mut number = String::new();
    let units = days.chars().map(|char| (char, true)).chain(time.chars().map(|char| (char, false)));
    for (char, is_date) in units {
        let unit = match (char, is_date) {
            ('0'..='9', _) => {
                number.push(char);
                continue;
            }
            ('W', true) => 7 * 86_400,
            ('D', true) => 86_400,
            ('H', false) => 3600,
            ('M', false) => 60,
            ('S', false) => 1,
            _ => return Err(wrong()),
        };
        let count: i64 = number.parse().map_err(|_not_one| wrong())?;
        number.clear();
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
    }
    let whole = number.is_empty().then_some(seconds).ok_or_else(wrong)?;
    whole.checked_mul(1000).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::duration_ms;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("30s", 30),
            ("15m", 900),
            ("2h", 7200),
            ("7d", 604_800),
            ("1h30m", 5400),
            ("P1D", 86_400),
            ("P1W", 604_800),
            ("PT2H30M5S", 9005),
            ("P1DT12H", 129_600),
        ] {
            assert_eq!(duration_ms(text), Ok(seconds * 1000), "{text}");
        }
        for wrong in ["", "P", "PT", "5", "h", "1y", "P1H", "PT1D", "-5m", "99999999999999999999d", "1.5h"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
    }
}
