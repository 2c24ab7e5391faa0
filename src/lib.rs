//! Ringmain: a log storage node for Linux that speaks the Apache Kafka protocol.
pub mod io;
pub mod types;
