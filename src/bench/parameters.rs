//! What one row of a benchmark is: its workload and its numbers. Part of the report, so that a row can be run again.

use serde::{Deserialize, Serialize};

use super::arrivals::Arrivals;
use super::wire::BatchShape;
use crate::record::Compression;

/// What a load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Producers alone.
    Produce,
    /// Producers, and consumers at the log's end, as fast as they go.
    Tail,
    /// Producers at a fixed rate and a consumer: from the moment a record was meant to be sent until it has arrived.
    EndToEnd,
    /// Consumers alone, from the log's beginning, again and again.
    CatchUp,
}

/// How fast a load goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The next request goes out when an answer has come in: closed loop.
    Saturate,
    /// Requests go out at fixed moments, whatever the answers do: open loop.
    Rate,
}

/// The numbers of a row. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// Closed or open loop.
    pub mode: Mode,
    /// Requests a second, of all connections together; in [`Mode::Rate`] alone.
    pub rate_per_second: Option<f64>,
    /// When requests are due in [`Mode::Rate`], where not at even moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
    /// Bytes of each record's value.
    pub record_bytes: usize,
    /// Records in each batch.
    pub records_per_batch: usize,
    /// Bytes of each encoded batch; known when it is made.
    pub batch_bytes: usize,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Partitions that each Produce request has a batch for.
    pub partitions_per_request: usize,
    /// Connections that produce, or in a catch-up those that fetch.
    pub connections: usize,
    /// Produce requests that a connection has under way at most, in [`Mode::Saturate`].
    pub in_flight: usize,
    /// The same in [`Mode::Rate`], where `None` means as many as are due. One that waits for its turn counts from when it
    /// was due all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_at_rate: Option<usize>,
    /// Consumers, each of which reads everything.
    pub consumers: usize,
    /// `max_bytes` of a Fetch, and of each of its partitions.
    pub fetch_bytes: i32,
    /// Which acknowledgement is asked for: "all", "1" or "0".
    pub acks: String,
    /// "none", "gzip", "snappy", "lz4" or "zstd".
    pub codec: String,
    /// Whether records have keys.
    pub keyed: bool,
}

impl Default for Parameters {
    /// 64 KiB batches of 1 KiB records, durable, as many as go.
    fn default() -> Self {
        Self {
            mode: Mode::Saturate,
            rate_per_second: None,
            arrivals: None,
            record_bytes: 1024,
            records_per_batch: 64,
            batch_bytes: 0,
            partitions: 10,
            partitions_per_request: 1,
            connections: 8,
            in_flight: 2,
            in_flight_at_rate: None,
            consumers: 0,
            fetch_bytes: 1 << 20,
            acks: "all".to_owned(),
            codec: "none".to_owned(),
            keyed: false,
        }
    }
}

impl Parameters {
    /// Sends at these moments from now on, and so at their rate.
    pub fn follow(&mut self, arrivals: Arrivals) {
        self.mode = Mode::Rate;
        self.rate_per_second = Some(arrivals.rate_per_second());
        self.arrivals = Some(arrivals);
    }

    /// The batches' shape, as of now.
    ///
    /// # Errors
    /// Names what cannot be: the word goes to the user.
    pub fn batch_shape(&self, timestamp_ms: i64) -> Result<BatchShape, String> {
        Ok(BatchShape {
            records: self.records_per_batch,
            value_bytes: self.record_bytes,
            keyed: self.keyed,
            compression: codec(&self.codec)?,
            timestamp_ms,
            seed: 42,
        })
    }

    /// The wire's number for [`Self::acks`].
    ///
    /// # Errors
    /// Where it is none.
    pub fn acks_code(&self) -> Result<i16, String> {
        match self.acks.as_str() {
            "all" | "-1" => Ok(-1),
            "1" => Ok(1),
            "0" => Ok(0),
            other => Err(format!("acks is {other:?}: all, 1 or 0")),
        }
    }

    /// Ok where a load can be made of these numbers.
    ///
    /// # Errors
    /// Names the first that is out of bounds, and its bounds.
    pub fn check(&self, workload: Workload) -> Result<(), String> {
        let bounds = [
            ("record bytes", self.record_bytes, 1, 100 << 20),
            ("records per batch", self.records_per_batch, 1, 1 << 20),
            ("partitions", usize::try_from(self.partitions).unwrap_or(0), 1, 100_000),
            ("partitions per request", self.partitions_per_request, 1, 10_000),
            ("connections", self.connections, 1, 10_000),
            ("requests in flight", self.in_flight, 1, 10_000),
            ("requests in flight at a rate", self.in_flight_at_rate.unwrap_or(1), 1, 10_000),
            ("consumers", self.consumers, 0, 1_000),
            ("fetch bytes", usize::try_from(self.fetch_bytes).unwrap_or(0), 1, 1 << 30),
        ];
        for (what, value, min, max) in bounds {
            if value < min || value > max {
                return Err(format!("{what}: {value} is not in {min} to {max}"));
            }
        }
        if self.record_bytes.saturating_mul(self.records_per_batch) > 256 << 20 {
            return Err("a batch of over 256 MiB is none that a broker takes".to_owned());
        }
        match (self.mode, self.rate_per_second) {
            (Mode::Rate, Some(rate)) if rate > 0.0 && rate.is_finite() => {}
            (Mode::Rate, _) => return Err("a fixed rate needs a number of requests a second above 0".to_owned()),
            (Mode::Saturate, _) => {}
        }
        if workload == Workload::EndToEnd && self.mode != Mode::Rate {
            return Err("end to end is measured at a fixed rate: give one".to_owned());
        }
        if matches!(workload, Workload::Tail | Workload::EndToEnd) && self.consumers == 0 {
            return Err("at least one consumer is needed".to_owned());
        }
        if self.acks_code()? == 0 && workload != Workload::Produce {
            return Err("with acks=0 nothing tells which records there are to read".to_owned());
        }
        self.batch_shape(0).map(|_| ())
    }
}

fn codec(name: &str) -> Result<Compression, String> {
    match name {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        other => Err(format!("codec is {other:?}: none, gzip, snappy, lz4 or zstd")),
    }
}
