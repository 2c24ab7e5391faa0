//! A node's own figures, read over HTTP: `GET /metrics` in Prometheus's text format 0.0.4, and what two looks differ in.
//!
//! Called by `row`, which looks before and after it measures, and by the gate, which counts what a request costs. Reads
//! any exporter of that format; the stages are those of `server::metrics`.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::report::Stage;

/// One look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    samples: Vec<Sample>,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Looks at the node that shows its metrics at `host:port`, also written as a URL.
///
/// # Errors
/// Where nobody answers within ten seconds, or what is answered is no metrics.
pub fn scrape(address: &str) -> io::Result<Scrape> {
    let host = address.strip_prefix("http://").unwrap_or(address);
    let host = host.split('/').next().unwrap_or(host);
    Scrape::parse(&get(host)?)
}

impl Scrape {
    /// Reads a text.
    ///
    /// # Errors
    /// The first line that the format does not allow.
    pub fn parse(text: &str) -> io::Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let sample = |line| Sample::parse(line).ok_or_else(|| invalid(format!("no line of metrics: {line}")));
        Ok(Self { samples: lines.map(sample).collect::<io::Result<_>>()? })
    }

    /// The sum of a metric over all samples that have these labels, whatever others they have; `None` where there is none.
    #[must_use]
    pub fn total(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted = self.named(name).filter(|sample| labels.iter().all(|(label, of)| sample.label(label) == Some(of)));
        wanted.map(|sample| sample.value).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// What the Produce and Fetch requests between an earlier look and this one spent their time in, all shards together,
    /// in the order in which a request passes its stages.
    #[must_use]
    pub fn stages_since(&self, before: &Self) -> Vec<Stage> {
        let earlier = before.stages();
        let each = self.stages().into_iter().filter_map(|(stage, buckets)| {
            let before = earlier.iter().find(|(name, _)| *name == stage).map(|(_, buckets)| buckets);
            buckets.since(before).stage(stage)
        });
        each.collect()
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// Every stage with its buckets, in the order of the text.
    fn stages(&self) -> Vec<(String, Buckets)> {
        let mut stages: Vec<(String, Buckets)> = Vec::new();
        let mut below = (Vec::new(), 0);
        for sample in self.named("ringmain_stage_duration_seconds_bucket") {
            let (Some(api @ ("Produce" | "Fetch")), Some(stage)) = (sample.label("api"), sample.label("stage")) else {
                continue;
            };
            let Some(bound) = sample.label("le").and_then(|bound| bound.parse().ok()) else { continue };
            let of: Vec<_> = sample.labels.iter().filter(|(label, _)| label != "le").collect();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of less than 2^53")]
            let up_to = sample.value as u64;
            // Counts rise within one histogram, of which each shard has its own.
            let own = if below.0 == of { up_to.saturating_sub(below.1) } else { up_to };
            below = (of, up_to);
            let name = format!("{api} {stage}");
            let at = stages.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                stages.push((name, Buckets::default()));
                stages.len() - 1
            });
            stages[at].1.add(bound, own);
        }
        stages
    }
}

impl Sample {
    /// `name value`, `name{label="text",...} value`, either with a time behind it.
    fn parse(line: &str) -> Option<Self> {
        let end = line.find(|char: char| !(char.is_ascii_alphanumeric() || char == '_' || char == ':'))?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner.trim_start();
            while !rest.starts_with('}') {
                let (label, text) = rest.split_once("=\"")?;
                let (text, behind) = unescape(text)?;
                labels.push((label.trim().to_owned(), text));
                rest = behind.trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            rest = &rest[1..];
        }
        let value = rest.split_whitespace().next()?.parse().ok()?;
        (!name.is_empty()).then(|| Self { name: name.to_owned(), labels, value })
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, of)| of.as_str())
    }
}

/// The text up to its closing quote, and what is behind that.
fn unescape(text: &str) -> Option<(String, &str)> {
    let mut plain = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((plain, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => plain.push('\n'),
                other => plain.push(other),
            },
            other => plain.push(other),
        }
    }
    None
}

