//! `ringmain topics alter`: IncrementalAlterConfigs and CreatePartitions, as Kafka's own tools send them.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::{RESOURCE_TOPIC, setting};
use crate::cli::Ended;
use crate::client::cluster::TIMEOUT_MS;
use crate::client::{Cluster, accept};
use crate::protocol::cold::{
    KafkaString, create_partitions_request as partitions, incremental_alter_configs_request as configs,
};

/// Arguments of `topics alter`.
#[derive(Args)]
pub(super) struct AlterArgs {
    /// The topic.
    name: String,
    /// A setting and its new value.
    #[arg(long = "config", value_name = "KEY=VALUE", required_unless_present_any = ["deleted", "partitions"])]
    configs: Vec<String>,
    /// A setting that goes back to the node's own.
    #[arg(long = "delete-config", value_name = "KEY")]
    deleted: Vec<String>,
    /// How many partitions it is to have in all: more than now.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
}

/// What was changed.
#[derive(Serialize)]
pub(super) struct Altered<'a> {
    name: &'a str,
    set: Vec<(&'a str, &'a str)>,
    deleted: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<i32>,
}

impl fmt::Display for Altered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "altered {}:", self.name)?;
        for (key, value) in &self.set {
            write!(f, " {key}={value}")?;
        }
        for key in &self.deleted {
            write!(f, " {key} as the node has it")?;
        }
        self.partitions.map_or(Ok(()), |count| write!(f, " {count} partitions"))
    }
}

/// Settings first: a setting that is refused leaves the partitions as they are.
pub(super) fn run<'a>(client: &mut Cluster, args: &'a AlterArgs) -> Result<Altered<'a>, Ended> {
    let set = args.configs.iter().map(|text| setting(text)).collect::<Result<Vec<_>, _>>()?;
    let deleted: Vec<&str> = args.deleted.iter().map(String::as_str).collect();
    if !set.is_empty() || !deleted.is_empty() {
        alter_configs(client, &args.name, &set, &deleted)?;
    }
    if let Some(count) = args.partitions {
        create_partitions(client, &args.name, count)?;
    }
    Ok(Altered { name: &args.name, set, deleted, partitions: args.partitions })
}

fn alter_configs(client: &mut Cluster, name: &str, set: &[(&str, &str)], deleted: &[&str]) -> Result<(), Ended> {
    let text = |text: &str| KafkaString::from(text.to_owned());
    let change = |key: &str, operation, value| {
        configs::AlterableConfig::default().with_name(text(key)).with_config_operation(operation).with_value(value)
    };
    let set = set.iter().map(|(key, value)| change(key, OPERATION_SET, Some(text(value))));
    let changes = set.chain(deleted.iter().map(|key| change(key, OPERATION_DELETE, None)));
    let resource = configs::AlterConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(text(name))
        .with_configs(changes.collect());
    let answer = client.call(&configs::IncrementalAlterConfigsRequestData::default().with_resources(vec![resource]))?;
    let mut results = answer.responses.iter();
    Ok(results.try_for_each(|result| accept(name, result.error_code, result.error_message.as_ref()))?)
}

fn create_partitions(client: &mut Cluster, name: &str, count: i32) -> Result<(), Ended> {
    let topic = partitions::CreatePartitionsTopic::default()
        .with_name(KafkaString::from(name.to_owned()))
        .with_count(count)
        .with_assignments(None);
    let request =
        partitions::CreatePartitionsRequestData::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
    let answer = client.call(&request)?;
    let mut results = answer.results.iter();
    Ok(results.try_for_each(|result| accept(name, result.error_code, result.error_message.as_ref()))?)
}

/// `AlterConfigOp.OpType` of Kafka.
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;
