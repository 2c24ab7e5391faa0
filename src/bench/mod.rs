//! A node, or any broker that speaks the Kafka protocol, seen from outside: load, floor, report, gate.
//!
//! ```text
//!   paths     the pure paths, timed by criterion and counted by callgrind
//!   counts    what a build does per request, counted: the tight half of the gate
//!   wire      requests and answers, encoded by hand: a load that shared the node's codec would not notice its mistakes
//! ```
//! Called by `cli::bench` and `cli::gate`, and by the benches. Everything here is a client of other processes, on real
//! time and threads, and without `unsafe`.
//!
//! **Invariants.** 1. What is sent is encoded before the clock starts. 2. Latency at a fixed rate counts from the moment
//! at which a request was meant to be sent. 3. Percentiles come from one merged histogram, never from other percentiles.

pub mod counts;
pub mod paths;
pub mod wire;