/// How many durations each bucket holds, by its upper bound. What is not here holds none.
#[derive(Clone, Debug, Default, PartialEq)]
struct Buckets(BTreeMap<u64, (f64, u64)>);

impl Buckets {
    fn add(&mut self, bound_seconds: f64, count: u64) {
        // Bounds are positive, so that their bits are in their order.
        let bucket = self.0.entry(bound_seconds.to_bits()).or_insert((bound_seconds, 0));
        bucket.1 += count;
    }

    fn since(mut self, before: Option<&Self>) -> Self {
        for (bits, (_, count)) in &mut self.0 {
            let earlier = before.and_then(|before| before.0.get(bits)).map_or(0, |(_, count)| *count);
            *count = count.saturating_sub(earlier);
        }
        self
    }

    fn count(&self) -> u64 {
        self.0.values().map(|(_, count)| count).sum()
    }

    fn stage(&self, stage: String) -> Option<Stage> {
        let count = self.count();
        let us = |share| self.quantile_seconds(share) * 1e6;
        (count > 0).then(|| Stage {
            stage,
            count,
            p50_us: us(0.5),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: us(1.0),
        })
    }

    /// The duration that this share of all did not exceed, as if those of a bucket lay evenly in it.
    #[expect(clippy::cast_precision_loss, reason = "counts of less than 2^53")]
    fn quantile_seconds(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil().max(1.0);
        let (mut below, mut last) = (0.0, 0.0);
        for (bound, count) in self.0.values().filter(|(_, count)| *count > 0) {
            let count = *count as f64;
            if below + count >= wanted && bound.is_finite() {
                let from = f64::max(last, bound * NARROWEST);
                return from + (bound - from) * (wanted - below) / count;
            }
            below += count;
            last = if bound.is_finite() { *bound } else { last };
        }
        // Beyond all bounds: longer than the longest of them.
        last.max(LONGEST_SECONDS)
    }
}

/// A bucket of the node begins an eighth below its end at the lowest, where the one before it is not shown.
const NARROWEST: f64 = 8.0 / 9.0;
/// Where its last bucket begins.
const LONGEST_SECONDS: f64 = 68.719_476_736;

/// The body of `GET /metrics`.
fn get(host: &str) -> io::Result<String> {
    let address = host.to_socket_addrs()?.next().ok_or_else(|| invalid(format!("{host}: no address")))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {host}\r\nAccept: text/plain;version=0.0.4\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    let answer = String::from_utf8(bytes).map_err(|_| invalid(format!("{host}: metrics that are not text")))?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| invalid(format!("{host} does not answer as HTTP does")))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(invalid(format!("{host} answers {status:?}")));
    }
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    if length.is_some_and(|length: usize| length != body.len()) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{host}: metrics are cut short")));
    }
    Ok(body.to_owned())
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

