//! What the simulated disk loses and keeps, and that one seed gives one trace.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use super::{Device, Faults, SimEnv, SimFile, World};
use crate::io::buf::AppendBuf;
use crate::io::local::oneshot;
use crate::io::mailbox::mesh;
use crate::io::{Job, Op, OpenHow, Output, Prepare, Runtime, Slice};
use crate::types::ShardId;

type Shard = Rc<Runtime<SimEnv>>;

const SEEDS: u64 = 200;
const NEW: OpenHow = OpenHow { write: true, create: true, direct: true };

fn path(name: &str) -> PathBuf {
    Path::new("data").join(name)
}

fn block(byte: u8) -> Vec<Slice> {
    let mut buf = AppendBuf::with_capacity(4096);
    buf.append(&[byte; 4096]);
    vec![buf.slice(0..4096)]
}

async fn open(shard: &Shard, name: &str, how: OpenHow) -> io::Result<SimFile> {
    match shard.job(Job::Open(path(name), how)).await? {
        Output::File(file) => Ok(file),
        other => panic!("opening gave {other:?}"),
    }
}

/// A file of four prepared blocks, durable under its name.
async fn prepared(shard: &Shard, name: &str, how: Prepare) -> SimFile {
    let file = open(shard, "fresh", NEW).await.unwrap();
    shard.job(Job::PrepareRange(file.clone(), 0..16384, how)).await.unwrap();
    shard.job(Job::Rename(path("fresh"), path(name))).await.unwrap();
    file
}

/// Runs `body` on a process of one shard in a world of each seed.
fn in_worlds<F: Future<Output = ()> + 'static>(
    device: Device,
    mut body: impl FnMut(Shard) -> F,
    mut then: impl FnMut(&World),
) {
    for seed in 0..SEEDS {
        let world = World::new(seed, Faults::default());
        world.mount(Path::new("data"), device, 1 << 30);
        let shard = world.start(1).remove(0);
        let body = body(Rc::clone(&shard));
        let whole = async move {
            shard.job(Job::CreateDir(PathBuf::from("data"))).await.unwrap();
            body.await;
        };
        let shard = Rc::clone(&world.shards.borrow()[0]);
        world.block_on(&shard, whole).expect("the body ends");
        then(&world);
    }
}

/// Counts the seeds after which block 1 of `data/a` holds what was written.
fn survivors<F: Future<Output = ()> + 'static>(device: Device, body: impl FnMut(Shard) -> F) -> u64 {
    let mut count = 0;
    in_worlds(device, body, |world| {
        world.crash();
        let bytes = world.file_bytes(&path("a")).expect("a durable name");
        count += u64::from(bytes.get(4096..8192) == Some(&[7; 4096][..]));
    });
    count
}

/// Writes block 1 of a file prepared so, then flushes that file or another of the device.
async fn write_and_flush(shard: Shard, how: Prepare, own: bool) {
    let file = prepared(&shard, "a", how).await;
    let other = prepared(&shard, "b", how).await;
    shard.write(&file, 4096, block(7)).await.unwrap();
    shard.flush(if own { &file } else { &other }).await.unwrap();
}

#[test]
fn an_overwrite_is_durable_by_a_flush_of_any_file_of_the_device() {
    assert_eq!(survivors(Device::Overwrite, |shard| write_and_flush(shard, Prepare::Zeros, false)), SEEDS);
}

#[test]
fn an_unwritten_extent_needs_the_flush_of_its_own_file() {
    assert_eq!(survivors(Device::Overwrite, |shard| write_and_flush(shard, Prepare::Allocate, true)), SEEDS);
    let lucky = survivors(Device::Overwrite, |shard| write_and_flush(shard, Prepare::Allocate, false));
    assert!(lucky < SEEDS / 2, "{lucky} of {SEEDS} survived a flush of another file");
}

#[test]
fn a_journalled_device_needs_the_flush_of_its_own_file_and_no_barrier_promises_nothing() {
    assert_eq!(survivors(Device::JournalsData, |shard| write_and_flush(shard, Prepare::Zeros, true)), SEEDS);
    assert!(survivors(Device::JournalsData, |shard| write_and_flush(shard, Prepare::Zeros, false)) < SEEDS / 2);
    assert!(survivors(Device::NoBarrier, |shard| write_and_flush(shard, Prepare::Zeros, true)) < SEEDS / 2 + SEEDS / 8);
}

#[test]
fn a_longer_file_and_a_buffered_write_need_their_own_flush() {
    let buffered = |own: bool| {
        move |shard: Shard| async move {
            let other = prepared(&shard, "b", Prepare::Zeros).await;
            let file = open(&shard, "fresh", OpenHow { direct: false, ..NEW }).await.unwrap();
            shard.job(Job::Rename(path("fresh"), path("a"))).await.unwrap();
            shard.write(&file, 4096, block(7)).await.unwrap();
            shard.flush(if own { &file } else { &other }).await.unwrap();
        }
    };
    assert_eq!(survivors(Device::Overwrite, buffered(true)), SEEDS);
    assert!(survivors(Device::Overwrite, buffered(false)) < SEEDS / 2);
}

