//! One partition: a log plus Kafka's meaning.
pub mod producer_state;
