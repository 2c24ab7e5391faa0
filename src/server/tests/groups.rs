//! Groups on whole nodes in the simulator: what a member was told outlives a kill and a power failure, whatever shard its
//! connection and its coordinator are on.

use crate::protocol::ErrorCode;
use crate::protocol::cold::find_coordinator_request::FindCoordinatorRequestData;
use crate::protocol::cold::heartbeat_request::HeartbeatRequestData;
use crate::protocol::cold::join_group_request::{JoinGroupRequestData, JoinGroupRequestProtocol};
use crate::protocol::cold::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::cold::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use crate::protocol::cold::sync_group_request::{SyncGroupRequestAssignment, SyncGroupRequestData};
use crate::protocol::cold::{KafkaString, encode_request};
use crate::server::tests::node::{Bench, Client};

fn text(of: &str) -> KafkaString {
    KafkaString::from(of.to_owned())
}

/// A static member, alone in its group.
struct Member {
    group: String,
    id: KafkaString,
    generation: i32,
    /// The last offset whose commit was sent, and the last one whose commit was acknowledged.
    sent: i64,
    acknowledged: i64,
}

impl Member {
    fn join(client: &Client, group: &str) -> Self {
        let protocol = JoinGroupRequestProtocol { name: text("range"), ..Default::default() };
        let joined = client.ask(&JoinGroupRequestData {
            group_id: text(group),
            session_timeout_ms: 600_000,
            rebalance_timeout_ms: 600_000,
            group_instance_id: Some(text("only")),
            protocol_type: text("consumer"),
            protocols: vec![protocol],
            ..Default::default()
        });
        assert_eq!(joined.error_code, 0);
        let (id, generation) = (joined.member_id, joined.generation_id);
        let own = SyncGroupRequestAssignment { member_id: id.clone(), ..Default::default() };
        let synced = client.ask(&SyncGroupRequestData {
            group_id: text(group),
            generation_id: generation,
            member_id: id.clone(),
            group_instance_id: Some(text("only")),
            assignments: vec![own],
            ..Default::default()
        });
        assert_eq!(synced.error_code, 0);
        Self { group: group.to_owned(), id, generation, sent: 0, acknowledged: 0 }
    }

    /// Sends a commit of the next offset.
    fn commit(&mut self, client: &Client) {
        self.sent += 1;
        let partition = OffsetCommitRequestPartition { committed_offset: self.sent, ..Default::default() };
        let topic = OffsetCommitRequestTopic { name: text("t"), partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequestData {
            group_id: text(&self.group),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone(),
            group_instance_id: Some(text("only")),
            topics: vec![topic],
            ..Default::default()
        };
        client.send(encode_request(8, "test", &request).expect("encodes").to_vec());
    }

    fn heartbeat(&self, client: &Client) -> i16 {
        let request = HeartbeatRequestData {
            group_id: text(&self.group),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: Some(text("only")),
            ..Default::default()
        };
        client.ask(&request).error_code
    }

    fn committed(&self, client: &Client) -> (i16, i64) {
        let topic = OffsetFetchRequestTopics { name: text("t"), partition_indexes: vec![0], ..Default::default() };
        let group =
            OffsetFetchRequestGroup { group_id: text(&self.group), topics: Some(vec![topic]), ..Default::default() };
        let answer = client.ask(&OffsetFetchRequestData { groups: vec![group], ..Default::default() });
        let group = &answer.groups[0];
        (group.error_code, group.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset))
    }
}

fn find(client: &Client) {
    let request = FindCoordinatorRequestData { coordinator_keys: vec![text("g")], ..Default::default() };
    assert_eq!(client.ask(&request).coordinators[0].error_code, 0);
}

#[test]
fn members_and_acknowledged_commits_outlive_a_kill_and_a_power_failure() {
    for seed in 0..6 {
        let mut bench = Bench::new(seed, 2);
        let mut client = bench.client();
        client.create("t", 1);
        find(&client);
        bench.world.run_for_ms(1_000);
        let mut members: Vec<Member> = (0..6).map(|n| Member::join(&client, &format!("g-{n}"))).collect();
        for round in 0..4 {
            for member in &mut members {
                for _ in 0..5 {
                    member.commit(&client);
                }
            }
            // Some are acknowledged; the rest is under way when the node dies.
            for number in 0..20 {
                let answer = client.answer::<OffsetCommitRequestData>();
                assert_eq!(answer.topics[0].partitions[0].error_code, 0, "seed {seed} round {round}");
                members[number / 5].acknowledged += 1;
            }
            if seed % 2 == 1 {
                bench.world.crash();
            } else {
                bench.world.kill();
            }
            bench.start();
            client = bench.client();
            for member in &mut members {
                while member.committed(&client).0 == ErrorCode::CoordinatorLoadInProgress.code() {
                    bench.world.run_for_ms(10);
                }
                let (error, committed) = member.committed(&client);
                let possible = member.acknowledged..=member.sent;
                assert!(error == 0 && possible.contains(&committed.max(0)), "seed {seed} round {round}: {committed}");
                member.sent = committed.max(0);
                member.acknowledged = committed.max(0);
                assert_eq!(member.heartbeat(&client), 0, "seed {seed} round {round}: it is still a member");
            }
        }
    }
}
