//! The settings of consumer groups and of the topic that they are kept in.

use super::keys::{Key, fits, number, server};
use crate::limits::PARTITIONS_A_TOPIC_MAX;

/// In the order in which `ringmain help settings` shows them.
pub(super) const GROUP_KEYS: &[Key] = &[
    Key {
        name: "group.initial.rebalance.delay.ms",
        about: "how long a new group waits for more members",
        default: "3000",
        set: |draft, value| {
            let ms = number(value, 0, INT_MAX)?;
            server(draft, move |config| config.groups.initial_rebalance_delay_ms = fits(ms))
        },
    },
    Key {
        name: "group.min.session.timeout.ms",
        about: "shortest session that a member may ask for",
        default: "6000",
        set: |draft, value| {
            let ms = number(value, 1, INT_MAX)?;
            server(draft, move |config| config.groups.min_session_timeout_ms = fits(ms))
        },
    },
    Key {
        name: "group.max.session.timeout.ms",
        about: "longest session that a member may ask for",
        default: "1800000",
        set: |draft, value| {
            let ms = number(value, 1, INT_MAX)?;
            server(draft, move |config| config.groups.max_session_timeout_ms = fits(ms))
        },
    },
    Key {
        name: "group.max.size",
        about: "members of one group",
        default: "2147483647",
        set: |draft, value| {
            let members = number(value, 1, INT_MAX)?;
            server(draft, move |config| config.groups.max_size = fits(members))
        },
    },
    Key {
        name: "offset.metadata.max.bytes",
        about: "text beside one committed offset",
        default: "4096",
        set: |draft, value| {
            let bytes = number(value, 0, INT_MAX)?;
            server(draft, move |config| config.groups.offset_metadata_max_bytes = fits(bytes))
        },
    },
    Key {
        name: "offsets.retention.minutes",
        about: "minutes that offsets of a group without members are kept",
        default: "10080",
        set: |draft, value| {
            let minutes = number(value, 1, INT_MAX)?;
            server(draft, move |config| config.groups.offsets_retention_ms = fits::<u64>(minutes) * 60_000)
        },
    },
    Key {
        name: "offsets.retention.check.interval.ms",
        about: "milliseconds between two looks at which offsets may go",
        default: "600000",
        set: |draft, value| {
            let ms = number(value, 1, i64::MAX)?;
            server(draft, move |config| config.groups.offsets_retention_check_interval_ms = fits(ms))
        },
    },
    Key {
        name: "offsets.topic.num.partitions",
        about: "partitions of __consumer_offsets when it is made",
        default: "50",
        set: |draft, value| {
            let count = number(value, 1, i64::from(PARTITIONS_A_TOPIC_MAX))?;
            server(draft, move |config| config.handlers.offsets_topic.num_partitions = fits(count))
        },
    },
    Key {
        name: "offsets.topic.segment.bytes",
        about: "segment.bytes of __consumer_offsets when it is made",
        default: "104857600",
        set: |draft, value| {
            let bytes = number(value, SEGMENT_BYTES_MIN, INT_MAX)?;
            server(draft, move |config| config.handlers.offsets_topic.segment_bytes = fits(bytes))
        },
    },
    Key {
        name: "offsets.topic.replication.factor",
        about: "copies of __consumer_offsets; one node keeps one",
        default: "1",
        set: |_, value| number(value, 1, 1).map(drop),
    },
];

const INT_MAX: i64 = i32::MAX as i64;
/// What `segment.bytes` of a topic may be at the least.
const SEGMENT_BYTES_MIN: i64 = 1 << 20;
