//! `ringmain topics`: what clients may do to topics, over the network.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Ended;
use super::client::Client;
use super::output::Output;
use crate::protocol::ErrorCode;
use crate::protocol::cold::{
    KafkaString, KafkaUuid, create_topics_request as create, delete_topics_request as delete,
    describe_configs_request as configs, list_offsets_request as offsets, metadata_request as metadata,
    metadata_response,
};

/// Arguments of `topics`.
#[derive(Args)]
pub(super) struct TopicsArgs {
    #[command(subcommand)]
    action: Action,
    /// The node to ask.
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", visible_alias = "server")]
    bootstrap_server: String,
    /// Print JSON, one value a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Make a topic.
    Create {
        /// Its name: letters, digits, `.`, `_` and `-`.
        name: String,
        /// Its partitions; the node's num.partitions where it is not given.
        #[arg(long, value_name = "COUNT")]
        partitions: Option<i32>,
        /// A setting of the topic, such as retention.ms=86400000.
        #[arg(long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
        /// A topic of that name is fine.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Name all topics.
    List,
    /// Show partitions, offsets and settings of one topic, or of all.
    Describe {
        /// The topic.
        name: Option<String>,
    },
    /// Delete topics and all their records.
    Delete {
        /// The topics.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(super) fn run(args: &TopicsArgs, output: &mut Output) -> Result<(), Ended> {
    let mut client = Client::connect(&args.bootstrap_server)?;
    match &args.action {
        Action::Create { name, partitions, configs, if_not_exists } => {
            let made = create(&mut client, name, *partitions, configs, *if_not_exists)?;
            if args.json { output.json(&made) } else { output.line(&made) }
        }
        Action::List => {
            for topic in all(&mut client, None)? {
                if args.json {
                    output.json(&Named { name: topic_name(&topic) })
                } else {
                    output.line(topic_name(&topic))
                }
            }
        }
        Action::Describe { name } => {
            for topic in all(&mut client, name.as_deref())? {
                let described = describe(&mut client, &topic)?;
                if args.json { output.json(&described) } else { described.print(output) }
            }
        }
        Action::Delete { names } => {
            for name in names {
                delete(&mut client, name)?;
                if args.json { output.json(&Named { name }) } else { output.line(format_args!("deleted {name}")) }
            }
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Made {
    name: String,
    id: String,
    partitions: i32,
    created: bool,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.created {
            true => write!(f, "created {} with {} partitions (id {})", self.name, self.partitions, self.id),
            false => write!(f, "{} is there already", self.name),
        }
    }
}

#[derive(Serialize)]
struct Described {
    name: String,
    id: String,
    internal: bool,
    configs: Vec<(String, String)>,
    partitions: Vec<DescribedPartition>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: i32,
    leader_epoch: i32,
    log_start_offset: Option<i64>,
    high_watermark: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

impl Described {
    fn print(&self, output: &mut Output) {
        let configs: Vec<String> = self.configs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let shown = if configs.is_empty() { "none".to_owned() } else { configs.join(" ") };
        output.line(format_args!(
            "{} (id {}), {} partitions, own settings: {shown}",
            self.name,
            self.id,
            self.partitions.len()
        ));
        for partition in &self.partitions {
            let offset = |offset: Option<i64>| offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
            let error = partition.error.map_or_else(String::new, |error| format!("  {error}"));
            output.line(format_args!(
                "  {:>5}  leader {} epoch {}  offsets {} to {}{error}",
                partition.partition,
                partition.leader,
                partition.leader_epoch,
                offset(partition.log_start_offset),
                offset(partition.high_watermark),
            ));
        }
    }
}

fn create(
    client: &mut Client,
    name: &str,
    partitions: Option<i32>,
    configs: &[String],
    if_not_exists: bool,
) -> Result<Made, Ended> {
    let configs = configs.iter().map(|text| match text.split_once('=') {
        Some((key, value)) => Ok(create::CreatableTopicConfig::default()
            .with_name(KafkaString::from(key.to_owned()))
            .with_value(Some(KafkaString::from(value.to_owned())))),
        None => Err(Ended::Usage(format!("--config {text}: is not of the form key=value"))),
    });
    let topic = create::CreatableTopic::default()
        .with_name(KafkaString::from(name.to_owned()))
        .with_num_partitions(partitions.unwrap_or(-1))
        .with_replication_factor(-1)
        .with_configs(configs.collect::<Result<_, _>>()?);
    let request = create::CreateTopicsRequestData::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
    let answer = client.call(&request)?;
    let result = answer.topics.first().ok_or_else(|| Ended::Failed("the node answered nothing".to_owned()))?;
    let there = ErrorCode::from_code(result.error_code) == Some(ErrorCode::TopicAlreadyExists);
    if !(there && if_not_exists) {
        accept(name, result.error_code, result.error_message.as_ref())?;
    }
    Ok(Made {
        name: name.to_owned(),
        id: result.topic_id.to_string(),
        partitions: result.num_partitions,
        created: !there,
    })
}

fn delete(client: &mut Client, name: &str) -> Result<(), Ended> {
    let state = delete::DeleteTopicState::default().with_name(Some(KafkaString::from(name.to_owned())));
    let request = delete::DeleteTopicsRequestData::default().with_topics(vec![state]).with_timeout_ms(TIMEOUT_MS);
    let answer = client.call(&request)?;
    answer.responses.iter().try_for_each(|result| accept(name, result.error_code, result.error_message.as_ref()))
}

/// The topics of a node, or one of them, sorted by name.
fn all(client: &mut Client, name: Option<&str>) -> Result<Vec<metadata_response::MetadataResponseTopic>, Ended> {
    let named = name.map(|name| {
        let name = KafkaString::from(name.to_owned());
        vec![metadata::MetadataRequestTopic::default().with_topic_id(KafkaUuid::ZERO).with_name(Some(name))]
    });
    let request = metadata::MetadataRequestData::default().with_topics(named).with_allow_auto_topic_creation(false);
    let mut topics = client.call(&request)?.topics;
    for topic in &topics {
        accept(topic_name(topic), topic.error_code, None)?;
    }
    topics.sort_by(|a, b| topic_name(a).cmp(topic_name(b)));
    Ok(topics)
}

fn topic_name(topic: &metadata_response::MetadataResponseTopic) -> &str {
    topic.name.as_ref().map_or("", KafkaString::as_str)
}

fn describe(client: &mut Client, topic: &metadata_response::MetadataResponseTopic) -> Result<Described, Ended> {
    let name = topic_name(topic);
    let mut numbers: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition_index).collect();
    numbers.sort_unstable();
    let starts = offsets_of(client, name, &numbers, EARLIEST)?;
    let ends = offsets_of(client, name, &numbers, LATEST)?;
    let find =
        |found: &[(i32, i64)], number| found.iter().find(|(other, _)| *other == number).map(|(_, offset)| *offset);
    let partitions = numbers.iter().filter_map(|number| {
        let partition = topic.partitions.iter().find(|partition| partition.partition_index == *number)?;
        let error = (partition.error_code != 0).then(|| code_name(partition.error_code));
        Some(DescribedPartition {
            partition: *number,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            log_start_offset: find(&starts, *number),
            high_watermark: find(&ends, *number),
            error,
        })
    });
    Ok(Described {
        name: name.to_owned(),
        id: topic.topic_id.to_string(),
        internal: topic.is_internal,
        partitions: partitions.collect(),
        configs: own_configs(client, name)?,
    })
}

/// Each partition's offset at a moment; a partition that answers an error is left out.
fn offsets_of(client: &mut Client, name: &str, partitions: &[i32], moment: i64) -> Result<Vec<(i32, i64)>, Ended> {
    let asked = partitions.iter().map(|number| {
        offsets::ListOffsetsPartition::default()
            .with_partition_index(*number)
            .with_current_leader_epoch(-1)
            .with_timestamp(moment)
    });
    let topic = offsets::ListOffsetsTopic::default()
        .with_name(KafkaString::from(name.to_owned()))
        .with_partitions(asked.collect());
    let request = offsets::ListOffsetsRequestData::default()
        .with_replica_id(-1)
        .with_topics(vec![topic])
        .with_timeout_ms(TIMEOUT_MS);
    let answer = client.call(&request)?;
    let found = answer.topics.iter().flat_map(|topic| &topic.partitions).filter(|partition| partition.error_code == 0);
    Ok(found.map(|partition| (partition.partition_index, partition.offset)).collect())
}

/// The settings that the topic has of its own.
fn own_configs(client: &mut Client, name: &str) -> Result<Vec<(String, String)>, Ended> {
    let resource = configs::DescribeConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(KafkaString::from(name.to_owned()))
        .with_configuration_keys(None);
    let answer = client.call(&configs::DescribeConfigsRequestData::default().with_resources(vec![resource]))?;
    let mut own = Vec::new();
    for result in &answer.results {
        accept(name, result.error_code, result.error_message.as_ref())?;
        let settings = result.configs.iter().filter(|setting| setting.config_source == SOURCE_TOPIC);
        own.extend(settings.map(|setting| {
            let value = setting.value.as_ref().map_or("", KafkaString::as_str);
            (setting.name.as_str().to_owned(), value.to_owned())
        }));
    }
    own.sort();
    Ok(own)
}

fn accept(name: &str, code: i16, message: Option<&KafkaString>) -> Result<(), Ended> {
    if code == 0 {
        return Ok(());
    }
    let message = message.map_or_else(String::new, |message| format!(": {message}"));
    Err(Ended::Failed(format!("{name}: {}{message}", code_name(code))))
}

fn code_name(code: i16) -> &'static str {
    ErrorCode::from_code(code).map_or("an error that this version does not know", ErrorCode::name)
}

const TIMEOUT_MS: i32 = 30_000;
/// ListOffsets' names for the two ends of a log.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// `ConfigResource.Type.TOPIC` and `ConfigSource.DYNAMIC_TOPIC_CONFIG` of Kafka.
const RESOURCE_TOPIC: i8 = 2;
const SOURCE_TOPIC: i8 = 1;
