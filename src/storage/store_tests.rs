//! What a store does for its logs while it lives: names, checkpoints, retention, room.

use std::path::PathBuf;
use std::rc::Rc;

use super::life::{BLOCK, Life, Model, append, batch, config, dir, fetch, filled, id, name};
use super::{Error, NewLog};
use crate::io::sim::SimEnv;
use crate::types::Offset;

#[test]
fn a_deleted_log_stays_deleted() {
    let (mut life, _) = filled(9);
    let store = Rc::clone(&life.shards[0].store);
    life.block_on(0, async move { store.delete_log(id(0)).await }).unwrap();
    life.crash();
    life.open(1);
    assert!(life.shards[0].store.log(id(0)).is_none());
    assert!(!life.names("").iter().any(|name| name.starts_with("t-0")), "{:?}", life.names(""));
    assert_eq!(life.log(1).log_end_offset(), Offset(180));
}

#[test]
fn a_start_that_dies_half_open_leaves_the_checkpoints_before_it() {
    for clean in [true, false] {
        let (mut life, contents) = filled(11);
        let log = life.log(1);
        life.block_on(1, async move { log.delete_before(Offset(99)).await }).unwrap();
        let kept = life.contents(1, 1 << 20);
        assert!(kept.len() < contents[1].len());
        life.world.run_for_ms(3000);
        if clean {
            assert!(life.stop())
        } else {
            life.crash()
        }
        life.open_some(2, false, 1).expect("the first shard opens");
        let names = life.names(".ringmain");
        assert!(["checkpoint-0-1", "checkpoint-0-2"].iter().all(|name| names.contains(&(*name).into())), "{names:?}");
        life.crash();
        life.open(3);
        let log = life.log(1);
        assert_eq!((log.log_start_offset(), log.failure().map(|error| error.to_string())), (Offset(99), None));
        assert_eq!(life.contents(0, 1 << 20), contents[0]);
        assert_eq!(life.contents(1, 1 << 20), kept);
        let own: Vec<String> = life.names(".ringmain").into_iter().filter(|name| name.contains('-')).collect();
        assert!(own.iter().all(|name| name.ends_with("-3")), "what no start needs any more is gone: {own:?}");
    }
}

#[test]
fn segments_given_up_at_the_same_time_go_in_their_order() {
    let mut config = config();
    config.log.segment_bytes = 32 << 10;
    let mut life = Life::with(12, config);
    life.open(1);
    drop(life.create(1));
    for step in 0..60 {
        life.append(1, batch(3, 2000, 1, step)).unwrap();
    }
    life.wait_durable(1);
    life.world.run_for_ms(500);
    let log = life.log(1);
    let (first, second) = (Rc::clone(&log), Rc::clone(&log));
    let rt = Rc::clone(&life.shard(1).rt);
    life.block_on(1, async move {
        let many = rt.spawn(async move { first.delete_before(Offset(120)).await });
        let few = rt.spawn(async move { second.delete_before(Offset(150)).await });
        (few.await.unwrap(), many.await.unwrap())
    });
    let waiting: Vec<Offset> =
        life.shard(1).store.writer().take_waiting().iter().map(|(_, segment)| segment.base_offset).collect();
    assert!(waiting.len() > 5 && waiting.is_sorted(), "{waiting:?}");
}

#[test]
fn rolled_segments_give_their_memory_back() {
    let mut life = Life::new(13);
    life.open(1);
    let log = life.create(0);
    let chunks = life.config.tail_bytes / BLOCK;
    for _ in 0..chunks + 10 {
        life.append(0, batch(1, 10, 1, 1)).expect("memory for it");
        log.roll().unwrap();
        life.wait_durable(0);
    }
}

