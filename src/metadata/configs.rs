//! What AlterConfigs and IncrementalAlterConfigs come to: ConfigRecords, or Kafka's refusal in Kafka's words.
//!
//! Pure: decided against an image, without touching it. [`MetadataLog`](super::MetadataLog) calls this, appends the records and
//! applies them. The checks are those of `ConfigAdminManager` and `ConfigurationControlManager` 4.3.1, and what CreateTopics
//! checks: a value whose effect is not built is refused here too.

use std::collections::BTreeMap;

use super::config_key::ConfigError;
use super::image::Image;
use super::names;
use super::records::{ConfigRecord, RESOURCE_BROKER, RESOURCE_TOPIC, Record};
use super::topic_config::TopicDefaults;
use super::topics::{Cluster, TopicError};

/// One resource and what shall become of its configuration.
#[derive(Clone, Debug)]
pub struct ConfigChange {
    /// Whose.
    pub resource: ConfigResource,
    /// What.
    pub change: Change,
}

/// What has configuration that can be changed, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker by its id, or all brokers: the empty name.
    Broker(String),
}

/// A change of configuration.
#[derive(Clone, Debug)]
pub enum Change {
    /// One operation after another on single keys.
    Some(Vec<(String, ConfigOp)>),
    /// These are all keys from now on.
    All(Vec<(String, Option<String>)>),
}

/// One operation on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOp {
    /// It has this value.
    Set(Option<String>),
    /// It has the value that it has where nothing is set.
    Delete,
    /// These items are added to its list.
    Append(Option<String>),
    /// These items are taken from its list.
    Subtract(Option<String>),
}

/// The records of a change; none where nothing changes.
pub fn alter(image: &Image, cluster: &Cluster, change: &ConfigChange) -> Result<Vec<Record>, TopicError> {
    let before = present(image, cluster, &change.resource)?;
    let topic = match &change.resource {
        ConfigResource::Topic(name) => Some(name.as_str()),
        ConfigResource::Broker(_) => None,
    };
    let after = match &change.change {
        Change::Some(operations) => altered(&before, operations, topic.is_some())?,
        Change::All(all) => {
            check_nulls_and_twins(all.iter().map(|(name, value)| (name, value.is_none())))?;
            all.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
        }
    };
    check(image, topic, &before, &after)?;
    Ok(records(&change.resource, &before, &after))
}

/// What is set of a resource.
fn present(
    image: &Image,
    cluster: &Cluster,
    resource: &ConfigResource,
) -> Result<BTreeMap<String, String>, TopicError> {
    match resource {
        ConfigResource::Topic(name) if name.is_empty() => {
            Err(TopicError::InvalidRequest("Default topic resources are not allowed.".to_owned()))
        }
        ConfigResource::Topic(name) => {
            names::validate(name).map_err(TopicError::InvalidName)?;
            let topic = image.topic(name).ok_or_else(|| TopicError::NoSuchTopic(name.clone()))?;
            Ok(topic.configs.clone())
        }
        ConfigResource::Broker(name) => {
            let node_id = cluster.node_id;
            if !name.is_empty() && name.parse() != Ok(node_id) {
                let text = match name.parse::<i32>() {
                    Ok(_) => format!("Unexpected broker id, expected {node_id}, but received {name}"),
                    Err(_) => format!("Node id must be an integer, but it is: {name}"),
                };
                return Err(TopicError::InvalidRequest(text));
            }
            Ok(image.broker_configs(name).map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
        }
    }
}

/// Nothing may be set to null, and each key is named once.
fn check_nulls_and_twins<'a>(names: impl Iterator<Item = (&'a String, bool)> + Clone) -> Result<(), TopicError> {
    let nulls: Vec<&str> = names.clone().filter(|(_, is_null)| *is_null).map(|(name, _)| name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(TopicError::InvalidRequest(format!("Null value not supported for : {}", nulls.join(", "))));
    }
    let mut sorted: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|two| two[0] == two[1]) {
        return Err(TopicError::InvalidRequest("Error due to duplicate config keys".to_owned()));
    }
    Ok(())
}

