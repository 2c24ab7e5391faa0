//! Golden bytes: each was written by `org.apache.kafka.metadata.MetadataRecordSerde` of the jars 4.3.1.

use proptest::prelude::*;

use super::*;

const TOPIC_ID: TopicId = TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const DIRECTORY: [u8; 16] = [17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

/// What we write is what Kafka writes, and what Kafka wrote is what we read.
fn golden(record: &Record, hex: &str) {
    assert_eq!(record.encode(), bytes(hex), "{record:?}");
    assert_eq!(&Record::decode(&bytes(hex)).expect("Kafka wrote it"), record);
}

fn partition() -> PartitionRecord {
    PartitionRecord {
        partition_id: 3,
        topic_id: TOPIC_ID,
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        directories: vec![DIRECTORY],
        ..PartitionRecord::default()
    }
}

fn register() -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: 1,
        incarnation_id: TOPIC_ID.0,
        broker_epoch: 5,
        end_points: vec![BrokerEndpoint {
            name: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            security_protocol: 0,
        }],
        features: vec![BrokerFeature {
            name: "metadata.version".to_owned(),
            min_supported_version: 7,
            max_supported_version: 30,
        }],
        fenced: true,
        log_dirs: vec![DIRECTORY],
        ..RegisterBrokerRecord::default()
    }
}

#[test]
fn small_records_are_kafkas_bytes() {
    golden(
        &Record::FeatureLevel(FeatureLevelRecord { name: "metadata.version".to_owned(), feature_level: 30 }),
        "010c00116d657461646174612e76657273696f6e001e00",
    );
    golden(
        &Record::Topic(TopicRecord { name: "orders".to_owned(), topic_id: TOPIC_ID }),
        "010200076f72646572730102030405060708090a0b0c0d0e0f1000",
    );
    let mut config = ConfigRecord {
        resource_type: RESOURCE_TOPIC,
        resource_name: "orders".to_owned(),
        name: "retention.ms".to_owned(),
        value: Some("1000".to_owned()),
    };
    golden(&Record::Config(config.clone()), "01040002076f72646572730d726574656e74696f6e2e6d73053130303000");
    config.value = None;
    golden(&Record::Config(config), "01040002076f72646572730d726574656e74696f6e2e6d730000");
    golden(&Record::RemoveTopic(TOPIC_ID), "0109000102030405060708090a0b0c0d0e0f1000");
    golden(
        &Record::ProducerIds(ProducerIdsRecord { broker_id: 1, broker_epoch: 7, next_producer_id: 2000 }),
        "010f0000000001000000000000000700000000000007d000",
    );
    golden(&Record::NoOp, "01140000");
}

#[test]
fn partition_records_are_kafkas_bytes() {
    let plain = partition();
    golden(
        &Record::Partition(plain.clone()),
        "010302000000030102030405060708090a0b0c0d0e0f10020000000102000000010101000000010000000000000000021112131415161718191a1b1c1d1e1f2000",
    );
    let recovering = PartitionRecord {
        leader_recovery_state: 1,
        eligible_leader_replicas: Some(vec![2]),
        last_known_elr: Some(vec![3]),
        ..plain
    };
    golden(
        &Record::Partition(recovering),
        "010302000000030102030405060708090a0b0c0d0e0f10020000000102000000010101000000010000000000000000021112131415161718191a1b1c1d1e1f20030001010105020000000202050200000003",
    );
}

#[test]
fn older_versions_of_a_partition_are_read() {
    let v1 = "010301000000030102030405060708090a0b0c0d0e0f10020000000102000000010101000000010000000000000000021112131415161718191a1b1c1d1e1f2000";
    assert_eq!(Record::decode(&bytes(v1)).expect("v1"), Record::Partition(partition()));
    let v0 = "010300000000030102030405060708090a0b0c0d0e0f1002000000010200000001010100000001000000000000000000";
    let expected = PartitionRecord { directories: Vec::new(), ..partition() };
    assert_eq!(Record::decode(&bytes(v0)).expect("v0"), Record::Partition(expected));
}

