//! Reading on the simulated disk: from memory, from files, at every offset, against the batches that were appended.

use std::rc::Rc;

use super::life::{Life, batch, config, fetch};
use super::{Error, Log, ReadPlan};
use crate::record::{BatchHeader, Batches};
use crate::types::Offset;

/// Ends of the batches of a log: (base, next, position) in order.
fn places(bytes: &[u8]) -> Vec<(Offset, Offset, usize)> {
    Batches::new(bytes)
        .map(|batch| batch.unwrap())
        .map(|batch| (batch.header.base_offset, batch.header.next_offset(), batch.position))
        .collect()
}

/// What a read of one segment must give: whole batches from the one that holds `from`.
fn expected<'a>(
    all: &'a [u8],
    places: &[(Offset, Offset, usize)],
    from: Offset,
    upto: Offset,
    max_bytes: usize,
    segments: &[Offset],
) -> &'a [u8] {
    let Some(first) = places.iter().position(|(_, next, _)| *next > from) else { return &[] };
    let start = places[first].2;
    let segment_end = segments.iter().copied().find(|base| *base > from).unwrap_or(Offset(i64::MAX));
    let mut end = start;
    for (at, (base, next, position)) in places.iter().enumerate().skip(first) {
        let behind = places.get(at + 1).map_or(all.len(), |(_, _, position)| *position);
        let fits = behind - start <= max_bytes || *position == start;
        if *next > upto || *base >= segment_end || !fits {
            break;
        }
        end = behind;
    }
    &all[start..end]
}

/// Reads everything in many ways. From rolled segments `slack` bytes fewer may come: a file range ends at an index entry.
fn check_all(life: &Life, whole: &[u8], what: &str, slack: usize) {
    let log = life.log(0);
    let rt = Rc::clone(&life.shard(0).rt);
    let whole = whole.to_vec();
    let places = places(&whole);
    let what = what.to_owned();
    life.block_on(0, async move {
        let bases: Vec<Offset> = log.segments.borrow().keys().copied().collect();
        for from in (0..log.log_end_offset().0).map(Offset) {
            for max_bytes in [1, 3000, 30_000, 1 << 20] {
                for upto in [log.durable_offset(), places[places.len() / 2].1] {
                    if from >= upto {
                        continue;
                    }
                    let got = fetch(&rt, &log, from, upto, max_bytes).await.unwrap();
                    let wanted = expected(&whole, &places, from, upto, max_bytes, &bases);
                    let first = expected(&whole, &places, from, upto, 1, &bases).len();
                    let ends = got.len() == wanted.len()
                        || places.iter().any(|(.., position)| {
                            *position == wanted.as_ptr() as usize - whole.as_ptr() as usize + got.len()
                        });
                    let enough = got.len() >= first && got.len() + slack >= wanted.len();
                    assert!(
                        wanted.starts_with(&got) && ends && enough,
                        "{what}: from {from} upto {upto} max {max_bytes}: {} bytes, {} wanted",
                        got.len(),
                        wanted.len()
                    );
                }
            }
        }
    });
}

#[test]
fn every_offset_reads_the_same_from_memory_and_from_files() {
    let mut config = config();
    config.tail_bytes = 8 << 20;
    let mut life = Life::with(21, config);
    life.open(1);
    drop(life.create(0));
    for step in 0..100_u8 {
        let value_bytes = [10, 300, 3000, 20, 9000][usize::from(step % 5)];
        life.append(0, batch(1 + usize::from(step % 3), value_bytes, i64::from(step), step)).unwrap();
    }
    life.wait_durable(0);
    let whole = life.contents(0, 1 << 20);
    check_all(&life, &whole, "memory", 0);
    assert!(life.stop());
    life.open(1);
    check_all(&life, &whole, "files", 20_000);
    life.kill();
    life.open(1);
    check_all(&life, &whole, "after a crash", 20_000);
}

#[test]
fn a_small_memory_reads_what_it_gave_up_from_the_files() {
    let mut config = config();
    config.tail_bytes = 128 << 10;
    let mut life = Life::with(22, config);
    life.open(1);
    drop(life.create(0));
    for step in 0..120_u8 {
        life.append(0, batch(1, 4000, i64::from(step), step)).unwrap();
        if step % 8 == 0 {
            life.wait_durable(0);
        }
    }
    life.wait_durable(0);
    life.world.run_for_ms(1000);
    let whole = life.contents(0, 1 << 20);
    assert_eq!(places(&whole).len(), 120);
    check_all(&life, &whole, "small memory", 20_000);
}

#[test]
fn lost_and_wrong_indexes_are_built_anew() {
    let mut life = Life::new(23);
    life.open(1);
    drop(life.create(0));
    for step in 0..100_u8 {
        life.append(0, batch(1, 3000, i64::from(step), step)).unwrap();
    }
    life.wait_durable(0);
    life.world.run_for_ms(1000);
    let whole = life.contents(0, 1 << 20);
    assert!(life.stop());
    let dir = super::life::dir().join("t-0");
    let index = dir.join("00000000000000000000.index");
    let good = life.world.file_bytes(&index).expect("written at the roll");
    assert!(good.len() >= 16);
    life.remove(&index);
    let second = life.names("t-0").into_iter().filter(|name| name.ends_with(".timeindex")).nth(1).unwrap();
    assert!(life.world.flip_bit(&dir.join(&second), 1));
    life.open(1);
    check_all(&life, &whole, "rebuilt", 20_000);
    assert_eq!(life.world.file_bytes(&index), Some(good), "the walk gives what appending gave");
}