fn altered(
    before: &BTreeMap<String, String>,
    operations: &[(String, ConfigOp)],
    is_topic: bool,
) -> Result<BTreeMap<String, String>, TopicError> {
    let is_null = |op: &ConfigOp| matches!(op, ConfigOp::Set(None) | ConfigOp::Append(None) | ConfigOp::Subtract(None));
    check_nulls_and_twins(operations.iter().map(|(name, op)| (name, is_null(op))))?;
    let mut after = before.clone();
    for (name, op) in operations {
        let value = match op {
            ConfigOp::Set(value) => value.clone(),
            ConfigOp::Delete => None,
            ConfigOp::Append(items) | ConfigOp::Subtract(items) => {
                let appends = matches!(op, ConfigOp::Append(_));
                check_list(name, appends, is_topic)?;
                let set = before.get(name).map(String::as_str).or_else(|| TopicDefaults::default_of(name));
                Some(changed_list(set.unwrap_or_default(), items.as_deref().unwrap_or_default(), appends))
            }
        };
        match value {
            Some(value) => after.insert(name.clone(), value),
            None => after.remove(name),
        };
    }
    Ok(after)
}

fn check_list(name: &str, appends: bool, is_topic: bool) -> Result<(), TopicError> {
    if TopicDefaults::is_list(name) {
        return Ok(());
    }
    let text = match (is_topic, appends) {
        (true, true) => format!("Can't APPEND to key {name} because its type is not LIST."),
        (true, false) => format!("Can't SUBTRACT to key {name} because its type is not LIST."),
        (false, true) => format!("Config value append is not allowed for config key: {name}"),
        (false, false) => format!("Config value subtract is not allowed for config key: {name}"),
    };
    Err(ConfigError::NotAList(text).into())
}

fn changed_list(set: &str, items: &str, appends: bool) -> String {
    let split = |list: &str| -> Vec<String> {
        list.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    };
    let (mut list, items) = (split(set), split(items));
    for item in items {
        if !appends {
            list.retain(|one| *one != item);
        } else if !list.contains(&item) {
            list.push(item);
        }
    }
    list.join(",")
}

/// Only what the change brings is judged: what another version of the node, or the node itself, has set may stay.
fn check(
    image: &Image,
    topic: Option<&str>,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Result<(), TopicError> {
    if let Some(topic) = topic {
        let stays = |name: &String, value: &String| before.get(name) == Some(value);
        let is_possible = |name: &String, value: &String| {
            image.defaults().resolve(topic, &BTreeMap::from([(name.clone(), value.clone())])).is_ok()
        };
        let mut judged = after.clone();
        judged.retain(|name, value| !stays(name, value) || is_possible(name, value));
        image.defaults().resolve(topic, &judged)?;
        return Ok(());
    }
    let mut judged = after.clone();
    judged.retain(|name, value| before.get(name) != Some(value));
    // Kafka's code for a broker's values, too.
    TopicDefaults::check_dynamic(&judged).map_err(|error| TopicError::InvalidRequest(error.to_string()))
}

fn records(
    resource: &ConfigResource,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<Record> {
    let (resource_type, resource_name) = match resource {
        ConfigResource::Topic(name) => (RESOURCE_TOPIC, name),
        ConfigResource::Broker(name) => (RESOURCE_BROKER, name),
    };
    let record = |name: &String, value: Option<&String>| {
        let (resource_name, name, value) = (resource_name.clone(), name.clone(), value.cloned());
        Record::Config(ConfigRecord { resource_type, resource_name, name, value })
    };
    let set = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    set.map(|(name, value)| record(name, Some(value))).chain(gone.map(|name| record(name, None))).collect()
}

#[cfg(test)]
#[path = "configs_tests.rs"]
mod tests;
