//! A topic's configuration: checked as the client gave it, resolved to what the log and the partition obey, shown.
//!
//! Called by the topic operations (to check), by the image (to resolve) and by DescribeConfigs (to show); reads the table
//! [`topic_keys`](super::topic_keys).
//!
//! A value comes from the first of: the topic itself, what was set of the broker while it ran, what was set of all brokers,
//! the operator's file under one of the key's broker synonyms, the default. While a node runs only the strongest synonym of a
//! key can be set (`log.retention.ms`, not `log.retention.hours`), as with Kafka.

use std::collections::BTreeMap;

use crate::storage::LogConfig;

use super::config_key::{ConfigError, Key, Value};
use super::names::CONSUMER_OFFSETS;
use super::topic_keys::{Built, INTERNAL_SEGMENT_BYTES, TOPIC_KEYS, TopicKey};

/// What a partition of a topic obeys: the values that have an effect, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// What the log obeys.
    pub log: LogConfig,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: usize,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
}

/// Where a shown value comes from. The numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum ConfigSource {
    TopicConfig = 1,
    DynamicBrokerConfig = 2,
    DynamicDefaultBrokerConfig = 3,
    StaticBrokerConfig = 4,
    DefaultConfig = 5,
}

impl ConfigSource {
    /// The number of the source in DescribeConfigs.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::TopicConfig => 1,
            Self::DynamicBrokerConfig => 2,
            Self::DynamicDefaultBrokerConfig => 3,
            Self::StaticBrokerConfig => 4,
            Self::DefaultConfig => 5,
        }
    }
}

/// One line of DescribeConfigs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// Its value; `None` is null.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Its type (`ConfigType` as DescribeConfigs counts it).
    pub kind: i8,
    /// It cannot be changed while the node runs.
    pub read_only: bool,
    /// What it does.
    pub doc: &'static str,
    /// The values that it hides, strongest first, itself included.
    pub synonyms: Vec<ConfigSynonym>,
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key under which it was set.
    pub name: String,
    /// The value.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
}

/// What the operator set: the topic defaults among it are the broker keys of [`TOPIC_KEYS`]' synonyms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicDefaults {
    set: BTreeMap<String, String>,
    dynamic: DynamicDefaults,
}

/// Topic defaults that were set while the node ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicDefaults {
    /// Of this broker.
    pub broker: BTreeMap<String, String>,
    /// Of all brokers.
    pub all: BTreeMap<String, String>,
}

impl TopicDefaults {
    /// Takes the operator's settings. An error names the key that holds what a topic could not be set to either; settings
    /// that are no topic defaults are not looked at.
    pub fn new(settings: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let defaults = Self { set: settings.clone(), dynamic: DynamicDefaults::default() };
        for row in &TOPIC_KEYS {
            for (name, factor) in row.synonyms {
                if let Some(value) = defaults.set.get(*name) {
                    let key = Key { name, ..row.key };
                    check_row(row, &key, &scaled(value, *factor))?;
                }
            }
        }
        defaults.resolve("", &BTreeMap::new())?;
        Ok(defaults)
    }

    /// Whether a broker key can be set while the node runs: the topic defaults can.
    #[must_use]
    pub fn is_dynamic(name: &str) -> bool {
        dynamic_row(name).is_some()
    }

    /// Whether a key is a list, of a topic or of a broker.
    #[must_use]
    pub fn is_list(name: &str) -> bool {
        let row = row_of(name).or_else(|| dynamic_row(name));
        row.is_some_and(|row| row.key.kind == super::config_key::ConfigType::List)
    }

