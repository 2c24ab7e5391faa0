//! What DescribeConfigs shows of the broker: the settings that have an effect here, and none that has not.
//!
//! Read by the handler. Kafka's other broker keys mean nothing here and are not shown, because a shown value would be
//! believed. Those that are topic defaults can be set while the node runs; all others are read-only, set before it starts.

use super::config_key::ConfigType::{self, Boolean, Int, List, Long, Short, String as Text};
use super::topic_config::{ConfigEntry, ConfigSource, ConfigSynonym, TopicDefaults, in_unit};
use super::topic_keys::TOPIC_KEYS;

/// A broker setting that is no topic default.
struct BrokerKey {
    name: &'static str,
    kind: ConfigType,
    default: Option<&'static str>,
    doc: &'static str,
}

const fn key(name: &'static str, kind: ConfigType, default: Option<&'static str>, doc: &'static str) -> BrokerKey {
    BrokerKey { name, kind, default, doc }
}

#[rustfmt::skip]
static BROKER_KEYS: [BrokerKey; 28] = [
    key("advertised.listeners", List, None, "The address that clients are told to use."),
    key("auto.create.topics.enable", Boolean, Some("true"), "Whether asking for a topic's metadata makes it."),
    key("broker.id", Int, None, "The same as node.id."),
    key("broker.rack", Text, None, "The rack that Metadata names."),
    key("connections.max.idle.ms", Long, Some("600000"), "How long a connection may be silent."),
    key("default.replication.factor", Int, Some("1"), "Replicas of a topic made without a count; only 1 is possible."),
    key("fetch.max.bytes", Int, Some("57671680"), "The most that one Fetch answers."),
    key("group.initial.rebalance.delay.ms", Int, Some("3000"), "How long a new group waits for more members."),
    key("group.max.session.timeout.ms", Int, Some("1800000"), "The longest session that a member may ask for."),
    key("group.max.size", Int, Some("2147483647"), "Members of one group."),
    key("group.min.session.timeout.ms", Int, Some("6000"), "The shortest session that a member may ask for."),
    key("listeners", List, Some("127.0.0.1:9092,[::1]:9092"), "Addresses to listen on."),
    key("log.dir", Text, None, "The same as log.dirs."),
    key("log.dirs", Text, Some("./data"), "The data directory."),
    key("max.connections", Int, None, "Connections at once."),
    key("memory", Text, None, "The memory figure of the node."),
    key("node.id", Int, Some("1"), "This node's id."),
    key("num.partitions", Int, Some("1"), "Partitions of a topic made without a count."),
    key("offset.metadata.max.bytes", Int, Some("4096"), "Text beside one committed offset."),
    key("offsets.retention.check.interval.ms", Long, Some("600000"), "How often offsets are looked at that may go."),
    key("offsets.retention.minutes", Int, Some("10080"), "How long offsets of a group without members are kept."),
    key("offsets.topic.num.partitions", Int, Some("50"), "Partitions of __consumer_offsets when it is made."),
    key("offsets.topic.replication.factor", Short, Some("1"), "Copies of __consumer_offsets; only 1 is possible."),
    key("offsets.topic.segment.bytes", Int, Some("104857600"), "segment.bytes of __consumer_offsets when it is made."),
    key("segment.flush", Text, Some("auto"), "auto: one flush per device where that is proven enough; file: one per file."),
    key("segment.reserve.bytes", Long, Some("268435456"), "Bytes of the file system that are never used."),
    key("shards", Int, None, "Shards, each on a core of its own."),
    key("socket.request.max.bytes", Int, Some("104857600"), "The largest request."),
];

