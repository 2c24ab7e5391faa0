//! What groups have committed: OffsetFetch and OffsetCommit.

use std::collections::BTreeMap;

use super::member::Identity;
use crate::client::{Cluster, Error, accept};
use crate::protocol::cold::{
    KafkaString, offset_commit_request as commit, offset_fetch_request as fetch, offset_fetch_response,
};

/// A topic and a partition.
pub(crate) type Key = (String, i32);

/// What a group has committed, of some partitions of a topic or of everything.
pub(crate) fn committed(
    cluster: &mut Cluster,
    group: &str,
    topic: Option<(&str, &[i32])>,
) -> Result<BTreeMap<Key, i64>, Error> {
    let topics = topic.map(|(name, partitions)| {
        vec![
            fetch::OffsetFetchRequestTopics::default()
                .with_name(KafkaString::from(name.to_owned()))
                .with_partition_indexes(partitions.to_vec()),
        ]
    });
    let asked = fetch::OffsetFetchRequestGroup::default()
        .with_group_id(KafkaString::from(group.to_owned()))
        .with_member_id(None)
        .with_member_epoch(-1)
        .with_topics(topics);
    let request = fetch::OffsetFetchRequestData::default().with_groups(vec![asked]).with_require_stable(true);
    let code = |answer: &offset_fetch_response::OffsetFetchResponseData| {
        let group = answer.groups.first();
        let partitions = group.iter().flat_map(|group| &group.topics).flat_map(|topic| &topic.partitions);
        let codes = group.map(|group| group.error_code).into_iter().chain(partitions.map(|found| found.error_code));
        codes.into_iter().find(|code| *code != 0).unwrap_or(0)
    };
    let answer = cluster.call_coordinator(group, &request, code)?;
    accept(group, code(&answer), None)?;
    let topics = answer.groups.iter().flat_map(|group| &group.topics);
    let found = topics.flat_map(|topic| {
        let name = topic.name.as_str();
        topic.partitions.iter().map(move |found| ((name.to_owned(), found.partition_index), found.committed_offset))
    });
    // -1 is none.
    Ok(found.filter(|(_, offset)| *offset >= 0).collect())
}

/// Commits offsets: as a member, or, in a group without members, as nobody.
pub(crate) fn commit(
    cluster: &mut Cluster,
    group: &str,
    identity: Option<&Identity>,
    offsets: &BTreeMap<Key, i64>,
) -> Result<(), Error> {
    let mut topics: BTreeMap<&str, Vec<commit::OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), offset) in offsets {
        let partition = commit::OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(KafkaString::from(String::new())));
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        commit::OffsetCommitRequestTopic::default()
            .with_name(KafkaString::from(name.to_owned()))
            .with_partitions(partitions)
    });
    let text = |text: &str| KafkaString::from(text.to_owned());
    let request = commit::OffsetCommitRequestData::default()
        .with_group_id(text(group))
        .with_generation_id_or_member_epoch(identity.map_or(-1, |identity| identity.generation))
        .with_member_id(text(identity.map_or("", |identity| &identity.member_id)))
        .with_group_instance_id(identity.and_then(|identity| identity.instance_id.as_deref()).map(text))
        .with_topics(topics.collect());
    let answer = cluster.call_coordinator(group, &request, |answer| {
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.find(|found| found.error_code != 0).map_or(0, |found| found.error_code)
    })?;
    for topic in &answer.topics {
        for found in &topic.partitions {
            let what = format!("{group}: {}-{}", topic.name.as_str(), found.partition_index);
            accept(what, found.error_code, None)?;
        }
    }
    Ok(())
}