#[test]
fn a_flush_covers_what_had_completed_when_it_began() {
    let body = |shard: Shard| async move {
        let file = prepared(&shard, "a", Prepare::Zeros).await;
        let write = shard.submit(Op::Write { file: file.clone(), position: 4096, slices: block(7) });
        let flush = shard.submit(Op::Flush { file: file.clone() });
        write.await.result.unwrap();
        flush.await.result.unwrap();
    };
    let lucky = survivors(Device::Overwrite, body);
    assert!(lucky < SEEDS * 3 / 4, "{lucky} of {SEEDS} survived a flush that began too early");
}

#[test]
fn extents_tell_what_an_overwrite_needs() {
    in_worlds(
        Device::Overwrite,
        |shard| async move {
            for (how, name) in [(Prepare::Zeros, "a"), (Prepare::Allocate, "b")] {
                let file = prepared(&shard, name, how).await;
                let Ok(Output::Extents(extents)) = shard.job(Job::Extents(file.clone(), 0..16384)).await else {
                    panic!()
                };
                assert_eq!(extents.overwrite_only(), how == Prepare::Zeros);
                let Ok(Output::Extents(extents)) = shard.job(Job::Extents(file, 0..16385)).await else { panic!() };
                assert!(!extents.mapped, "beyond the end nothing is mapped");
            }
        },
        |world| {
            assert!(world.reflink(&path("a")));
            let shard = Rc::clone(&world.shards.borrow()[0]);
            let again = Rc::clone(&shard);
            let shared = world.block_on(&shard, async move {
                let shard = again;
                let file = open(&shard, "a", NEW).await.unwrap();
                let Ok(Output::Extents(extents)) = shard.job(Job::Extents(file, 0..4096)).await else { panic!() };
                extents.shared
            });
            assert_eq!(shared, Some(true));
        },
    );
}

#[test]
fn an_unflushed_block_survives_or_not_or_is_torn_or_destroyed() {
    let (mut old, mut new, mut torn, mut other) = (0, 0, 0, 0);
    let body = |shard: Shard| async move {
        let file = prepared(&shard, "a", Prepare::Zeros).await;
        shard.write(&file, 4096, block(1)).await.unwrap();
        shard.flush(&file).await.unwrap();
        shard.write(&file, 4096, block(2)).await.unwrap();
    };
    in_worlds(Device::Overwrite, body, |world| {
        world.crash();
        let bytes = world.file_bytes(&path("a")).expect("there");
        assert!(bytes[..4096].iter().chain(&bytes[8192..]).all(|byte| *byte == 0), "other blocks keep theirs");
        let mut sectors = bytes[4096..8192].chunks(512);
        let fate = sectors.all(|sector| sector.iter().all(|byte| *byte == 1 || *byte == 2));
        match (bytes[4096], bytes[4096..8192].iter().all(|byte| *byte == bytes[4096])) {
            (1, true) => old += 1,
            (2, true) => new += 1,
            _ if fate => torn += 1,
            _ => other += 1,
        }
    });
    assert!(old > 20 && new > 20 && torn > 5 && other > 5, "{old} old, {new} new, {torn} torn, {other} destroyed");
}

#[test]
fn a_name_made_by_opening_is_durable_and_one_being_made_may_be() {
    let (mut lost, mut kept) = (0, 0);
    in_worlds(
        Device::Overwrite,
        |shard| async move {
            drop(open(&shard, "opened", NEW).await.unwrap());
            drop(shard.submit(Op::Job(Job::Open(path("opening"), NEW))));
        },
        |world| {
            world.kill();
            let seen = world.file_bytes(&path("opening")).is_some();
            world.start(1);
            world.crash();
            assert_eq!(world.file_bytes(&path("opened")).as_deref(), Some(&b""[..]));
            let survived = world.file_bytes(&path("opening")).is_some();
            assert!(seen || !survived);
            *(if survived { &mut kept } else { &mut lost }) += u64::from(seen);
        },
    );
    assert!(lost > 20 && kept > 20, "{lost} lost, {kept} kept");
}

#[test]
fn a_replaced_file_is_old_or_new_after_a_crash() {
    let (mut old, mut new) = (0, 0);
    in_worlds(
        Device::Overwrite,
        |shard| async move {
            shard.job(Job::WriteFile(path("a"), b"old".to_vec())).await.unwrap();
            drop(shard.submit(Op::Job(Job::WriteFile(path("a"), b"new".to_vec()))));
        },
        |world| {
            world.crash();
            match world.file_bytes(&path("a")).as_deref() {
                Some(b"old") => old += 1,
                Some(b"new") => new += 1,
                found => panic!("found {found:?}"),
            }
        },
    );
    assert!(old > 20 && new > 20, "{old} old, {new} new");
}