    /// The default of a topic key, or of the broker key that sets its default.
    #[must_use]
    pub fn default_of(name: &str) -> Option<&'static str> {
        row_of(name).or_else(|| dynamic_row(name)).and_then(|row| row.key.default)
    }

    /// Checks what is to be set of this broker or of all while the node runs. The keys are dynamic ones.
    ///
    /// # Errors
    /// The first value that no topic could be set to.
    pub fn check_dynamic(dynamic: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        dynamic.iter().try_for_each(|(name, value)| check_dynamic(name, value))
    }

    /// The same defaults under other dynamic ones. A value that is not possible is left out, whoever wrote it.
    #[must_use]
    pub fn with_dynamic(&self, mut dynamic: DynamicDefaults) -> Self {
        for layer in [&mut dynamic.broker, &mut dynamic.all] {
            layer.retain(|name, value| check_dynamic(name, value).is_ok());
        }
        Self { set: self.set.clone(), dynamic }
    }

    /// What was set under a topic key's broker keys, strongest first: key, factor to the topic key's unit, value, source.
    fn layers<'a>(
        &'a self,
        broker_keys: &'a [(&'static str, i64)],
    ) -> impl Iterator<Item = (&'static str, i64, &'a str, ConfigSource)> + 'a {
        let dynamic = broker_keys.first().into_iter().flat_map(|(name, factor)| {
            let broker = self.dynamic.broker.get(*name).map(|value| (value, ConfigSource::DynamicBrokerConfig));
            let all = self.dynamic.all.get(*name).map(|value| (value, ConfigSource::DynamicDefaultBrokerConfig));
            let layers = [broker, all].into_iter().flatten();
            layers.map(|(value, source)| (*name, *factor, value.as_str(), source))
        });
        let of_file = broker_keys.iter().filter_map(|(name, factor)| {
            Some((*name, *factor, self.set.get(*name)?.as_str(), ConfigSource::StaticBrokerConfig))
        });
        dynamic.chain(of_file)
    }

    /// What was set under a broker key, strongest first.
    pub(super) fn broker_layers(&self, name: &str) -> Vec<(String, ConfigSource)> {
        let dynamic = [
            (&self.dynamic.broker, ConfigSource::DynamicBrokerConfig),
            (&self.dynamic.all, ConfigSource::DynamicDefaultBrokerConfig),
            (&self.set, ConfigSource::StaticBrokerConfig),
        ];
        dynamic.into_iter().filter_map(|(layer, source)| Some((layer.get(name)?.clone(), source))).collect()
    }

    /// What was set of all brokers.
    pub(super) fn of_all_brokers(&self) -> &BTreeMap<String, String> {
        &self.dynamic.all
    }

    /// Checks the own settings of a topic of this name and resolves what its partitions obey.
    pub fn resolve(&self, topic: &str, own: &BTreeMap<String, String>) -> Result<TopicConfig, ConfigError> {
        for (name, value) in own {
            if name == INTERNAL_SEGMENT_BYTES.name {
                INTERNAL_SEGMENT_BYTES.check(value)?;
                continue;
            }
            let row = row_of(name).ok_or_else(|| ConfigError::UnknownTopicKey(name.clone()))?;
            if !(topic == CONSUMER_OFFSETS && is_compaction_alone(row, value)) {
                check_row(row, &row.key, value)?;
            }
        }
        let (low, high) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        let (low_value, high_value) = (self.number(own, low), self.number(own, high));
        if low_value > high_value {
            return Err(ConfigError::Conflict { low, low_value, high, high_value });
        }
        Ok(self.effective(own))
    }

    /// Resolves the settings of a topic that exists already, whoever made it: what cannot be obeyed is left out and
    /// reported, so that a log that another version wrote still opens.
    #[must_use]
    pub fn resolve_stored(&self, topic: &str, own: &BTreeMap<String, String>) -> (TopicConfig, Vec<ConfigError>) {
        let mut kept = own.clone();
        let mut refused = Vec::new();
        kept.retain(|name, value| {
            let one = BTreeMap::from([(name.clone(), value.clone())]);
            // A conflict between two keys that are not obeyed anyway is no reason to drop either.
            match self.resolve(topic, &one) {
                Ok(_) | Err(ConfigError::Conflict { .. }) => true,
                Err(error) => {
                    refused.push(error);
                    false
                }
            }
        });
        (self.effective(&kept), refused)
    }

    /// What DescribeConfigs shows of a topic, sorted by name.
    #[must_use]
    pub fn describe(&self, own: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
        let keys = TOPIC_KEYS.iter().map(|row| (&row.key, row.synonyms));
        let internal = own.get_key_value(INTERNAL_SEGMENT_BYTES.name).map(|_| (&INTERNAL_SEGMENT_BYTES, &[][..]));
        let mut entries: Vec<ConfigEntry> =
            keys.chain(internal).map(|(key, synonyms)| self.entry(own, key, synonyms)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    fn entry(&self, own: &BTreeMap<String, String>, key: &Key, broker_keys: &[(&'static str, i64)]) -> ConfigEntry {
        let mut synonyms = Vec::new();
        if let Some(value) = own.get(key.name) {
            let (name, value) = (key.name.to_owned(), Some(value.clone()));
            synonyms.push(ConfigSynonym { name, value, source: ConfigSource::TopicConfig });
        }
        // Hidden values are shown under the keys that they were set by, in those keys' units.
        for (name, _, value, source) in self.layers(broker_keys) {
            synonyms.push(ConfigSynonym { name: name.to_owned(), value: Some(value.to_owned()), source });
        }
        // Of several broker keys for one setting (ms, minutes, hours) Kafka gives the weakest the default.
        if let (Some(default), Some((name, factor))) = (key.default, broker_keys.last()) {
            let (name, value) = ((*name).to_owned(), Some(in_unit(default, *factor)));
            synonyms.push(ConfigSynonym { name, value, source: ConfigSource::DefaultConfig });
        }
        let of_broker =
            || self.layers(broker_keys).next().map(|(_, factor, value, source)| (scaled(value, factor), source));
        let set = own.get(key.name).map(|value| (value.clone(), ConfigSource::TopicConfig)).or_else(of_broker);
        let (value, source) = match set {
            Some((value, source)) => (Some(value), source),
            None => (key.default.map(str::to_owned), ConfigSource::DefaultConfig),
        };
        let (name, kind, doc) = (key.name.to_owned(), key.kind.code(), key.doc);
        ConfigEntry { name, value, source, kind, read_only: false, doc, synonyms }
    }

    /// The strongest text of a key.
    fn text(&self, own: &BTreeMap<String, String>, row: &TopicKey) -> String {
        if let Some(value) = own.get(row.key.name) {
            return value.clone();
        }
        let set = self.layers(row.synonyms).next().map(|(_, factor, value, _)| scaled(value, factor));
        set.unwrap_or_else(|| row.key.default.expect("every topic key has a default").to_owned())
    }

    fn value(&self, own: &BTreeMap<String, String>, name: &str) -> Value {
        let row = row_of(name).expect("a key of the table");
        row.key.check(&self.text(own, row)).expect("checked when it was set")
    }

    fn number(&self, own: &BTreeMap<String, String>, name: &str) -> i64 {
        self.value(own, name).number()
    }

    fn is_set(&self, own: &BTreeMap<String, String>, name: &str) -> bool {
        let row = row_of(name).expect("a key of the table");
        own.contains_key(name) || self.layers(row.synonyms).next().is_some()
    }

    fn effective(&self, own: &BTreeMap<String, String>) -> TopicConfig {
        let number = |name| self.number(own, name);
        let relaxed_by_ms = self.is_set(own, "flush.ms") && !self.is_set(own, "flush.messages");
        let segment_bytes = own.get(INTERNAL_SEGMENT_BYTES.name).and_then(|value| value.trim().parse().ok());
        // Where the newest value of each key is kept, age and size are no reason to delete anything.
        let compacted = self.value(own, "cleanup.policy") == Value::List(vec![COMPACT.to_owned()]);
        let retention = |name| if compacted { -1 } else { number(name) };
        let log = LogConfig {
            segment_bytes: segment_bytes.unwrap_or_else(|| positive(number("segment.bytes"))),
            segment_ms: number("segment.ms"),
            retention_bytes: retention("retention.bytes"),
            retention_ms: retention("retention.ms"),
            index_interval_bytes: positive(number("index.interval.bytes")),
            flush_every_window: number("flush.messages") == 1 && !relaxed_by_ms,
        };
        TopicConfig {
            log,
            max_message_bytes: usize::try_from(number("max.message.bytes")).expect("not negative"),
            log_append_time: self.value(own, "message.timestamp.type") == Value::Text("LogAppendTime".to_owned()),
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            min_insync_replicas: i32::try_from(number("min.insync.replicas")).expect("an Int key"),
        }
    }
}

fn positive(number: i64) -> u32 {
    u32::try_from(number).expect("an Int key whose domain has no negative number")
}

fn row_of(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.binary_search_by(|row| row.key.name.cmp(name)).ok().map(|at| &TOPIC_KEYS[at])
}

/// A topic key's default in the unit of one of its broker keys.
pub(super) fn in_unit(default: &str, factor: i64) -> String {
    match default.parse::<i64>() {
        Ok(number) if factor != 1 => (number / factor).to_string(),
        _ => default.to_owned(),
    }
}

/// The topic key whose default a broker key sets while the node runs.
fn dynamic_row(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().find(|row| row.synonyms.first().is_some_and(|(first, _)| *first == name))
}

fn check_dynamic(name: &str, value: &str) -> Result<(), ConfigError> {
    let row = dynamic_row(name).ok_or_else(|| ConfigError::NotDynamic(name.to_owned()))?;
    let (name, factor) = row.synonyms[0];
    check_row(row, &Key { name, ..row.key }, &scaled(value, factor))
}

/// A broker key's value in its topic key's unit (hours and minutes to milliseconds). -1 has no unit.
fn scaled(value: &str, factor: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => number.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}

/// Whether a setting asks for compaction and nothing else. Only one topic is compacted here: the coordinators' own.
fn is_compaction_alone(row: &TopicKey, value: &str) -> bool {
    row.key.name == "cleanup.policy" && row.key.check(value) == Ok(Value::List(vec![COMPACT.to_owned()]))
}

const COMPACT: &str = "compact";

fn check_row(row: &TopicKey, key: &Key, value: &str) -> Result<(), ConfigError> {
    let checked = key.check(value)?;
    let refused = match row.built {
        Built::Whole | Built::Idle => None,
        Built::Only(values, why) => {
            let is_one = values.iter().any(|one| key.check(one).is_ok_and(|one| one == checked));
            let shown = values.iter().map(|one| if one.is_empty() { "the empty list" } else { one });
            (!is_one).then(|| (why, shown.collect::<Vec<_>>().join(", ")))
        }
        Built::AtLeast(min, why) => (checked.number() < min).then(|| (why, format!("{min} or more"))),
    };
    match refused {
        None => Ok(()),
        Some((why, possible)) => Err(ConfigError::NotBuilt { name: key.name, value: value.to_owned(), why, possible }),
    }
}

#[cfg(test)]
#[path = "topic_config_tests.rs"]
mod tests;
