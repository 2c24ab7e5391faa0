//! The one integration test binary: the repository's own rules, the command line, and librdkafka against a node.
//!
//! kcat and Kafka's own tools are driven by `tests/clients/`, what needs root by `tests/privileged/`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests drive real processes by real time, threads and files"
)]

mod admin;
mod bench;
mod cli;
mod cli_data;
mod clients_rdkafka;
mod copies;
#[expect(clippy::print_stdout, reason = "the counts are worth reading where one of them is off")]
mod counts;
mod floor;
mod groups;
mod kill9;
mod log_commands;
mod metrics;
mod node;
mod raw;
mod rdkafka_records;
#[expect(clippy::print_stdout, reason = "a soak tells how far it is")]
mod sim;
mod tidy;