impl TopicDefaults {
    /// What DescribeConfigs shows of the broker, sorted by name. `facts` are values that the node settled itself (its id, its
    /// port): they take the place of defaults.
    #[must_use]
    pub fn describe_broker(&self, facts: &[(&str, String)]) -> Vec<ConfigEntry> {
        let own = BROKER_KEYS.iter().map(|key| (key.name, key.kind, key.default.map(str::to_owned), key.doc));
        let of_topics = TOPIC_KEYS.iter().flat_map(|row| {
            let last = row.synonyms.len().saturating_sub(1);
            row.synonyms.iter().enumerate().map(move |(at, (name, factor))| {
                // Of several keys for one setting (ms, minutes, hours) Kafka gives the weakest the default.
                let default = row.key.default.filter(|_| at == last);
                (*name, row.key.kind, default.map(|default| in_unit(default, *factor)), row.key.doc)
            })
        });
        let entry = |(name, kind, default, doc): (&str, ConfigType, Option<String>, &'static str)| {
            let fact = facts.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone());
            self.broker_entry(name, kind, fact.or(default), doc)
        };
        let mut entries: Vec<ConfigEntry> = own.chain(of_topics).map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    fn broker_entry(&self, name: &str, kind: ConfigType, default: Option<String>, doc: &'static str) -> ConfigEntry {
        let synonym = |value: String, source| ConfigSynonym { name: name.to_owned(), value: Some(value), source };
        let set = self.broker_layers(name).into_iter().map(|(value, source)| synonym(value, source));
        let default = default.map(|value| synonym(value, ConfigSource::DefaultConfig));
        let synonyms: Vec<ConfigSynonym> = set.chain(default).collect();
        let (value, source) =
            synonyms.first().map_or((None, ConfigSource::DefaultConfig), |first| (first.value.clone(), first.source));
        let read_only = !Self::is_dynamic(name);
        ConfigEntry { name: name.to_owned(), value, source, kind: kind.code(), read_only, doc, synonyms }
    }

    /// What DescribeConfigs shows of all brokers: what was set of them while they ran, and nothing else.
    #[must_use]
    pub fn describe_all_brokers(&self) -> Vec<ConfigEntry> {
        let entry = |name: &String| {
            let mut entries = self.describe_broker(&[]);
            entries.retain(|entry| entry.name == *name);
            let mut entry = entries.pop()?;
            entry.synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBrokerConfig);
            entry.value = entry.synonyms.first()?.value.clone();
            entry.source = ConfigSource::DynamicDefaultBrokerConfig;
            Some(entry)
        };
        self.of_all_brokers().keys().filter_map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn describe(settings: &[(&str, &str)], facts: &[(&str, String)]) -> BTreeMap<String, ConfigEntry> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let defaults = TopicDefaults::new(&settings).expect("possible");
        defaults.describe_broker(facts).into_iter().map(|entry| (entry.name.clone(), entry)).collect()
    }

    #[test]
    fn every_key_is_shown_once() {
        let entries = TopicDefaults::default().describe_broker(&[]);
        assert!(entries.is_sorted_by(|a, b| a.name < b.name));
        let dynamic = ["log.retention.ms", "message.max.bytes", "log.segment.bytes"];
        for entry in &entries {
            assert!(!(dynamic.contains(&entry.name.as_str()) && entry.read_only), "{}", entry.name);
        }
        assert!(entries.iter().filter(|entry| entry.name.starts_with("log.dir")).all(|entry| entry.read_only));
        assert!(entries.iter().any(|entry| entry.name == "log.retention.hours" && entry.read_only));
    }

    #[test]
    fn defaults_are_shown_in_the_keys_own_unit() {
        let entries = describe(&[], &[]);
        assert_eq!(entries["log.retention.hours"].value.as_deref(), Some("168"));
        assert_eq!(entries["log.retention.ms"].value, None);
        assert_eq!(entries["log.roll.hours"].value.as_deref(), Some("168"));
        assert_eq!(entries["log.segment.bytes"].value.as_deref(), Some("1073741824"));
        assert_eq!(entries["log.cleanup.policy"].value.as_deref(), Some("delete"));
    }

    #[test]
    fn settings_and_facts_take_the_place_of_defaults() {
        let facts = [("node.id", "7".to_owned())];
        let entries = describe(&[("num.partitions", "3"), ("log.retention.hours", "1")], &facts);
        assert_eq!(entries["node.id"].value.as_deref(), Some("7"));
        let partitions = &entries["num.partitions"];
        assert_eq!((partitions.value.as_deref(), partitions.source), (Some("3"), ConfigSource::StaticBrokerConfig));
        assert_eq!(partitions.synonyms.len(), 2);
        assert_eq!(entries["log.retention.hours"].value.as_deref(), Some("1"));
    }
}