#[test]
fn retention_gives_whole_segments_to_be_written_again() {
    let mut config = config();
    config.log.retention_bytes = 300 << 10;
    let mut life = Life::with(10, config);
    life.open(1);
    drop(life.create(0));
    for step in 0..300_u16 {
        life.append(0, batch(1, 6000, 1, u8::try_from(step % 256).unwrap())).unwrap();
        if step % 10 == 0 {
            life.wait_durable(0);
            life.world.run_for_ms(5);
        }
    }
    life.wait_durable(0);
    life.world.run_for_ms(3000);
    let log = life.log(0);
    let start = log.log_start_offset();
    let kept: u64 = log.segments.borrow().values().map(|segment| segment.end_position.get()).sum();
    assert!(start > Offset(200) && (300 << 10..500 << 10).contains(&kept), "start {start}, {kept} bytes kept");
    drop(log);
    let whole = life.contents(0, 1 << 20);
    life.crash();
    life.open(1);
    assert_eq!(life.log(0).failure().map(|error| error.to_string()), None);
    assert_eq!(life.log(0).log_start_offset(), start);
    assert_eq!(life.contents(0, 1 << 20), whole);
}

#[test]
fn a_log_of_old_timestamps_does_not_roll_at_every_roll() {
    let mut config = config();
    config.log.retention_ms = 10;
    let mut life = Life::with(32, config);
    life.open(1);
    drop(life.create(0));
    life.append(0, batch(1, 3000, 1, 1)).unwrap();
    life.log(0).roll().unwrap();
    life.append(0, batch(1, 3000, 1, 2)).unwrap();
    life.wait_durable(0);
    life.world.run_for_ms(20_000);
    assert_eq!(life.log(0).log_start_offset(), Offset(1), "the rolled segment went");
    assert!(life.log(0).active.borrow().is_some(), "the active one was not rolled because another was");
}

#[test]
fn a_long_read_of_an_active_segment_takes_no_more_than_the_read_buffers() {
    let mut config = config();
    (config.tail_bytes, config.read_bytes) = (256 << 10, 256 << 10);
    config.log.segment_bytes = 64 << 20;
    let mut life = Life::with(33, config);
    life.open(1);
    drop(life.create(0));
    for step in 0..200_u8 {
        life.append(0, batch(1, 8000, 1, step)).unwrap();
    }
    life.wait_durable(0);
    let (log, rt) = (life.log(0), Rc::clone(&life.shard(0).rt));
    let got = life.block_on(0, async move { fetch(&rt, &log, Offset::ZERO, Offset(200), 2 << 20).await }).unwrap();
    assert!((8000..=64 << 10).contains(&got.len()), "{} bytes", got.len());
    assert_eq!(life.contents(0, 2 << 20).len(), 200 * batch(1, 8000, 1, 0).len());
}

#[test]
fn retention_looks_as_often_as_it_is_told() {
    for (check_ms, gone) in [(1_000, true), (600_000, false)] {
        let mut config = config();
        (config.log.retention_ms, config.retention_check_ms) = (5_000, check_ms);
        let mut life = Life::with(29, config);
        life.open(1);
        drop(life.create(0));
        life.append(0, batch(1, 3000, 1, 1)).unwrap();
        life.wait_durable(0);
        life.world.run_for_ms(20_000);
        assert_eq!(life.log(0).log_start_offset() == Offset(1), gone, "every {check_ms} ms");
    }
}

#[test]
fn the_journal_before_last_is_written_again_and_its_old_records_do_not_count() {
    let mut life = Life::new(34);
    let mut model = Model::default();
    for start in 1..=6_u8 {
        life.open(1);
        if start == 1 {
            drop(life.create(0));
        }
        let mut names = life.names(".ringmain/recycle");
        names.retain(|name| name.starts_with("journal-"));
        let spare = if start == 1 { Vec::new() } else { vec![format!("journal-0-{}", start - 1)] };
        assert_eq!(names, spare, "start {start}");
        // Fewer records each time: those of the start before last lie behind them.
        for step in 0..40 - 5 * start {
            let bytes = batch(1, 300, i64::from(step), start);
            let end = life.append(0, bytes.clone()).unwrap();
            life.wait_durable(0);
            model.push(bytes, end);
        }
        let acked = life.log(0).durable_offset();
        if start < 6 {
            assert!(life.stop());
            continue;
        }
        life.crash();
        life.open(1);
        model.check(&life.contents(0, 1 << 20), acked, "after a crash");
    }
}

