//! A consumer: fetched batches in the order of each partition, and membership of a group.
//!
//! [`fetcher`] keeps one request under way to each leader and hands over whole answers, so that the next answer comes
//! while this one is printed. [`member`] joins a group and keeps the membership alive; [`protocol`] is what members of
//! a group say to each other. [`offsets`] reads and writes what groups have committed.

pub(crate) mod fetcher;
pub(crate) mod member;
pub(crate) mod offsets;
pub(crate) mod protocol;
