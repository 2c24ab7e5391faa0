//! The one place where errors of ours become Kafka's codes.
