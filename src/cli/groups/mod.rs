//! `ringmain groups`: what consumer groups there are, how far each is, and putting one somewhere else.

mod describe;
mod reset;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Ended;
use super::output::{Output, table};
use crate::client::{Cluster, Error, Stop, accept};
use crate::protocol::cold::{
    KafkaString, delete_groups_request as delete, describe_groups_request, describe_groups_response,
    list_groups_request as list,
};

/// Arguments of `groups`.
#[derive(Args)]
pub(super) struct GroupsArgs {
    #[command(subcommand)]
    action: Action,
    /// The node to ask.
    #[arg(
        long,
        short,
        global = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9092",
        visible_alias = "server"
    )]
    bootstrap_server: String,
    /// Print JSON, one value a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Name all groups and their state.
    List,
    /// Show where a group is in each partition, how far behind, and who its members are.
    #[command(after_help = describe::HELP)]
    Describe {
        /// The group; all where none is named.
        group: Option<String>,
        /// Show the members instead.
        #[arg(long)]
        members: bool,
    },
    /// Put a group without members to other offsets. Only shows them, unless --execute is given.
    #[command(after_help = reset::HELP)]
    ResetOffsets(reset::ResetArgs),
    /// Delete groups without members, and what they have committed.
    Delete {
        /// The groups.
        #[arg(required = true)]
        groups: Vec<String>,
    },
}

pub(super) fn run(args: &GroupsArgs, output: &mut Output) -> Result<(), Ended> {
    let mut cluster = Cluster::open(&args.bootstrap_server, &Stop::default())?;
    match &args.action {
        Action::List => {
            let groups = all(&mut cluster)?;
            if args.json {
                groups.iter().for_each(|group| output.json(group));
            } else {
                let rows = groups.into_iter().map(|group| vec![group.group, group.state, group.kind]);
                table(output, &["GROUP", "STATE", "TYPE"], rows.collect());
            }
        }
        Action::Describe { group, members } => {
            let groups = match group {
                Some(group) => vec![group.clone()],
                None => all(&mut cluster)?.into_iter().map(|group| group.group).collect(),
            };
            for group in groups {
                let described = describe::describe(&mut cluster, &group)?;
                if args.json { output.json(&described) } else { described.print(*members, output) }
            }
        }
        Action::ResetOffsets(what) => reset::run(&mut cluster, what, args.json, output)?,
        Action::Delete { groups } => {
            for group in groups {
                delete_group(&mut cluster, group)?;
                if args.json { output.json(&Named { group }) } else { output.line(format_args!("deleted {group}")) }
            }
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Named<'a> {
    group: &'a str,
}

#[derive(Serialize)]
struct Listed {
    group: String,
    state: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Every broker names the groups that it coordinates.
fn all(cluster: &mut Cluster) -> Result<Vec<Listed>, Error> {
    // Learns the brokers; no topics are asked for.
    cluster.metadata(Some(&[]), false)?;
    let mut groups = Vec::new();
    for broker in cluster.broker_ids() {
        let answer = cluster.call_broker(broker, &list::ListGroupsRequestData::default())?;
        accept("groups", answer.error_code, None)?;
        groups.extend(answer.groups.iter().map(|group| {
            let (kind, protocol) = (group.group_type.as_str(), group.protocol_type.as_str());
            Listed {
                group: group.group_id.as_str().to_owned(),
                state: group.group_state.as_str().to_owned(),
                kind: if kind.is_empty() { protocol.to_owned() } else { kind.to_lowercase() },
            }
        }));
    }
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(groups)
}

/// One group as its coordinator sees it.
fn described(cluster: &mut Cluster, group: &str) -> Result<describe_groups_response::DescribedGroup, Error> {
    let request = describe_groups_request::DescribeGroupsRequestData::default()
        .with_groups(vec![KafkaString::from(group.to_owned())]);
    let mut answer = cluster
        .call_coordinator(group, &request, |answer| answer.groups.first().map_or(0, |group| group.error_code))?;
    let found = answer.groups.pop().ok_or_else(|| Error::GaveUp(format!("{group}: the node answered nothing")))?;
    accept(group, found.error_code, found.error_message.as_ref())?;
    Ok(found)
}

fn delete_group(cluster: &mut Cluster, group: &str) -> Result<(), Error> {
    let request =
        delete::DeleteGroupsRequestData::default().with_groups_names(vec![KafkaString::from(group.to_owned())]);
    let answer = cluster
        .call_coordinator(group, &request, |answer| answer.results.first().map_or(0, |result| result.error_code))?;
    answer.results.iter().try_for_each(|result| accept(group, result.error_code, None))
}
