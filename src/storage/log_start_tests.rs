//! A raised log start: durable when it is answered, known to every file that says where a log begins.

use std::rc::Rc;

use super::kafka_files::{CLEAN_SHUTDOWN, LOG_START_CHECKPOINT, offsets};
use super::life::{BLOCK, Life, batch, config, dir, fetch, filled, name};
use super::recovery::Start;
use super::{Error, Store};
use crate::io::sim::SimEnv;
use crate::io::{Job, Output};
use crate::record::Batches;
use crate::types::Offset;

fn raise(life: &Life, partition: i32, offset: i64) -> Result<Offset, Error> {
    let (log, store): (_, Rc<Store<SimEnv>>) = (life.log(partition), Rc::clone(&life.shard(partition).store));
    let raised = life.block_on(partition, async move { store.raise_log_starts(&[(log, Offset(offset))]).await });
    raised.into_iter().next().expect("an answer")
}

/// What a reader at `from` gets first: the base offset of the batch.
fn first_batch_at(life: &Life, partition: i32, from: i64) -> Result<Offset, Error> {
    let (log, rt) = (life.log(partition), Rc::clone(&life.shard(partition).rt));
    let upto = log.durable_offset();
    let bytes = life.block_on(partition, async move { fetch(&rt, &log, Offset(from), upto, 1).await })?;
    Ok(Batches::new(&bytes).next().expect("a batch").expect("whole").header.base_offset)
}

fn segment_files(life: &Life, partition: i32) -> usize {
    let names = life.names(&name(partition).to_string());
    names.iter().filter(|name| name.ends_with(".log")).count()
}

fn checkpoint_file(life: &Life) -> Vec<(crate::types::TopicPartition, Offset)> {
    let rt = life.world.client();
    let inner = Rc::clone(&rt);
    let read = async move { inner.job(Job::ReadFile(dir().join(LOG_START_CHECKPOINT), 1 << 20)).await };
    let Output::Bytes(bytes) = life.world.block_on(&rt, read).unwrap().unwrap() else { panic!("a file") };
    offsets::decode(&String::from_utf8(bytes).unwrap()).unwrap()
}

#[test]
fn what_is_deleted_within_a_segment_stays_deleted() {
    let (mut life, _) = filled(41);
    let before = segment_files(&life, 1);
    assert_eq!(raise(&life, 1, 100).unwrap(), Offset(100));
    assert!(segment_files(&life, 1) < before, "whole segments below went with the answer");
    // At once: no checkpoint by the clock comes between.
    life.crash();
    for _ in 0..2 {
        life.open(1);
        assert_eq!(life.log(1).log_start_offset(), Offset(100));
        assert_eq!(life.log(0).log_start_offset(), Offset(0), "another log is let be");
        assert!(matches!(first_batch_at(&life, 1, 99), Err(Error::OutOfRange { .. })));
        assert_eq!(first_batch_at(&life, 1, 100).unwrap(), Offset(99), "the batch that holds it");
        assert!(life.stop());
    }
    assert_eq!(checkpoint_file(&life), [(name(1), Offset(100))]);
    // As Kafka would leave it: the files alone say where the log begins.
    for name in life.names(".ringmain").iter().filter(|name| name.starts_with("checkpoint")) {
        life.remove(&dir().join(".ringmain").join(name));
    }
    life.open(1);
    assert_eq!(life.start, Start::Kafka);
    assert_eq!((life.log(1).log_start_offset(), life.log(1).log_end_offset()), (Offset(100), Offset(180)));
    assert_eq!(first_batch_at(&life, 1, 101).unwrap(), Offset(99));
}

#[test]
fn a_start_is_never_lowered_and_never_above_the_end() {
    let (life, contents) = filled(42);
    assert_eq!(raise(&life, 0, 99).unwrap(), Offset(99));
    assert_eq!(raise(&life, 0, 30).unwrap(), Offset(99));
    assert!(matches!(raise(&life, 0, 181), Err(Error::OutOfRange { start: Offset(99), end: Offset(180), .. })));
    assert!(contents[0].ends_with(&life.contents(0, 1 << 20)));
}

