//! How long requests take on one shard, as a whole and stage by stage.
//!
//! A request is a [`Trip`] from the first byte of its frame to the last byte of its answer. It is cut into stages, each
//! beginning where the one before ended, so that the stages of a request sum to its whole:
//!
//! ```text
//!   Produce  read | decode | append | write | flush | reply              to a partition of this shard
//!            read | decode | hop.. | append | write | flush | ..hop | reply        of another shard
//!   Fetch    read | decode | (wait) | load | reply                  load: hop.. | load | ..hop of another shard
//!   Other    read | handle | reply
//! ```
//!
//! Recorded by the handlers and by `server::reply`, each stage once for a request, on the shard that holds its connection;
//! where a request is for partitions of several shards it is the part that ended last whose stages count. Shown by
//! `server::metrics`, and in the log once a minute while there is traffic.
//!
//! **What it costs.** A record is a dozen instructions (`cargo bench --bench protocol -- stages`); a stage takes its time from the turn
//! ([`Runtime::turn_ns`](crate::io::Runtime::turn_ns)) where it ends with a completion, and from one read of the clock where
//! it ends with work of the processor. Nothing is allocated.

pub mod histogram;

use std::fmt;

use histogram::{Counts, Histogram};

use crate::io::tally::Tally;
use crate::protocol::ApiKey;

/// Which requests are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Produce.
    Produce,
    /// Fetch. The time that it waited for records is no part of its whole.
    Fetch,
    /// Everything else.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Produce, Self::Fetch, Self::Other];

    fn of(api: ApiKey) -> Self {
        match api {
            ApiKey::Produce => Self::Produce,
            ApiKey::Fetch => Self::Fetch,
            _ => Self::Other,
        }
    }
}

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the first byte of the frame to the whole of it.
    Read,
    /// From there until it is known what is asked of which shard: parsing, looking up, and waiting for the shard to get to
    /// it. Of a Fetch, also the wait for its turn on the connection.
    Decode,
    /// In and through the mailboxes, to another shard and back.
    Hop,
    /// Checking the batches and copying them into the buffers of their logs.
    Append,
    /// From there until their window is written, the forming of the window included.
    Write,
    /// From there until their window is flushed.
    Flush,
    /// A Fetch that found too little waits for more; not in its whole.
    Wait,
    /// Deciding what a Fetch gives, and reading from the disk what is in no memory.
    Load,
    /// All that another request does.
    Handle,
    /// From the moment at which nothing more is waited for until the kernel has the last byte of the answer: waking,
    /// encoding, waiting for the answers before it, sending.
    Reply,
}

impl Stage {
    /// Every stage, in the order in which a request passes them.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Decode,
        Self::Hop,
        Self::Append,
        Self::Write,
        Self::Flush,
        Self::Wait,
        Self::Load,
        Self::Handle,
        Self::Reply,
    ];

    /// Its name in figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Hop => "hop",
            Self::Append => "append",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Wait => "wait",
            Self::Load => "load",
            Self::Handle => "handle",
            Self::Reply => "reply",
        }
    }
}

/// When a frame came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Its first byte was there.
    pub first_ns: u64,
    /// Its last byte was there.
    pub whole_ns: u64,
}

/// A request on its way: how much of its time is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    kind: Kind,
    /// Where its whole begins.
    begun_ns: u64,
    /// Up to where its time has been put into stages.
    told_ns: u64,
    hop_ns: u64,
}

impl Trip {
    /// Up to where its time has been put into stages.
    #[must_use]
    pub fn told_ns(&self) -> u64 {
        self.told_ns
    }

    /// The time up to `until_ns` was spent between shards: a part of its hop, see [`Figures::hopped`].
    pub fn hop(&mut self, until_ns: u64) {
        self.hop_ns += self.advance(until_ns);
    }

    /// Goes on to a moment, unless it is there already: clocks of two shards may be read in any order.
    fn advance(&mut self, until_ns: u64) -> u64 {
        let spent_ns = until_ns.saturating_sub(self.told_ns);
        self.told_ns += spent_ns;
        spent_ns
    }
}

/// The figures of one shard since the node was started. Written by that shard alone, read by any thread.
#[derive(Default)]
pub struct Figures {
    requests: Requests,
    stages: [[Histogram; Stage::ALL.len()]; Kind::ALL.len()],
    wholes: [Histogram; Kind::ALL.len()],
}