#[test]
fn a_directory_moves_with_all_that_is_in_it() {
    in_worlds(
        Device::Overwrite,
        |shard| async move {
            shard.job(Job::CreateDir(path("t-0/deep"))).await.unwrap();
            shard.job(Job::WriteFile(path("t-0/deep/file"), b"x".to_vec())).await.unwrap();
            open(&shard, "t-0/opened", NEW).await.unwrap();
            shard.job(Job::Rename(path("t-0"), path("t-0.gone"))).await.unwrap();
            assert!(shard.job(Job::Stat(path("t-0/deep/file"))).await.is_err());
            let Ok(Output::Entries(entries)) = shard.job(Job::List(path("t-0.gone"))).await else { panic!() };
            assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["deep", "opened"]);
        },
        |world| {
            world.crash();
            assert!(world.file_bytes(&path("t-0.gone/deep/file")).is_some());
            let shard = world.start(1).remove(0);
            let inner = Rc::clone(&shard);
            world.block_on(&shard, async move { inner.job(Job::Remove(path("t-0.gone"))).await.unwrap() });
            assert!(world.files().is_empty());
        },
    );
}

#[test]
fn a_killed_process_keeps_completed_writes_and_its_lock_until_the_last_lands() {
    let (mut late, mut never) = (0, 0);
    in_worlds(
        Device::Overwrite,
        |shard| async move {
            let file = prepared(&shard, "a", Prepare::Zeros).await;
            shard.write(&file, 0, block(1)).await.unwrap();
            drop(shard.submit(Op::Write { file, position: 4096, slices: block(2) }));
        },
        |world| {
            world.kill();
            let before = world.file_bytes(&path("a")).expect("there");
            assert_eq!((before[0], before[4096]), (1, 0));
            let held = !world.lock_is_free();
            world.take_lock();
            let after = world.file_bytes(&path("a")).expect("there");
            assert!(held || after[4096] == 0, "a free lock and a write that lands later");
            *(if after[4096] == 2 { &mut late } else { &mut never }) += 1;
            world.run_for_ms(60_000);
            assert_eq!(world.file_bytes(&path("a")).expect("there"), after);
        },
    );
    assert!(late > 100 && never > 10, "{late} landed late, {never} never");
}

#[test]
fn a_failed_flush_may_have_lost_what_it_should_have_kept() {
    let mut lost = 0;
    in_worlds(
        Device::Overwrite,
        |shard| async move {
            let file = prepared(&shard, "a", Prepare::Zeros).await;
            shard.write(&file, 4096, block(7)).await.unwrap();
            let state = &shard.env().state;
            state.borrow_mut().faults.flush_error_ppm = 1_000_000;
            shard.flush(&file).await.unwrap_err();
            state.borrow_mut().faults.flush_error_ppm = 0;
            shard.flush(&file).await.unwrap();
        },
        |world| {
            world.crash();
            lost += u64::from(world.file_bytes(&path("a")).expect("there")[4096] != 7);
        },
    );
    assert!(lost > 20 && lost < SEEDS);
}