#[test]
fn partition_changes_are_kafkas_bytes() {
    let mut change = PartitionChangeRecord::of(TOPIC_ID, 3);
    change.leader = 1;
    golden(&Record::PartitionChange(change.clone()), "010502000000030102030405060708090a0b0c0d0e0f1001010400000001");
    let all = PartitionChangeRecord {
        isr: Some(vec![1, 2]),
        replicas: Some(vec![1, 2]),
        removing_replicas: Some(vec![2]),
        adding_replicas: Some(vec![3]),
        leader_recovery_state: 0,
        directories: Some(vec![DIRECTORY]),
        eligible_leader_replicas: Some(vec![4]),
        last_known_elr: Some(vec![5]),
        ..change
    };
    golden(
        &Record::PartitionChange(all),
        "010502000000030102030405060708090a0b0c0d0e0f100900090300000001000000020104000000010209030000000100000002030502000000020405020000000305010006050200000004070502000000050811021112131415161718191a1b1c1d1e1f20",
    );
}

#[test]
fn broker_records_are_kafkas_bytes() {
    let v3 = "01000300000001000102030405060708090a0b0c0d0e0f100000000000000005020a504c41494e544558540a6c6f63616c686f7374238400000002116d657461646174612e76657273696f6e0007001e00000100010011021112131415161718191a1b1c1d1e1f20";
    assert_eq!(Record::decode(&bytes(v3)).expect("v3"), Record::RegisterBroker(register()));
    golden(
        &Record::RegisterBroker(RegisterBrokerRecord {
            rack: Some("r1".to_owned()),
            cordoned_log_dirs: Some(vec![DIRECTORY]),
            ..register()
        }),
        "01000400000001000102030405060708090a0b0c0d0e0f100000000000000005020a504c41494e544558540a6c6f63616c686f7374238400000002116d657461646174612e76657273696f6e0007001e000372310100020011021112131415161718191a1b1c1d1e1f200111021112131415161718191a1b1c1d1e1f20",
    );
    let v1 = "011101000000010000000000000005010001ff";
    let unfenced = BrokerRegistrationChangeRecord { broker_id: 1, broker_epoch: 5, fenced: -1, ..Default::default() };
    assert_eq!(Record::decode(&bytes(v1)).expect("v1"), Record::BrokerRegistrationChange(unfenced.clone()));
    golden(
        &Record::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            fenced: 1,
            in_controlled_shutdown: 1,
            log_dirs: vec![DIRECTORY],
            cordoned_log_dirs: Some(Vec::new()),
            ..unfenced
        }),
        "011103000000010000000000000005040001010101010211021112131415161718191a1b1c1d1e1f20030101",
    );
}

#[test]
fn our_shard_comes_back_and_costs_a_tagged_field() {
    let record = Record::Partition(PartitionRecord { shard: Some(ShardId(300)), ..partition() });
    let plain = Record::Partition(partition()).encode();
    let encoded = record.encode();
    assert_eq!(Record::decode(&encoded).expect("ours"), record);
    // One more tagged field: tag 10000, two bytes, 300.
    assert_eq!(encoded[plain.len() - 1..], bytes("01904e02ac02")[..]);
    let mut change = PartitionChangeRecord::of(TOPIC_ID, 0);
    change.shard = Some(ShardId(0));
    let record = Record::PartitionChange(change);
    assert_eq!(Record::decode(&record.encode()).expect("ours"), record);
}

#[test]
fn what_we_do_not_know_is_an_error() {
    assert!(matches!(Record::decode(&bytes("01630000")), Err(RecordError::UnknownType { kind: 0x63 })));
    assert!(matches!(
        Record::decode(&bytes("01140100")),
        Err(RecordError::UnknownVersion { kind: 20, version: 1, .. })
    ));
    assert!(matches!(Record::decode(&bytes("00140000")), Err(RecordError::FrameVersion(0))));
    assert!(matches!(Record::decode(&bytes("0114000000")), Err(RecordError::Trailing(1))));
}

#[test]
fn every_truncation_is_an_error() {
    let whole = Record::RegisterBroker(register()).encode();
    for end in 0..whole.len() {
        assert!(Record::decode(&whole[..end]).is_err(), "{end} bytes of {}", whole.len());
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(value: Vec<u8>) {
        let _ = Record::decode(&value);
    }

    #[test]
    fn decoding_a_damaged_record_never_panics(at in 0..90_usize, byte: u8) {
        let mut value = Record::RegisterBroker(register()).encode();
        let at = at % value.len();
        value[at] = byte;
        if let Ok(record) = Record::decode(&value) {
            prop_assert_eq!(Record::decode(&record.encode()).expect("written by us"), record);
        }
    }
}
