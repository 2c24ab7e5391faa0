//! Bytes that Apache Kafka's own Java classes wrote.