impl Figures {
    /// A request has come.
    #[must_use]
    pub fn begin(&self, api: ApiKey, arrival: Arrival) -> Trip {
        self.requests.0[api as usize].add(1);
        let Arrival { first_ns, whole_ns } = arrival;
        let mut trip = Trip { kind: Kind::of(api), begun_ns: first_ns, told_ns: first_ns, hop_ns: 0 };
        self.pass(&mut trip, Stage::Read, whole_ns);
        trip
    }

    /// The time of a request since its last stage, up to `until_ns`, was spent in this one.
    pub fn pass(&self, trip: &mut Trip, stage: Stage, until_ns: u64) {
        let spent_ns = trip.advance(until_ns);
        self.stages[trip.kind as usize][stage as usize].record(spent_ns);
    }

    /// The request waited until `until_ns` for something to come: that is no time that it took.
    pub fn wait(&self, trip: &mut Trip, until_ns: u64) {
        let from_ns = trip.told_ns;
        self.pass(trip, Stage::Wait, until_ns);
        trip.begun_ns += trip.told_ns - from_ns;
    }

    /// The request is back from another shard: tells what [`Trip::hop`] has noted.
    pub fn hopped(&self, trip: &mut Trip) {
        let spent_ns = std::mem::take(&mut trip.hop_ns);
        self.stages[trip.kind as usize][Stage::Hop as usize].record(spent_ns);
    }

    /// The kernel has the whole answer.
    pub fn replied(&self, mut trip: Trip, at_ns: u64) {
        self.pass(&mut trip, Stage::Reply, at_ns);
        self.end(trip);
    }

    /// The request is over without an answer, or with its last byte.
    pub fn end(&self, trip: Trip) {
        self.wholes[trip.kind as usize].record(trip.told_ns.saturating_sub(trip.begun_ns));
    }

    /// Requests that have come, by API.
    pub fn requests(&self) -> impl Iterator<Item = (ApiKey, u64)> {
        ApiKey::ALL.into_iter().map(|api| (api, self.requests.0[api as usize].get()))
    }

    /// A stage of requests of a kind.
    #[must_use]
    pub fn stage(&self, kind: Kind, stage: Stage) -> &Histogram {
        &self.stages[kind as usize][stage as usize]
    }

    /// Requests of a kind as wholes.
    #[must_use]
    pub fn whole(&self, kind: Kind) -> &Histogram {
        &self.wholes[kind as usize]
    }

    /// Everything as it stands now, for [`Summary::between`].
    #[must_use]
    pub fn moment(&self) -> Moment {
        let stage = |kind, stage| self.stage(kind, stage).counts();
        Moment(Kind::ALL.map(|kind| (self.whole(kind).counts(), Stage::ALL.map(|of| stage(kind, of)).into())))
    }
}

/// Requests by the number of their API.
struct Requests([Tally; APIS]);

impl Default for Requests {
    fn default() -> Self {
        Self([const { Tally::new() }; APIS])
    }
}

/// All figures of a shard at one moment.
pub struct Moment([(Counts, Box<[Counts]>); Kind::ALL.len()]);

impl Default for Moment {
    fn default() -> Self {
        Self(Kind::ALL.map(|_| (Counts::NONE, vec![Counts::NONE; Stage::ALL.len()].into())))
    }
}

/// What a shard tells of a period in its log.
pub struct Summary(Vec<Line>);

struct Line {
    kind: Kind,
    whole: Counts,
    stages: Vec<(Stage, Counts)>,
}