#[test]
fn errors_full_disks_and_flipped_bits_show() {
    let world = World::new(1, Faults { write_error_ppm: 1_000_000, ..Faults::default() });
    world.mount(Path::new("data"), Device::Overwrite, 5 * 4096);
    let shard = world.start(1).remove(0);
    let inner = Rc::clone(&shard);
    world.block_on(&shard, async move {
        inner.job(Job::CreateDir(PathBuf::from("data"))).await.unwrap();
        let file = prepared(&inner, "a", Prepare::Zeros).await;
        assert_eq!(inner.write(&file, 0, block(1)).await.unwrap_err().raw_os_error(), Some(5));
        let Ok(Output::Number(free)) = inner.job(Job::FreeBytes(path("a"))).await else { panic!() };
        assert_eq!(free, 4096);
        let error = inner.job(Job::PrepareRange(file.clone(), 0..6 * 4096, Prepare::Zeros)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        inner.job(Job::Remove(path("a"))).await.unwrap();
        let Ok(Output::Number(free)) = inner.job(Job::FreeBytes(path("a"))).await else { panic!() };
        assert_eq!(free, 5 * 4096);
        inner.job(Job::WriteFile(path("a"), vec![0; 8])).await.unwrap();
        assert_eq!(inner.write(&file, 1, block(1)).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    });
    assert!(world.flip_bit(&path("a"), 9) && !world.flip_bit(&path("a"), 64));
    assert_eq!(world.file_bytes(&path("a")).expect("there")[1], 2);
    world.crash();
    assert_eq!(world.file_bytes(&path("a")).expect("there")[1], 2);
}

#[test]
fn bytes_cross_a_connection_in_order_until_it_is_cut() {
    for seed in 0..SEEDS {
        let world = World::new(seed, Faults::default());
        let shard = world.start(1).remove(0);
        let listener = world.listen();
        let near = world.connect(&listener).unwrap();
        let sent: Vec<u8> = (0..200_000_u32).map(|number| number.to_be_bytes()[3]).collect();
        let (node, wanted) = (Rc::clone(&shard), sent.len());
        let (report, received) = oneshot();
        shard
            .spawn(async move {
                let crate::io::Back::Socket(socket) = node.submit(Op::Accept { listener }).await.back else { panic!() };
                let mut all = Vec::new();
                while all.len() < wanted {
                    let done = node.submit(Op::Recv { socket: socket.clone(), buf: None }).await;
                    let crate::io::Back::Buf(buf) = done.back else { panic!() };
                    assert_eq!(done.result.unwrap(), buf.len());
                    all.extend_from_slice(buf.filled());
                }
                report.send(all);
                node.submit(Op::Recv { socket, buf: None }).await.result.unwrap_err();
            })
            .detach();
        let client = world.client();
        let (sender, socket) = (Rc::clone(&client), near.clone());
        let parts = vec![Slice::from(Bytes::from(sent.clone()))];
        world
            .block_on(&client, async move { sender.submit(Op::Send { socket, parts }).await.result.unwrap() })
            .unwrap();
        assert_eq!(world.block_on(&client, received).flatten(), Some(sent));
        world.cut(&near);
        assert!(world.run_until(|| shard.under_way() == 0), "the receiver hears of the cut");
    }
}

#[test]
fn the_end_of_one_side_is_the_end_of_the_stream() {
    let world = World::new(5, Faults::default());
    let shard = world.start(1).remove(0);
    let listener = world.listen();
    let near = world.connect(&listener).unwrap();
    let node = Rc::clone(&shard);
    shard
        .spawn(async move {
            let crate::io::Back::Socket(socket) = node.submit(Op::Accept { listener }).await.back else { panic!() };
            let done = node.submit(Op::Recv { socket: socket.clone(), buf: None }).await;
            assert_eq!(done.result.unwrap(), 0);
        })
        .detach();
    drop(near);
    assert!(world.run_until(|| shard.under_way() == 0));
}

#[test]
fn time_jumps_to_the_next_timer_and_mail_wakes_a_shard() {
    let world = World::new(9, Faults::default());
    let shards = world.start(2);
    let mut boxes = mesh::<u32>(2, 4);
    let (second, first) = (boxes.pop().unwrap(), boxes.pop().unwrap());
    let (near, far) = (Rc::clone(&shards[0]), Rc::clone(&shards[1]));
    let got = Rc::new(Cell::new(0));
    let seen = Rc::clone(&got);
    shards[1]
        .spawn(async move {
            loop {
                let mail = far.mail().wait();
                while let Some((_, number)) = second.recv(far.env()) {
                    seen.set(seen.get() + number);
                }
                mail.await;
            }
        })
        .detach();
    let began_ns = world.now_ns();
    world.block_on(&shards[0], async move {
        near.sleep_ms(3_600_000 - 1).await;
        first.send(near.env(), ShardId(1), 7).unwrap();
    });
    assert!(world.run_until(|| got.get() == 7));
    assert!(world.now_ns() - began_ns >= 3_599_999_000_000);
}

fn a_trace(seed: u64) -> u64 {
    let faults = Faults { write_error_ppm: 100_000, stall_ppm: 50_000, flush_error_ppm: 10_000, ..Faults::default() };
    let world = World::new(seed, faults);
    for _ in 0..3 {
        world.take_lock();
        for shard in world.start(2) {
            let inner = Rc::clone(&shard);
            let name = format!("file-{}", shard.shard().0);
            shard
                .spawn(async move {
                    inner.job(Job::CreateDir(PathBuf::from("data"))).await.unwrap();
                    let file = open(&inner, &name, NEW).await.unwrap();
                    for number in 0..20_u8 {
                        let position = 4096 * u64::from(number);
                        // Errors are part of the trace.
                        let _ = inner.write(&file, position, block(number)).await;
                        let _ = inner.flush(&file).await;
                    }
                })
                .detach();
        }
        world.run_for_ms(20);
        if world.now_ns().is_multiple_of(2) { world.crash() } else { world.kill() }
    }
    world.trace()
}

#[test]
fn same_seed_same_trace() {
    let traces: Vec<u64> = (0..20).map(a_trace).collect();
    assert_eq!(traces, (0..20).map(a_trace).collect::<Vec<_>>());
    assert!(traces.windows(2).all(|pair| pair[0] != pair[1]), "two seeds, one trace");
}