#[test]
fn a_log_deleted_to_its_end_gives_its_space_back_and_goes_on() {
    for kafka in [false, true] {
        let (mut life, _) = filled(43);
        assert_eq!(raise(&life, 1, 180).unwrap(), Offset(180));
        life.world.run_for_ms(3000);
        assert_eq!(segment_files(&life, 1), 0, "the active segment was rolled and went too");
        assert!(life.stop());
        assert_eq!(checkpoint_file(&life), [(name(1), Offset(180))]);
        if kafka {
            for name in life.names(".ringmain").iter().filter(|name| name.starts_with("checkpoint")) {
                life.remove(&dir().join(".ringmain").join(name));
            }
        }
        life.open(1);
        assert_eq!(life.start, if kafka { Start::Kafka } else { Start::Clean });
        let ends = |life: &Life| (life.log(1).log_start_offset(), life.log(1).log_end_offset());
        assert_eq!(ends(&life), (Offset(180), Offset(180)));
        assert_eq!(life.append(1, batch(3, 2000, 5000, 1)).unwrap(), Offset(183));
        life.wait_durable(1);
        life.crash();
        life.open(1);
        assert_eq!(ends(&life), (Offset(180), Offset(183)));
        assert_eq!(first_batch_at(&life, 1, 180).unwrap(), Offset(180));
    }
}

#[test]
fn a_salvage_keeps_what_the_checkpoint_said_and_not_what_a_file_says_of_another_log() {
    let (mut life, _) = filled(44);
    assert_eq!(raise(&life, 1, 100).unwrap(), Offset(100));
    assert!(life.stop());
    life.open(1);
    assert_eq!(raise(&life, 1, 110).unwrap(), Offset(110));
    let (log, store) = (life.log(0), Rc::clone(&life.shard(0).store));
    life.block_on(0, async move { log.wait_durable(log.log_end_offset()).await }).unwrap();
    drop(store);
    life.kill();
    for name in life.names(".ringmain").iter().filter(|name| name.starts_with("journal")) {
        life.remove(&dir().join(".ringmain").join(name));
    }
    assert!(!life.names("").contains(&CLEAN_SHUTDOWN.to_owned()));
    life.try_open(1, true).expect("salvaged");
    assert_eq!(life.log(1).log_start_offset(), Offset(110));
}

#[test]
fn many_that_delete_at_once_share_checkpoints() {
    let (life, _) = filled(45);
    let (store, rt) = (Rc::clone(&life.shard(0).store), Rc::clone(&life.shard(0).rt));
    let logs = [life.log(0), life.log(1)];
    let ended = life.block_on(0, async move {
        let tasks: Vec<_> = (1..=40)
            .map(|step| {
                let (store, log) = (Rc::clone(&store), Rc::clone(&logs[step % 2]));
                let offset = Offset(i64::try_from(step).unwrap() * 4);
                rt.spawn(async move { store.raise_log_starts(&[(log, offset)]).await.remove(0).map(|at| at >= offset) })
            })
            .collect();
        let mut ended = Vec::new();
        for task in tasks {
            ended.push(task.await.unwrap());
        }
        ended
    });
    assert_eq!(ended, [true; 40]);
    assert_eq!((life.log(0).log_start_offset(), life.log(1).log_start_offset()), (Offset(160), Offset(156)));
}

#[test]
fn records_are_deleted_while_the_disk_is_full() {
    let mut config = config();
    config.log.segment_bytes = 32 << 10;
    config.reserve_bytes = 0;
    let mut life = Life::with(46, config);
    life.world.mount(&dir(), crate::io::sim::Device::Overwrite, 3 << 20);
    life.open(1);
    for partition in 0..2 {
        drop(life.create(partition));
    }
    let mut full = false;
    for step in 0..2_000 {
        if life.append(step % 2, batch(1, BLOCK, 1, 1)).is_err() {
            full = true;
            break;
        }
        life.world.run_for_ms(2);
    }
    assert!(full, "the disk fills");
    life.world.run_for_ms(5000);
    let end = life.log(0).durable_offset();
    assert_eq!(raise(&life, 0, end.0).unwrap(), end);
    life.world.run_for_ms(10_000);
    life.append(1, batch(1, BLOCK, 1, 1)).expect("space has returned");
    life.wait_durable(1);
    life.crash();
    life.open(1);
    assert_eq!(life.log(0).log_start_offset(), end);
}