impl Summary {
    /// What came between two moments, if anything did.
    #[must_use]
    pub fn between(earlier: &Moment, later: &Moment) -> Option<Self> {
        let mut lines = Vec::new();
        for (kind, ((whole, stages), (whole_before, stages_before))) in
            Kind::ALL.into_iter().zip(later.0.iter().zip(&earlier.0))
        {
            let whole = whole.since(whole_before);
            if whole.count() == 0 {
                continue;
            }
            let stages = stages.iter().zip(stages_before).map(|(now, before)| now.since(before));
            let stages = Stage::ALL.into_iter().zip(stages).filter(|(_, counts)| counts.count() > 0);
            lines.push(Line { kind, whole, stages: stages.collect() });
        }
        (!lines.is_empty()).then_some(Self(lines))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| ns.div_ceil(1_000);
        for (number, Line { kind, whole, stages }) in self.0.iter().enumerate() {
            let gap = if number > 0 { "; " } else { "" };
            let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| us(whole.quantile_ns(share)));
            write!(f, "{gap}{kind:?} {} us p50 {p50} p99 {p99} p99.9 {p999} max {max} (p50/p99", whole.count())?;
            for (stage, counts) in stages {
                let [p50, p99] = [0.5, 0.99].map(|share| us(counts.quantile_ns(share)));
                write!(f, " {} {p50}/{p99}", stage.name())?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Numbers of APIs: those of Apache Kafka 4.3.1 end at 92.
const APIS: usize = 93;

#[cfg(test)]
mod tests {
    use super::{ApiKey, Arrival, Figures, Kind, Moment, Stage, Summary, Trip};

    fn count(figures: &Figures, kind: Kind, stage: Stage) -> u64 {
        figures.stage(kind, stage).counts().count()
    }

    fn sum_ns(figures: &Figures, kind: Kind, stage: Stage) -> u64 {
        figures.stage(kind, stage).counts().sum_ns
    }

    #[test]
    fn the_stages_of_a_request_sum_to_its_whole_whatever_the_clocks_say() {
        let figures = Figures::default();
        let mut trip = figures.begin(ApiKey::Produce, Arrival { first_ns: 1_000, whole_ns: 3_000 });
        figures.pass(&mut trip, Stage::Decode, 4_000);
        trip.hop(9_000);
        figures.pass(&mut trip, Stage::Append, 9_500);
        figures.pass(&mut trip, Stage::Write, 40_000);
        figures.pass(&mut trip, Stage::Flush, 90_000);
        // Read before the flush had ended on the other shard.
        trip.hop(89_000);
        trip.hop(92_000);
        figures.hopped(&mut trip);
        figures.replied(trip, 100_000);
        let whole = figures.whole(Kind::Produce).counts();
        assert_eq!((whole.count(), whole.sum_ns), (1, 99_000));
        let stages: u64 = Stage::ALL.map(|stage| sum_ns(&figures, Kind::Produce, stage)).iter().sum();
        assert_eq!(stages, 99_000);
        assert_eq!(sum_ns(&figures, Kind::Produce, Stage::Hop), 7_000);
        let produced = figures.requests().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
        assert_eq!(produced, [(ApiKey::Produce, 1)]);
    }

    #[test]
    fn what_a_fetch_waits_is_a_stage_and_no_part_of_its_whole() {
        let figures = Figures::default();
        let mut trip = figures.begin(ApiKey::Fetch, Arrival { first_ns: 0, whole_ns: 0 });
        figures.pass(&mut trip, Stage::Decode, 1_000);
        figures.wait(&mut trip, 500_000_000);
        figures.pass(&mut trip, Stage::Load, 500_002_000);
        figures.replied(trip, 500_005_000);
        assert_eq!(figures.whole(Kind::Fetch).counts().sum_ns, 6_000);
        assert_eq!(sum_ns(&figures, Kind::Fetch, Stage::Wait), 499_999_000);
        assert_eq!(count(&figures, Kind::Fetch, Stage::Hop), 0);
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let figures = Figures::default();
        let begun = figures.moment();
        assert!(Summary::between(&Moment::default(), &begun).is_none());
        for us in 1..=100 {
            let trip = figures.begin(ApiKey::Metadata, Arrival { first_ns: 0, whole_ns: 0 });
            figures.replied(trip, us * 1_000);
        }
        let after = figures.moment();
        let text = Summary::between(&begun, &after).expect("recorded").to_string();
        assert!(text.starts_with("Other 100 us p50 5"), "{text}");
        assert!(text.contains(" (p50/p99 read 1/1 reply 5"), "{text}");
        assert!(Summary::between(&after, &figures.moment()).is_none());
    }

    #[test]
    fn every_api_has_its_number() {
        let figures = Figures::default();
        let trips: Vec<Trip> = ApiKey::ALL.map(|api| figures.begin(api, Arrival::default())).into();
        assert_eq!(trips.len(), figures.requests().filter(|(_, count)| *count == 1).count());
    }
}
