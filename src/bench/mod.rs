//! A node, or any broker that speaks the Kafka protocol, seen from outside: load, floor, report, gate.
//!
//! ```text
//!   parameters  what one row is: workload and numbers
//!   arrivals    recorded moments for an open loop to follow
//!   suite       the named rows
//!   row         one row run: topic, load, what it cost; topic makes and deletes topics
//!   load        the engine: connections, closed and open loop, histograms
//!   wire        requests and answers, encoded by hand: a load that shared the node's codec would not notice its mistakes
//!   server      a process that is measured: started, pinned, looked at through /proc
//!   floor       the same load with no broker, by stage: what this machine allows
//!   node        a node of our own on a scratch directory
//!   host        what machine this is
//!   metrics     a node's own figures, read over HTTP
//!   stats       medians, ratios of pairs, their intervals
//!   compare     runs of several brokers made one report
//!   report      all of it as JSON and as one HTML file
//!   paths       the pure paths, timed by criterion and counted by callgrind
//!   counts      what a build does per request, counted: the tight half of the gate
//!   gate        two builds, settings or brokers in turns: bounds, verdicts, JUnit
//! ```
//! Called by `cli::bench` and `cli::gate`, and by the benches. Everything here is a client of other processes, on real
//! time and threads, and without `unsafe`.
//!
//! **Invariants.** 1. What is sent is encoded before the clock starts. 2. Latency at a fixed rate counts from the moment
//! at which a request was meant to be sent. 3. Percentiles come from one merged histogram, never from other percentiles.

pub mod arrivals;
pub mod compare;
pub mod counts;
pub mod floor;
pub mod gate;
pub mod host;
pub mod load;
pub mod metrics;
pub mod node;
pub mod parameters;
pub mod paths;
pub mod report;
pub mod row;
pub mod server;
pub mod stats;
pub mod suite;
pub mod topic;
pub mod wire;
