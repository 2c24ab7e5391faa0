//! Every end of a start, and what the next one finds.

use std::rc::Rc;

use super::checkpoint::PartitionState;
use super::life::{BLOCK, Life, Model, batch, dir, filled, id};
use super::recovery::Start;
use super::{Error, Log};
use crate::io::Job;
use crate::io::sim::SimEnv;
use crate::record::build::{BatchBuilder, NewRecord};
use crate::types::Offset;

/// Some lives of three logs, ended in every way, opened by other numbers of shards.
fn lives(seed: u64) {
    let mut life = Life::new(seed);
    let mut models: Vec<Model> = (0..3).map(|_| Model::default()).collect();
    let mut acked = [(Offset::ZERO, Offset::ZERO); 3];
    life.open(1);
    for partition in 0..3 {
        drop(life.create(partition));
    }
    for round in 0..4_u8 {
        for step in 0..8 + life.draw(40) {
            let partition = i32::try_from(life.draw(3)).unwrap();
            let at = usize::try_from(partition).unwrap();
            let value_bytes =
                usize::try_from(if life.draw(8) == 0 { life.draw(40_000) } else { life.draw(900) }).unwrap();
            let count = usize::try_from(1 + life.draw(3)).unwrap();
            let bytes = batch(count, value_bytes, i64::try_from(step).unwrap(), round);
            let end = life.append(partition, bytes.clone()).unwrap();
            models[at].push(bytes, end);
            match life.draw(6) {
                0 => life.wait_durable(partition),
                1 => life.world.run_for_us(life.random % 300),
                _ => {}
            }
            for (partition, acked) in acked.iter_mut().enumerate() {
                let log = life.log(i32::try_from(partition).unwrap());
                *acked = (log.durable_offset(), log.written_offset());
            }
        }
        let (how, survives) = match life.draw(3) {
            0 => {
                life.crash();
                ("crash", acked.map(|(durable, _)| durable))
            }
            1 => {
                life.kill();
                ("kill", acked.map(|(_, written)| written))
            }
            _ => {
                assert!(life.stop());
                ("stop", [0, 1, 2].map(|at: usize| models[at].ends.last().copied().unwrap_or_default()))
            }
        };
        let shards = u16::try_from(1 + life.draw(3)).unwrap();
        life.open(shards);
        for partition in 0..3 {
            let at = usize::try_from(partition).unwrap();
            assert_eq!(life.log(partition).failure().map(|error| error.to_string()), None, "seed {seed}");
            let what = format!("seed {seed}, round {round}, {how}, {:?}, log {partition}", life.start);
            models[at].check(&life.contents(partition, 10_000), survives[at], &what);
        }
    }
}

