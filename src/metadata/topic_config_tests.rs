//! Tests of topic configs: defaults, refusals, descriptions.

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn resolve(pairs: &[(&str, &str)]) -> Result<TopicConfig, ConfigError> {
    TopicDefaults::default().resolve("t", &map(pairs))
}

fn refusal(name: &str, value: &str) -> String {
    resolve(&[(name, value)]).expect_err("refused").to_string()
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_possible() {
    assert!(TOPIC_KEYS.is_sorted_by(|a, b| a.key.name < b.key.name));
    for row in &TOPIC_KEYS {
        check_row(row, &row.key, row.key.default.expect("a default")).expect(row.key.name);
    }
}

#[test]
fn an_unset_topic_has_kafkas_defaults_and_flushes() {
    let config = resolve(&[]).expect("nothing set");
    assert_eq!(config.log, LogConfig::default());
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.timestamp_after_max_ms, 3_600_000);
    assert_eq!(config.timestamp_before_max_ms, i64::MAX);
    assert_eq!(config.min_insync_replicas, 1);
    assert!(!config.log_append_time);
}

#[test]
fn what_a_topic_sets_is_obeyed() {
    let config = resolve(&[
        ("retention.ms", "-1"),
        ("retention.bytes", "4096"),
        ("segment.bytes", "2097152"),
        ("segment.ms", "5000"),
        ("max.message.bytes", "1000"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.insync.replicas", "2"),
        ("index.interval.bytes", "8192"),
    ])
    .expect("all possible");
    assert_eq!((config.log.retention_ms, config.log.retention_bytes), (-1, 4096));
    assert_eq!((config.log.segment_bytes, config.log.segment_ms), (2_097_152, 5000));
    assert_eq!((config.max_message_bytes, config.min_insync_replicas), (1000, 2));
    assert_eq!(config.log.index_interval_bytes, 8192);
    assert!(config.log_append_time);
}

#[test]
fn flush_settings_relax_the_promise_and_only_they() {
    assert!(resolve(&[("flush.messages", "1")]).expect("possible").log.flush_every_window);
    assert!(!resolve(&[("flush.messages", "2")]).expect("possible").log.flush_every_window);
    assert!(!resolve(&[("flush.ms", "1000")]).expect("possible").log.flush_every_window);
    assert!(resolve(&[("flush.ms", "1000"), ("flush.messages", "1")]).expect("possible").log.flush_every_window);
}

#[test]
fn refusals_are_kafkas_words() {
    assert_eq!(refusal("nope", "1"), "Unknown topic config name: nope");
    assert_eq!(
        refusal("retention.ms", "soon"),
        "Invalid value soon for configuration retention.ms: Not a number of type LONG"
    );
    assert_eq!(
        refusal("retention.ms", "-2"),
        "Invalid value -2 for configuration retention.ms: Value must be at least -1"
    );
    assert_eq!(
        refusal("segment.bytes", "1048575"),
        "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576"
    );
    assert_eq!(
        refusal("segment.bytes", "4294967296"),
        "Invalid value 4294967296 for configuration segment.bytes: Not a number of type INT"
    );
    assert_eq!(
        refusal("message.timestamp.type", "Now"),
        "Invalid value Now for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime"
    );
    assert_eq!(
        refusal("preallocate", "yes"),
        "Invalid value yes for configuration preallocate: Expected value to be either true or false"
    );
}

#[test]
fn what_is_not_built_is_refused_by_name_with_what_is_possible() {
    let cases = [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("compression.type", "zstd"),
        ("remote.storage.enable", "true"),
        ("preallocate", "true"),
        ("local.retention.ms", "1000"),
        ("segment.jitter.ms", "1"),
        ("file.delete.delay.ms", "0"),
        ("leader.replication.throttled.replicas", "0:1"),
        ("index.interval.bytes", "16"),
    ];
    for (name, value) in cases {
        let text = refusal(name, value);
        assert!(text.contains(name) && text.contains("possible here: "), "{text}");
    }
    assert_eq!(
        refusal("cleanup.policy", "compact"),
        "Invalid value compact for configuration cleanup.policy: log compaction is not built yet; possible here: delete"
    );
}

#[test]
fn defaults_may_be_set_explicitly() {
    for row in &TOPIC_KEYS {
        let default = row.key.default.expect("a default");
        resolve(&[(row.key.name, default)]).expect(row.key.name);
    }
}

#[test]
fn the_operators_defaults_apply_in_the_topics_unit() {
    let defaults = TopicDefaults::new(&map(&[
        ("log.retention.hours", "2"),
        ("log.segment.bytes", "4194304"),
        ("log.flush.interval.messages", "100"),
        ("listeners", "ignored here"),
    ]))
    .expect("possible");
    let config = defaults.resolve("t", &BTreeMap::new()).expect("nothing set");
    assert_eq!(config.log.retention_ms, 7_200_000);
    assert_eq!(config.log.segment_bytes, 4_194_304);
    assert!(!config.log.flush_every_window);
    let own = defaults.resolve("t", &map(&[("retention.ms", "5")])).expect("possible");
    assert_eq!(own.log.retention_ms, 5);
}

#[test]
fn the_strongest_synonym_wins() {
    let defaults =
        TopicDefaults::new(&map(&[("log.retention.hours", "2"), ("log.retention.ms", "9")])).expect("possible");
    assert_eq!(defaults.resolve("t", &BTreeMap::new()).expect("nothing set").log.retention_ms, 9);
}

#[test]
fn an_impossible_default_names_the_operators_key() {
    let error = TopicDefaults::new(&map(&[("log.cleanup.policy", "compact")])).expect_err("not built");
    assert!(error.to_string().contains("log.cleanup.policy"), "{error}");
    let error = TopicDefaults::new(&map(&[("log.retention.hours", "-5")])).expect_err("out of range");
    assert!(error.to_string().contains("log.retention.hours"), "{error}");
}

#[test]
fn a_stored_config_that_cannot_be_obeyed_is_reported_and_left_out() {
    let stored = map(&[("cleanup.policy", "compact"), ("retention.ms", "7"), ("from.the.future", "1")]);
    let (config, refused) = TopicDefaults::default().resolve_stored("t", &stored);
    assert_eq!(config.log.retention_ms, 7);
    assert_eq!(refused.len(), 2);
}

#[test]
fn a_lag_conflict_is_refused() {
    let error = resolve(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]).expect_err("conflict");
    assert_eq!(
        error.to_string(),
        "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
    );
}

