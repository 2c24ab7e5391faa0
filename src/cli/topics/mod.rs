//! `ringmain topics`: what clients may do to topics, over the network.

mod alter;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Ended;
use super::output::Output;
use crate::client::cluster::{EARLIEST, LATEST, TIMEOUT_MS};
use crate::client::{Cluster, Stop, accept, code_name};
use crate::protocol::ErrorCode;
use crate::protocol::cold::{
    KafkaString, create_topics_request as create, delete_topics_request as delete, describe_configs_request as configs,
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
    /// Change settings of a topic, or add partitions to it.
    #[command(after_help = ALTER_HELP)]
    Alter(alter::AlterArgs),
    /// Delete topics and all their records.
    Delete {
        /// The topics.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(super) fn run(args: &TopicsArgs, output: &mut Output) -> Result<(), Ended> {
    let mut client = Cluster::open(&args.bootstrap_server, &Stop::default())?;
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
        Action::Alter(what) => {
            let altered = alter::run(&mut client, what)?;
            if args.json { output.json(&altered) } else { output.line(&altered) }
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
    client: &mut Cluster,
    name: &str,
    partitions: Option<i32>,
    configs: &[String],
    if_not_exists: bool,
) -> Result<Made, Ended> {
    let configs = configs.iter().map(|text| {
        let (key, value) = setting(text)?;
        Ok::<_, Ended>(
            create::CreatableTopicConfig::default()
                .with_name(KafkaString::from(key.to_owned()))
                .with_value(Some(KafkaString::from(value.to_owned()))),
        )
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

/// `key=value` of `--config`.
fn setting(text: &str) -> Result<(&str, &str), Ended> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.ok_or_else(|| Ended::Usage(format!("--config {text}: is not of the form key=value")))
}

fn delete(client: &mut Cluster, name: &str) -> Result<(), Ended> {
    let state = delete::DeleteTopicState::default().with_name(Some(KafkaString::from(name.to_owned())));
    let request = delete::DeleteTopicsRequestData::default().with_topics(vec![state]).with_timeout_ms(TIMEOUT_MS);
    let answer = client.call(&request)?;
    let mut results = answer.responses.iter();
    Ok(results.try_for_each(|result| accept(name, result.error_code, result.error_message.as_ref()))?)
}

/// The topics of a node, or one of them, sorted by name.
fn all(client: &mut Cluster, name: Option<&str>) -> Result<Vec<metadata_response::MetadataResponseTopic>, Ended> {
    let names = name.map(|name| vec![name]);
    let mut topics = client.metadata(names.as_deref(), false)?;
    for topic in &topics {
        accept(topic_name(topic), topic.error_code, None)?;
    }
    topics.sort_by(|a, b| topic_name(a).cmp(topic_name(b)));
    Ok(topics)
}

fn topic_name(topic: &metadata_response::MetadataResponseTopic) -> &str {
    topic.name.as_ref().map_or("", KafkaString::as_str)
}

fn describe(client: &mut Cluster, topic: &metadata_response::MetadataResponseTopic) -> Result<Described, Ended> {
    let name = topic_name(topic);
    let mut numbers: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition_index).collect();
    numbers.sort_unstable();
    // A partition without a leader has no offsets to show.
    let led = topic.partitions.iter().filter(|partition| partition.error_code == 0);
    let led: Vec<i32> = led.map(|partition| partition.partition_index).collect();
    let at = |moment| led.iter().map(|number| (*number, moment)).collect::<Vec<_>>();
    let starts = client.offsets_at(name, &at(EARLIEST)).unwrap_or_default();
    let ends = client.offsets_at(name, &at(LATEST)).unwrap_or_default();
    let partitions = numbers.iter().filter_map(|number| {
        let partition = topic.partitions.iter().find(|partition| partition.partition_index == *number)?;
        let error = (partition.error_code != 0).then(|| code_name(partition.error_code));
        Some(DescribedPartition {
            partition: *number,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            log_start_offset: starts.get(number).copied(),
            high_watermark: ends.get(number).copied(),
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

/// The settings that the topic has of its own.
fn own_configs(client: &mut Cluster, name: &str) -> Result<Vec<(String, String)>, Ended> {
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

/// `ConfigResource.Type.TOPIC` and `ConfigSource.DYNAMIC_TOPIC_CONFIG` of Kafka.
pub(super) const RESOURCE_TOPIC: i8 = 2;
const SOURCE_TOPIC: i8 = 1;

const ALTER_HELP: &str = "\
Examples:
  ringmain topics alter orders --config retention.ms=86400000 --config max.message.bytes=2097152
  ringmain topics alter orders --delete-config retention.ms
  ringmain topics alter orders --partitions 8      # never fewer; keys go to other partitions from then on";