#[test]
fn logs_made_together_are_there_after_a_crash_or_can_be_made_again() {
    for seed in 0..30 {
        let mut life = Life::new(seed);
        life.open(1);
        let new: Vec<_> =
            (0..50).map(|at| NewLog { id: id(at), name: name(at), config: life.config.log.clone() }).collect();
        let (store, again) = (Rc::clone(&life.shard(0).store), new.clone());
        let making =
            life.shard(0).rt.spawn(async move { store.create_logs(new).await.into_iter().all(|log| log.is_ok()) });
        // The power fails somewhere on the way, or when all are made.
        let cut_us = life.draw(20_000);
        life.world.run_for_us(cut_us);
        let made = making.is_finished();
        drop(making);
        life.crash();
        life.open(1);
        let there = life.shard(0).store.logs();
        assert!(there.iter().all(|log| log.failure().is_none()), "seed {seed}: none is quarantined");
        assert!(!made || there.len() == 50, "seed {seed}: {} are there", there.len());
        let missing = again.into_iter().filter(|new| there.iter().all(|log| log.id() != new.id)).collect();
        let store = Rc::clone(&life.shard(0).store);
        assert!(life.block_on(0, async move { store.create_logs(missing).await.into_iter().all(|log| log.is_ok()) }));
        for partition in [0, 31, 49] {
            assert_eq!(life.append(partition, batch(1, 100, 1, 1)).unwrap(), Offset(1));
            life.wait_durable(partition);
        }
        life.crash();
        life.open(1);
        assert_eq!(life.shard(0).store.logs().len(), 50, "seed {seed}");
        assert_eq!(life.log(49).log_end_offset(), Offset(1), "seed {seed}");
    }
}

#[test]
fn a_file_shorter_than_its_log_gets_room_without_a_hole() {
    for batches in 1..40 {
        let mut life = Life::new(35);
        life.open(1);
        drop(life.create(0));
        for _ in 0..batches {
            life.append(0, batch(1, 3000, 1, 1)).unwrap();
            life.wait_durable(0);
        }
        // What the file has no room for yet is in the journal.
        life.kill();
        life.open(1);
        life.append(0, batch(1, 9000, 1, 2)).unwrap();
        life.wait_durable(0);
        life.world.run_for_ms(100);
        let active = life.log(0).active.borrow().clone().expect("nothing is rolled");
        assert!(!active.flush_alone.get(), "a hole after {batches} batches");
    }
}

#[test]
fn a_log_deleted_while_its_segment_gets_a_name_leaves_nothing_in_the_pool() {
    for pause_us in (0..4_500).step_by(15) {
        let mut life = Life::new(pause_us);
        life.open(1);
        drop(life.create(0));
        let log = life.log(0);
        let appending = life.shard(0).rt.spawn(async move {
            for step in 0..4 {
                append(&log, batch(1, 9000, 1, step)).await?;
            }
            Ok::<(), Error>(())
        });
        life.world.run_for_us(pause_us);
        let store = Rc::clone(&life.shard(0).store);
        life.block_on(0, async move { store.delete_log(id(0)).await }).unwrap();
        life.world.run_for_ms(5_000);
        drop(appending);
        let pooled = |(path, _): &(PathBuf, u64)| path.to_string_lossy().contains("recycle");
        let left: Vec<_> = life.world.files().into_iter().filter(pooled).collect();
        assert!(left.is_empty(), "deleted after {pause_us} us: {left:?}");
    }
}

#[test]
fn a_start_on_a_full_disk_makes_do_with_a_small_journal() {
    let mut life = Life::new(36);
    life.open(1);
    drop(life.create(0));
    let mut model = Model::default();
    for step in 0..40_u8 {
        let bytes = batch(1, 3000, i64::from(step), step);
        let end = life.append(0, bytes.clone()).unwrap();
        model.push(bytes, end);
    }
    life.wait_durable(0);
    let acked = life.log(0).durable_offset();
    assert!(life.stop());
    let least = super::Writer::<SimEnv>::journal_bytes_min(&life.config);
    assert!(least < life.config.journal_bytes);
    life.world.leave_bytes(&dir(), least + (64 << 10));
    life.open(1);
    model.check(&life.contents(0, 1 << 20), acked, "on a full disk");
    assert!(life.stop());
}