const PATIENCE: Duration = Duration::from_secs(10);
/// Far more than the metrics of 100 shards.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::{Sample, Scrape, scrape};
    use crate::handlers::figures::{Arrival, Stage};
    use crate::io::http::Http;
    use crate::io::socket::Socket;
    use crate::protocol::ApiKey;
    use crate::server::metrics;
    use crate::server::status::Status;
    use crate::types::ShardId;

    #[test]
    fn lines_of_the_format_are_read_and_others_refused() {
        let sample = |line| Sample::parse(line).map(|sample| (sample.name, sample.labels, sample.value));
        let label = |name: &str, of: &str| (name.to_owned(), of.to_owned());
        assert_eq!(sample("up 1"), Some(("up".to_owned(), vec![], 1.0)));
        assert_eq!(sample("a:b_c{} 1.5e-7 1700000000"), Some(("a:b_c".to_owned(), vec![], 1.5e-7)));
        let escaped = sample(r#"m{path="C:\\x \"y\"\n", le="+Inf",} +Inf"#).expect("a sample");
        assert_eq!(escaped.1, [label("path", "C:\\x \"y\"\n"), label("le", "+Inf")]);
        assert!(escaped.2.is_infinite());
        for line in ["", "up", "{a=\"b\"} 1", "m{a=\"b} 1", "m{a=b} 1", "m{a=\"b\" 1", "m one"] {
            assert_eq!(sample(line), None, "{line}");
        }
        assert!(Scrape::parse("# HELP up Is it.\n\nup 1\nHTTP/1.1 200 OK\n").is_err());
    }

    #[test]
    fn totals_are_over_the_labels_that_are_not_named() {
        let text =
            "r{api=\"Produce\",shard=\"0\"} 3\nr{api=\"Produce\",shard=\"1\"} 4\nr{api=\"Fetch\",shard=\"1\"} 5\n";
        let scrape = Scrape::parse(text).expect("metrics");
        assert_eq!(scrape.total("r", &[]), Some(12.0));
        assert_eq!(scrape.total("r", &[("api", "Produce")]), Some(7.0));
        assert_eq!(scrape.total("r", &[("api", "Produce"), ("shard", "1")]), Some(4.0));
        assert_eq!((scrape.total("r", &[("api", "Metadata")]), scrape.total("s", &[])), (None, None));
    }

    /// Requests whose append took these many microseconds, on a shard.
    fn appends(status: &Status, shard: u16, us: impl Iterator<Item = u64>) {
        let figures = &status.shard(ShardId(shard)).figures;
        for us in us {
            let mut trip = figures.begin(ApiKey::Produce, Arrival { first_ns: 0, whole_ns: 0 });
            figures.pass(&mut trip, Stage::Append, us * 1_000);
            figures.end(trip);
        }
    }

    fn look(status: &Status) -> Scrape {
        let text = String::from_utf8(metrics::answer(status, "/metrics").body).expect("text");
        Scrape::parse(&text).expect("metrics")
    }

    #[test]
    fn stages_between_two_looks_are_those_of_the_requests_between_them() {
        let status = Status::new(2, 1 << 30, true);
        assert!(look(&status).stages_since(&look(&status)).is_empty());
        appends(&status, 0, (1..=500).map(|us| us * 1_000));
        let before = look(&status);
        appends(&status, 0, 1..=5_000);
        appends(&status, 1, 5_001..=10_000);
        let after = look(&status);
        assert!(after.stages_since(&after).is_empty());
        let stages = after.stages_since(&before);
        let names: Vec<&str> = stages.iter().map(|stage| stage.stage.as_str()).collect();
        assert_eq!(names, ["Produce read", "Produce append"]);
        let append = &stages[1];
        assert_eq!(append.count, 10_000);
        let said = [append.p50_us, append.p99_us, append.p999_us, append.max_us];
        for (said, exact) in said.into_iter().zip([5_000.0, 9_900.0, 9_990.0, 10_000.0]) {
            assert!((said / exact - 1.0).abs() < 0.07, "{said} is said of {exact}");
        }
        let count = after.total("ringmain_stage_duration_seconds_count", &[("stage", "append")]);
        assert_eq!(count, Some(10_500.0));
    }

    #[test]
    fn durations_beyond_all_bounds_are_said_to_be_longer() {
        let status = Status::new(1, 1 << 30, true);
        appends(&status, 0, [1, 100_000_000].into_iter());
        let stages = look(&status).stages_since(&Scrape::default());
        assert!((0.88..=1.1).contains(&stages[1].p50_us), "{:?}", stages[1]);
        assert!(stages[1].max_us >= 68e6, "{:?}", stages[1]);
    }

    #[test]
    fn a_node_is_read_over_http() {
        let listener = Socket::listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_address().expect("bound").to_string();
        let status = Status::new(1, 1 << 30, true);
        let http = Http::serve(listener, move |path| metrics::answer(&status, path)).expect("a thread");
        for written in [address.clone(), format!("http://{address}/metrics")] {
            let scrape = scrape(&written).expect("metrics");
            assert_eq!(scrape.total("ringmain_memory_limit_bytes", &[]), Some(f64::from(1 << 30)));
        }
        drop(http);
        assert!(scrape(&address).is_err());
        assert!(scrape("nowhere").is_err());
    }
}
