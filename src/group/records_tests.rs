//! Golden bytes: keys were written by `GroupCoordinatorRecordSerde`, values by `MessageUtil`, of the jars 4.3.1.

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

#[test]
fn keys_are_kafkas_bytes() {
    let commit = Key::OffsetCommit { group: "group-1", topic: "topic", partition: 7 };
    let hex = "0001000767726f75702d310005746f70696300000007";
    assert_eq!(commit.encode(), bytes(hex));
    assert_eq!(Key::decode(&bytes(hex)), Ok(commit));
    assert_eq!(Key::decode(&bytes(&hex.replacen("0001", "0000", 1))), Ok(commit), "the oldest version");
    let group = Key::GroupMetadata { group: "group-1" };
    assert_eq!(group.encode(), bytes("0002000767726f75702d31"));
    assert_eq!(Key::decode(&group.encode()), Ok(group));
    assert_eq!(Key::decode(&bytes("0003000767726f75702d31")), Ok(Key::Newer { version: 3 }));
    assert_eq!(Key::decode(&bytes("ffff")), Err(RecordError::Version(-1)));
}

const COMMITS: [&str; 5] = [
    "00000000011f71fb04cb00036dc3a90000018bcfe56800",
    "00010000011f71fb04cb00036dc3a90000018bcfe568000000018bcfe56be8",
    "00020000011f71fb04cb00036dc3a90000018bcfe56800",
    "00030000011f71fb04cb0000000500036dc3a90000018bcfe56800",
    "00040000011f71fb04cb00000005046dc3a90000018bcfe5680000",
];

#[test]
fn every_version_of_a_commit_is_read_and_kafkas_choice_is_written() {
    for (version, hex) in COMMITS.iter().enumerate() {
        let commit = OffsetCommitValue {
            offset: 1_234_567_890_123,
            leader_epoch: if version >= 3 { 5 } else { -1 },
            metadata: "m\u{e9}",
            commit_timestamp: 1_700_000_000_000,
            expire_timestamp: if version == 1 { 1_700_000_001_000 } else { -1 },
            topic_id: TopicId::ZERO,
        };
        assert_eq!(OffsetCommitValue::decode(&bytes(hex)), Ok(commit));
        if matches!(version, 1 | 4) {
            assert_eq!(commit.encode(), bytes(hex));
        }
    }
    let with_id = OffsetCommitValue {
        offset: 42,
        leader_epoch: -1,
        metadata: "",
        commit_timestamp: 1_700_000_000_000,
        expire_timestamp: -1,
        topic_id: TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    };
    let hex = "0004000000000000002affffffff010000018bcfe568000100100102030405060708090a0b0c0d0e0f10";
    assert_eq!(with_id.encode(), bytes(hex));
    assert_eq!(OffsetCommitValue::decode(&bytes(hex)), Ok(with_id));
    assert_eq!(OffsetCommitValue::decode(&bytes("0005")), Err(RecordError::Version(5)));
}

const GROUPS: [&str; 5] = [
    "00000008636f6e73756d657200000003000572616e67650003632d31000000010003632d31000163000a2f3132372e302e302e31\
     0000afc800000003000102000000020304",
    "00010008636f6e73756d657200000003000572616e67650003632d31000000010003632d31000163000a2f3132372e302e302e31\
     0000ea600000afc800000003000102000000020304",
    "00020008636f6e73756d657200000003000572616e67650003632d310000018bcfe56800000000010003632d31000163\
     000a2f3132372e302e302e310000ea600000afc800000003000102000000020304",
    "00030008636f6e73756d657200000003000572616e67650003632d310000018bcfe56800000000010003632d31000169000163\
     000a2f3132372e302e302e310000ea600000afc800000003000102000000020304",
    "000409636f6e73756d6572000000030672616e676504632d310000018bcfe568000204632d31026902630b2f3132372e302e302e31\
     0000ea600000afc8040001020303040000",
];

#[test]
fn every_version_of_a_group_is_read_and_kafkas_choice_is_written() {
    for (version, hex) in GROUPS.iter().enumerate() {
        let member = MemberMetadata {
            member_id: "c-1",
            group_instance_id: (version >= 3).then_some("i"),
            client_id: "c",
            client_host: "/127.0.0.1",
            rebalance_timeout: if version >= 1 { 60_000 } else { -1 },
            session_timeout: 45_000,
            subscription: &[0, 1, 2],
            assignment: &[3, 4],
        };
        let group = GroupMetadataValue {
            protocol_type: "consumer",
            generation: 3,
            protocol: Some("range"),
            leader: Some("c-1"),
            current_state_timestamp: if version >= 2 { 1_700_000_000_000 } else { -1 },
            members: vec![member],
        };
        let bytes = bytes(hex);
        assert_eq!(GroupMetadataValue::decode(&bytes), Ok(group.clone()), "{version}");
        if version == 3 {
            assert_eq!(group.encode(), bytes);
        }
    }
}

#[test]
fn a_group_that_never_had_a_member_is_kafkas_bytes() {
    let empty = GroupMetadataValue {
        protocol_type: "",
        generation: 0,
        protocol: None,
        leader: None,
        current_state_timestamp: 1_700_000_000_000,
        members: Vec::new(),
    };
    let hex = "0003000000000000ffffffff0000018bcfe5680000000000";
    assert_eq!(empty.encode(), bytes(hex));
    assert_eq!(GroupMetadataValue::decode(&bytes(hex)), Ok(empty));
}

#[test]
fn hostile_lengths_allocate_nothing() {
    let members = "00030000000000000000ffffffff0000018bcfe568007fffffff";
    assert_eq!(GroupMetadataValue::decode(&bytes(members)), Err(RecordError::Truncated));
    assert_eq!(GroupMetadataValue::decode(&bytes("0004ffffffffff")), Err(RecordError::Varint));
    assert_eq!(Key::decode(&bytes("00017fff61")), Err(RecordError::Truncated));
    assert_eq!(Key::decode(&bytes("0001ffff")), Err(RecordError::Null));
    assert_eq!(Key::decode(&bytes("00020001ff")), Err(RecordError::Utf8));
    let no_protocol = GROUPS[3].replacen("000572616e6765", "ffff", 1);
    assert_eq!(GroupMetadataValue::decode(&bytes(&no_protocol)), Err(RecordError::Inconsistent));
}

#[test]
fn what_is_cut_off_is_an_error() {
    for hex in COMMITS.iter().chain(&GROUPS) {
        let whole = bytes(hex);
        for end in 0..whole.len() {
            let cut = &whole[..end];
            if COMMITS.contains(hex) {
                assert!(OffsetCommitValue::decode(cut).is_err(), "{hex} {end}");
            } else {
                assert!(GroupMetadataValue::decode(cut).is_err(), "{hex} {end}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Key::decode(&data);
        let _ = OffsetCommitValue::decode(&data);
        let _ = GroupMetadataValue::decode(&data);
    }

    #[test]
    fn a_commit_comes_back(
        offset in any::<i64>(), leader_epoch in any::<i32>(), metadata in ".{0,40}",
        times in (any::<i64>(), 0..i64::MAX), id in any::<[u8; 16]>(), expires in any::<bool>(),
    ) {
        let value = OffsetCommitValue {
            offset,
            leader_epoch: if expires { -1 } else { leader_epoch },
            metadata: &metadata,
            commit_timestamp: times.0,
            expire_timestamp: if expires { times.1 } else { -1 },
            topic_id: if expires { TopicId::ZERO } else { TopicId(id) },
        };
        let encoded = value.encode();
        prop_assert_eq!(OffsetCommitValue::decode(&encoded), Ok(value));
    }
}