#[test]
fn batches_are_found_by_time() {
    let mut life = Life::new(24);
    life.open(1);
    drop(life.create(0));
    // Timestamps rise with a few that fall back.
    let times: Vec<i64> = (0..100).map(|step| if step % 7 == 3 { 50 } else { 1000 + step * 10 }).collect();
    for time in &times {
        life.append(0, batch(1, 3000, *time, 1)).unwrap();
    }
    life.wait_durable(0);
    for reopened in [false, true] {
        if reopened {
            assert!(life.stop());
            life.open(1);
        }
        let log = life.log(0);
        let times = times.clone();
        life.block_on(0, async move {
            let upto = log.durable_offset();
            for target in [0, 50, 1000, 1005, 1500, 1990, 1991, 5000] {
                let found = log.batch_by_time(Offset::ZERO, upto, target).await.unwrap();
                let wanted = times.iter().position(|time| *time >= target);
                let offset = found.map(|found| found.header.base_offset.0);
                assert_eq!(offset, wanted.map(|at| i64::try_from(at).unwrap()), "time {target}");
            }
            let largest = log.batch_of_max_timestamp(upto).await.unwrap().expect("there is one");
            assert_eq!(largest.header.base_offset, Offset(99));
            assert_eq!(BatchHeader::parse(&largest.records.header_bytes().unwrap()), Ok(largest.header));
            let early = log.batch_of_max_timestamp(Offset(31)).await.unwrap().expect("there is one");
            assert_eq!(early.header.base_offset, Offset(30));
        });
    }
}

#[test]
fn indexes_over_their_budget_grow_slower_and_those_of_rolled_segments_go() {
    let mut config = config();
    config.index_bytes = 1 << 10;
    let mut life = Life::with(25, config);
    life.open(1);
    for partition in 0..8 {
        drop(life.create(partition));
        for step in 0..25_u8 {
            life.append(partition, batch(1, 4500, i64::from(step), step)).unwrap();
        }
        life.wait_durable(partition);
    }
    let entries = |partition| {
        let active = life.log(partition).active.borrow().clone().expect("nothing is rolled yet");
        let index = active.index.borrow();
        index.as_ref().expect("an active segment has its indexes").offsets.entry_count()
    };
    assert!(entries(0) > 20, "within the budget an entry for each batch: {}", entries(0));
    assert_eq!(entries(7), 1, "over it one every 64 KiB");
    let counted = || life.log(0).writer.reads.indexes.bytes();
    assert!(counted().0 > 1 << 10);
    // A second segment each: those of the first ones are rolled, and the oldest noted were dropped.
    for partition in 0..8 {
        for step in 0..8_u8 {
            life.append(partition, batch(1, 4500, i64::from(step), step)).unwrap();
        }
        life.wait_durable(partition);
    }
    life.world.run_for_ms(5000);
    let loaded = |partition| life.log(partition).segments.borrow()[&Offset::ZERO].index.borrow().is_some();
    let kept = (0..8).filter(|partition| loaded(*partition)).count();
    assert!((1..4).contains(&kept) && counted().1 <= 1 << 10, "{kept} are kept: {:?}", counted());
    assert!(counted().0 < 8 * 300, "what is rolled counts no more among the active: {:?}", counted());
}

#[test]
fn what_retention_takes_counts_no_more() {
    let mut life = Life::new(26);
    life.open(1);
    drop(life.create(0));
    for step in 0..200_u8 {
        life.append(0, batch(1, 3000, i64::from(step), step)).unwrap();
    }
    life.wait_durable(0);
    life.world.run_for_ms(3000);
    let counted = |life: &Life| life.log(0).writer.reads.indexes.bytes().1;
    assert!(counted(&life) > 0, "the rolled segments' indexes are in memory");
    let log = life.log(0);
    life.block_on(0, async move { log.delete_before(log.log_end_offset()).await }).unwrap();
    life.world.run_for_ms(3000);
    assert_eq!(counted(&life), 0);
}

#[test]
fn reads_that_find_no_buffer_give_up_and_hold_none() {
    let mut config = config();
    (config.tail_bytes, config.read_bytes) = (128 << 10, 256 << 10);
    config.log.segment_bytes = 64 << 20;
    let mut life = Life::with(27, config);
    life.open(1);
    drop(life.create(0));
    for step in 0..120_u8 {
        life.append(0, batch(1, 4000, i64::from(step), step)).unwrap();
        if step % 8 == 0 {
            life.wait_durable(0);
        }
    }
    life.wait_durable(0);
    let (log, rt) = (life.log(0), Rc::clone(&life.shard(0).rt));
    life.block_on(0, async move {
        let (upto, pool) = (log.durable_offset(), log.writer.reads.pool.clone());
        let plan = |log: &Rc<Log<_>>| match log.plan_read(Offset::ZERO, upto, 1 << 20, true).unwrap() {
            ReadPlan::NeedsIo(reading) => reading,
            ReadPlan::Ready(_) => panic!("the first batch is not in memory any more"),
        };
        // One read takes a part of the buffers, whatever it asks for; the next ones find some, until none is left.
        let mut held = Vec::new();
        let refused = loop {
            match plan(&log).await {
                Ok(parts) => held.push(parts),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::ReadsBusy { .. }), "{refused}");
        assert!(held.len() > 1 && pool.outstanding_bytes() <= pool.cap_bytes());
        let waiting = rt.spawn(plan(&log));
        rt.sleep_ms(20).await;
        drop(held);
        assert!(!waiting.await.unwrap().parts.is_empty(), "a buffer that comes back in time is taken");
        assert_eq!(pool.outstanding_bytes(), 0);
    });
}