#[test]
fn what_was_acknowledged_survives_every_end() {
    for seed in 0..150 {
        lives(seed);
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = || {
        let mut life = Life::new(5);
        life.open(2);
        drop(life.create(0));
        life.append(0, batch(2, 5000, 1, 1)).unwrap();
        life.wait_durable(0);
        life.crash();
        life.open(1);
        life.world.trace()
    };
    assert_eq!(trace(), trace());
}

#[test]
fn a_clean_stop_is_proven_and_opens_no_segment() {
    let (mut life, contents) = filled(1);
    assert!(life.stop());
    let reads = life.world.file_bytes(&dir().join(".kafka_cleanshutdown")).unwrap();
    assert_eq!(reads, br#"{"version":0,"brokerEpoch":4711}"#);
    let text = |name: &str| String::from_utf8(life.world.file_bytes(&dir().join(name)).unwrap()).unwrap();
    assert_eq!(text("recovery-point-offset-checkpoint"), "0\n2\nt 0 180\nt 1 180\n");
    assert_eq!(text("log-start-offset-checkpoint"), "0\n0\n");
    assert_eq!(text("t-0/partition.metadata"), format!("version: 0\ntopic_id: {}", id(0).topic_id));
    life.open(1);
    assert_eq!(life.start, Start::Clean);
    assert!(!life.names("").contains(&".kafka_cleanshutdown".to_owned()), "the mark goes with the first change");
    assert!(life.log(0).segments.borrow().values().all(|segment| segment.file.borrow().is_none()));
    assert_eq!(life.contents(0, 50_000), contents[0]);
    assert_eq!(life.contents(1, 50_000), contents[1]);
}

#[test]
fn a_directory_without_our_files_is_read_by_kafkas_rule() {
    let (mut life, contents) = filled(2);
    assert!(life.stop());
    life.remove(&dir().join(".ringmain"));
    life.open(2);
    assert_eq!(life.start, Start::Kafka);
    assert_eq!(life.contents(0, 1 << 20), contents[0]);
    assert_eq!(life.contents(1, 1 << 20), contents[1]);
    life.append(1, batch(1, 10, 1, 1)).unwrap();
    life.wait_durable(1);
}

#[test]
fn a_stop_of_kafkas_in_between_is_noticed() {
    let (mut life, contents) = filled(3);
    assert!(life.stop());
    let rt = life.world.client();
    let inner = Rc::clone(&rt);
    let path = dir().join(".kafka_cleanshutdown");
    let text = br#"{"version":0,"brokerEpoch":12}"#.to_vec();
    life.world.block_on(&rt, async move { inner.job(Job::WriteFile(path, text)).await.map(drop) }).unwrap().unwrap();
    life.open(1);
    assert_eq!(life.start, Start::Kafka);
    assert_eq!(life.contents(0, 1 << 20), contents[0]);
}

#[test]
fn a_lost_journal_is_refused_with_the_command_that_salvages() {
    let (mut life, contents) = filled(4);
    life.kill();
    for name in life.names(".ringmain").into_iter().filter(|name| name.starts_with("journal")) {
        life.remove(&dir().join(".ringmain").join(name));
    }
    let refused = life.try_open(1, false).expect_err("where logs end is not known");
    assert!(refused.to_string().contains("ringmain log close --salvage /data"), "{refused}");
    life.kill();
    life.try_open(1, true).expect("the operator's word");
    assert_eq!(life.start, Start::Salvaged);
    let salvaged = life.contents(0, 1 << 20);
    assert!(contents[0].starts_with(&salvaged) && salvaged.len() > 200_000, "all but the last blocks");
}

#[test]
fn a_flipped_bit_below_the_durable_mark_quarantines_its_log_alone() {
    let mut life = Life::new(6);
    life.open(1);
    for partition in 0..2 {
        drop(life.create(partition));
        for step in 0..20 {
            life.append(partition, batch(3, 1000, step, 7)).unwrap();
        }
        life.wait_durable(partition);
    }
    let whole = life.contents(1, 1 << 20);
    life.kill();
    let segment = dir().join("t-0/00000000000000000000.log");
    assert!(life.world.flip_bit(&segment, 8 * 9000 + 3));
    let before = life.world.file_bytes(&segment);
    life.open(1);
    let failure = life.log(0).failure().expect("quarantined");
    assert!(
        matches!(&failure, Error::Quarantined { reason, .. } if reason.contains("below the durable offset")),
        "{failure}"
    );
    assert_eq!(life.log(1).failure().map(|error| error.to_string()), None);
    assert_eq!(life.contents(1, 1 << 20), whole);
    assert_eq!(life.world.file_bytes(&segment), before, "the evidence stays");
    assert!(life.names(".ringmain/quarantine").iter().any(|name| name.starts_with("journal-0-")));
    assert!(life.stop());
    life.open(1);
    assert!(matches!(life.log(0).failure(), Some(Error::Quarantined { .. })), "a quarantine outlives a clean stop");
    life.kill();
    life.open(1);
    assert!(matches!(life.log(0).failure(), Some(Error::Quarantined { .. })), "and a crash");
}

#[test]
fn an_unreadable_block_costs_what_only_it_holds() {
    let (mut life, contents) = filled(14);
    let block = BLOCK as u64;
    let journal = dir().join(".ringmain/journal-0-1");
    let last = |log: &Log<SimEnv>| {
        let segments = log.segments.borrow();
        let (base, segment) = segments.last_key_value().expect("a segment");
        (log.dir().join(format!("{:020}.log", base.0)), segment.end_position.get())
    };
    let ((first, _), (second, end)) = (last(&life.log(0)), last(&life.log(1)));
    life.kill();
    // Where no record lies; where a log's last bytes will lie, which are in the journal.
    assert!(life.world.break_block(&journal, life.config.journal_bytes - block));
    assert!(life.world.break_block(&second, end / block * block));
    life.open(1);
    for partition in 0..2 {
        assert_eq!(life.log(partition).failure().map(|error| error.to_string()), None, "log {partition}");
        assert_eq!(life.contents(partition, 1 << 20), contents[usize::try_from(partition).unwrap()]);
    }
    life.kill();
    assert!(life.world.break_block(&first, 0));
    life.remove(&dir().join(".ringmain/checkpoint-0-2"));
    life.open(1);
    let failure = life.log(0).failure().expect("quarantined");
    assert!(failure.to_string().contains("at position 0"), "{failure}");
    assert_eq!(life.contents(1, 1 << 20), contents[1]);
}

#[test]
fn a_flipped_bit_in_the_journal_is_put_right() {
    for bit in (0..60_000).step_by(997) {
        let mut life = Life::new(7);
        life.open(1);
        for partition in 0..2 {
            drop(life.create(partition));
        }
        for step in 0..6_u8 {
            life.append(i32::from(step % 2), batch(1, 300, 1, step)).unwrap();
            life.wait_durable(i32::from(step % 2));
        }
        let whole = [life.contents(0, 1 << 20), life.contents(1, 1 << 20)];
        life.kill();
        let journal = life.names(".ringmain").into_iter().find(|name| name.starts_with("journal")).unwrap();
        let path = dir().join(".ringmain").join(journal);
        assert!(life.world.flip_bit(&path, bit));
        life.open(1);
        for partition in 0..2 {
            let log = life.log(partition);
            let served = log.failure().is_none();
            // The last record is like one that was torn on its way: nothing says that it was flushed.
            let last = log.log_end_offset() >= Offset(2);
            assert!(
                last && (!served
                    || whole[usize::try_from(partition).unwrap()].starts_with(&life.contents(partition, 1 << 20))),
                "bit {bit}"
            );
        }
        let ends = life.log(0).log_end_offset().0 + life.log(1).log_end_offset().0;
        assert!(ends >= 5, "bit {bit}: at most the last record is lost, {ends} of 6 are there");
    }
}

#[test]
fn producers_and_epochs_are_moved_forward_to_the_end() {
    let mut life = Life::new(8);
    life.open(1);
    drop(life.create(0));
    for step in 0..7 {
        let builder =
            BatchBuilder { producer_id: 77, producer_epoch: 1, base_sequence: step * 2, ..BatchBuilder::default() };
        let bytes = builder.build(&[NewRecord::value(1, "a"), NewRecord::value(2, "b")]);
        life.append(0, bytes).unwrap();
    }
    life.wait_durable(0);
    life.crash();
    life.open(1);
    let state: PartitionState = life.shards[0].store.take_state(id(0));
    assert_eq!(state.up_to, 14);
    assert_eq!(state.leader_epochs.iter().map(|entry| (entry.epoch, entry.start_offset)).collect::<Vec<_>>(), [(3, 0)]);
    let producer = &state.producers[0];
    assert_eq!((producer.producer_id, producer.epoch, producer.batches.len()), (77, 1, 5));
    assert_eq!(producer.batches[4].last_sequence, 13);
}

#[test]
fn closing_a_crashed_directory_makes_it_kafkas() {
    let (mut life, contents) = filled(11);
    life.kill();
    life.world.take_lock();
    let rt = life.world.start(1).remove(0);
    let (inner, config) = (Rc::clone(&rt), life.config.clone());
    let closed =
        life.world.block_on(&rt, async move { super::close::close_directory(&inner, config, &dir(), false).await });
    let closed = closed.expect("closing ends").unwrap();
    assert_eq!((closed.start, closed.logs, closed.quarantined.len(), closed.clean), (Start::Crashed, 2, 0, true));
    drop(rt);
    life.world.kill();
    life.remove(&dir().join(".ringmain"));
    life.open(1);
    assert_eq!(life.start, Start::Kafka);
    assert_eq!(life.contents(0, 1 << 20), contents[0]);
    assert_eq!(life.contents(1, 1 << 20), contents[1]);
}