#[test]
fn descriptions_show_every_key_with_its_source_and_synonyms() {
    let defaults = TopicDefaults::new(&map(&[("log.retention.hours", "2")])).expect("possible");
    let entries = defaults.describe(&map(&[("retention.ms", "5")]));
    assert_eq!(entries.len(), TOPIC_KEYS.len());
    let retention = entries.iter().find(|entry| entry.name == "retention.ms").expect("shown");
    assert_eq!((retention.value.as_deref(), retention.source), (Some("5"), ConfigSource::TopicConfig));
    let shown: Vec<_> =
        retention.synonyms.iter().map(|one| (one.name.as_str(), one.value.as_deref(), one.source)).collect();
    assert_eq!(
        shown,
        [
            ("retention.ms", Some("5"), ConfigSource::TopicConfig),
            ("log.retention.hours", Some("2"), ConfigSource::StaticBrokerConfig),
            ("log.retention.hours", Some("168"), ConfigSource::DefaultConfig),
        ]
    );
    let policy = entries.iter().find(|entry| entry.name == "cleanup.policy").expect("shown");
    assert_eq!((policy.value.as_deref(), policy.source, policy.kind), (Some("delete"), ConfigSource::DefaultConfig, 7));
}

#[test]
fn only_the_coordinators_topic_is_compacted_and_then_nothing_of_it_ages() {
    let own = map(&[("cleanup.policy", "compact"), ("retention.ms", "7"), ("retention.bytes", "9")]);
    let defaults = TopicDefaults::default();
    let config = defaults.resolve(CONSUMER_OFFSETS, &own).expect("Kafka's own setting of that topic");
    assert_eq!((config.log.retention_ms, config.log.retention_bytes), (-1, -1));
    assert_eq!(defaults.resolve_stored(CONSUMER_OFFSETS, &own), (config, Vec::new()));
    assert!(defaults.resolve("t", &own).is_err());
    let both = map(&[("cleanup.policy", "compact,delete")]);
    assert!(defaults.resolve(CONSUMER_OFFSETS, &both).is_err());
}

#[test]
fn tests_may_have_small_segments() {
    let config = resolve(&[("internal.segment.bytes", "20000")]).expect("Kafka's own test key");
    assert_eq!(config.log.segment_bytes, 20_000);
    assert!(resolve(&[("internal.segment.bytes", "0")]).is_err());
}
