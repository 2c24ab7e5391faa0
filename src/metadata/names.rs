//! Which names a topic may have, in Kafka's own words (`org.apache.kafka.common.internals.Topic`).
//!
//! A name becomes a directory, so nothing that passes here can leave the log directory: no separator, and neither `.`
//! nor `..`. Called by the topic operations of [`MetadataLog`](super::MetadataLog) and by whoever shows topics.

/// The longest name: what Kafka allows, so that `<topic>-<partition>` with a suffix stays within 255 bytes.
pub const NAME_BYTES_MAX: usize = 249;

/// The metadata log's own topic. Never listed, never a client's.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// The topic of the group coordinators: groups and committed offsets.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";

const TRANSACTION_STATE: &str = "__transaction_state";
const SHARE_GROUP_STATE: &str = "__share_group_state";

/// Whether a topic is one of Kafka's own, which Metadata marks and to which only the node itself writes.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Checks a topic's name; the error is Kafka's text.
pub fn validate(name: &str) -> Result<(), String> {
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." => "'.' is not allowed".to_owned(),
        ".." => "'..' is not allowed".to_owned(),
        // Kafka counts UTF-16 units; the two counts differ only for names that the next arm refuses as well.
        long if long.len() > NAME_BYTES_MAX && long.is_ascii() => {
            format!("the length of '{long}' is longer than the max allowed length {NAME_BYTES_MAX}")
        }
        odd if !odd.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) => {
            let shown: String = odd.chars().take(NAME_BYTES_MAX).collect();
            format!("'{shown}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
        }
        _ => return Ok(()),
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// The name with `.` and `_` taken as one: two topics must not share it, because metric names would collide.
#[must_use]
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::{collision_key, is_internal, validate};

    #[test]
    fn hostile_names_are_refused_in_kafkas_words() {
        let long = "a".repeat(250);
        let cases = [
            ("", "the empty string is not allowed".to_owned()),
            (".", "'.' is not allowed".to_owned()),
            ("..", "'..' is not allowed".to_owned()),
            (&long, format!("the length of '{long}' is longer than the max allowed length 249")),
            (
                "a/b",
                "'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'".to_owned(),
            ),
            (
                "a\0",
                "'a\0' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'".to_owned(),
            ),
            ("ä", "'ä' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'".to_owned()),
        ];
        for (name, reason) in cases {
            assert_eq!(validate(name), Err(format!("Topic name is invalid: {reason}")));
        }
        assert!(validate("../../etc").is_err());
    }

    #[test]
    fn good_names_pass() {
        for name in ["a", "...", "-", "_", "A.b_c-9", &"a".repeat(249)] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_collide_by_dot_and_underscore() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a.b"), collision_key("a-b"));
    }

    #[test]
    fn kafkas_own_topics_are_internal() {
        assert!(is_internal("__consumer_offsets"));
        assert!(!is_internal("__cluster_metadata"));
    }
}
