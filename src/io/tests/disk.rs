//! Reads, writes and flushes of O_DIRECT files.

use super::super::{AppendBuf, Job, Output, Prepare};
use super::{DIRECT, Op, filled, on_shard, open};
use crate::io::files::scratch_dir;

#[test]
fn what_was_written_and_flushed_is_read_back() {
    let dir = scratch_dir();
    let path = dir.path().join("segment");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let file = open(&runtime, &path, DIRECT).await;
            runtime.write(&file, 0, vec![filled(8192, 1)]).await.expect("written");
            let slices = vec![filled(4096, 2), filled(0, 9), filled(12288, 3)];
            runtime.write(&file, 8192, slices).await.expect("written");
            runtime.flush(&file).await.expect("flushed");
            let (read, buf) = runtime.read(&file, 4096, 16384, AppendBuf::with_capacity(16384)).await;
            assert_eq!(read.expect("read"), 16384);
            let expected = [vec![1; 4096], vec![2; 4096], vec![3; 8192]].concat();
            assert_eq!(buf.filled(), expected);
            let (read, buf) = runtime.read(&file, 20480, 8192, buf).await;
            assert_eq!(read.expect("nothing fits"), 0);
            let (read, buf) = runtime
                .read(&file, 20480, 8192, {
                    drop(buf);
                    AppendBuf::with_capacity(8192)
                })
                .await;
            assert_eq!((read.expect("the end of the file"), buf.len()), (4096, 4096));
            let (read, _buf) = runtime.read(&file, 1 << 20, 4096, AppendBuf::with_capacity(4096)).await;
            assert_eq!(read.expect("beyond the end"), 0);
        }
    });
}

#[test]
fn more_pieces_than_one_call_takes_are_continued() {
    let dir = scratch_dir();
    let path = dir.path().join("pieces");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let file = open(&runtime, &path, DIRECT).await;
            // 1024 pieces are the most that one writev takes: the rest is a short write that must be continued.
            let pieces: Vec<_> = (0..2500_u32).map(|at| filled(4096, u8::try_from(at % 200).expect("small"))).collect();
            runtime.write(&file, 4096, pieces).await.expect("written");
            let len = 2500 * 4096;
            let (read, buf) = runtime.read(&file, 4096, len, AppendBuf::with_capacity(len)).await;
            assert_eq!(read.expect("read"), len);
            for (at, block) in buf.filled().chunks(4096).enumerate() {
                assert!(block.iter().all(|byte| usize::from(*byte) == at % 200), "block {at}");
            }
        }
    });
}

#[test]
fn an_unaligned_end_of_a_direct_file_is_read() {
    let dir = scratch_dir();
    let path = dir.path().join("odd");
    std::fs::write(&path, vec![5_u8; 4096 + 700]).expect("written");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let file = open(&runtime, &path, DIRECT).await;
            let (read, buf) = runtime.read(&file, 0, 16384, AppendBuf::with_capacity(16384)).await;
            assert_eq!((read.expect("read"), buf.len()), (4796, 4796));
            assert!(buf.filled().iter().all(|byte| *byte == 5));
        }
    });
}

#[test]
fn errors_come_back_with_the_buffer() {
    let dir = scratch_dir();
    let path = dir.path().join("read-only");
    std::fs::write(&path, [0_u8; 8192]).expect("written");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let file = open(&runtime, &path, super::OpenHow { write: false, ..DIRECT }).await;
            let error = runtime.write(&file, 0, vec![filled(4096, 1)]).await.expect_err("not open for writing");
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
            let (result, buf) = runtime.read(&file, 17, 4096, AppendBuf::with_capacity(4096)).await;
            assert_eq!(result.expect_err("unaligned").raw_os_error(), Some(libc::EINVAL));
            assert_eq!((buf.len(), buf.remaining()), (0, 4096));
        }
    });
}

#[test]
fn an_orphaned_write_still_happens_and_frees_its_slices() {
    let dir = scratch_dir();
    let path = dir.path().join("orphan");
    let seen = path.clone();
    let pool = super::super::Pool::new(8 << 20);
    let kept = pool.clone();
    on_shard(move |runtime| {
        let (path, pool) = (path.clone(), pool.clone());
        async move {
            let file = open(&runtime, &path, DIRECT).await;
            for at in 0..16 {
                let mut buf = pool.take(64 << 10).expect("room");
                buf.append(&vec![9; 64 << 10]);
                let slices = vec![buf.slice(0..64 << 10)];
                drop(runtime.submit(Op::Write { file: file.clone(), position: at * (64 << 10), slices }));
            }
            assert_eq!(runtime.under_way(), 16);
        }
    });
    assert_eq!(kept.outstanding_bytes(), 0, "the drain waited for the writes");
    let content = std::fs::read(seen).expect("read");
    assert_eq!(content.len(), 1 << 20);
    assert!(content.iter().all(|byte| *byte == 9));
}

#[test]
fn more_operations_than_the_queue_holds_all_complete() {
    let dir = scratch_dir();
    let path = dir.path().join("many");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let file = open(&runtime, &path, DIRECT).await;
            runtime.job(Job::PrepareRange(file.clone(), 0..1 << 20, Prepare::Zeros)).await.expect("prepared");
            let writes: Vec<_> = (0..1000_u64)
                .map(|at| {
                    let slices = vec![filled(4096, 1)];
                    runtime.submit(Op::Write { file: file.clone(), position: at % 256 * 4096, slices })
                })
                .collect();
            assert_eq!(runtime.under_way(), 1000);
            for write in writes {
                assert_eq!(write.await.result.expect("written"), 4096);
            }
            let Output::Extents(extents) = runtime.job(Job::Extents(file, 0..1 << 20)).await.expect("mapped") else {
                panic!("no extents")
            };
            assert!(extents.overwrite_only(), "{extents:?}");
        }
    });
}

#[test]
fn everything_that_is_submitted_in_a_turn_takes_one_enter() {
    let dir = scratch_dir();
    let path = dir.path().join("batch");
    let config = super::Config { ring_entries: 256, ..super::small() };
    super::on_shard_with(&config, move |runtime| {
        let path = path.clone();
        async move {
            let file = open(&runtime, &path, DIRECT).await;
            runtime.write(&file, 0, vec![filled(1 << 20, 1)]).await.expect("written");
            let counters = runtime.env().counters();
            let (enters, sqes) = (counters.enters.get(), counters.sqes.get());
            let writes: Vec<_> = (0..200)
                .map(|at| {
                    let slices = vec![filled(4096, 2)];
                    runtime.submit(Op::Write { file: file.clone(), position: at * 4096, slices })
                })
                .collect();
            assert_eq!(counters.enters.get(), enters, "nothing is submitted before the turn's end");
            for write in writes {
                write.await.result.expect("written");
            }
            assert_eq!(counters.sqes.get() - sqes, 200);
            let (took, slept) = (counters.enters.get() - enters, counters.sleeps.get());
            assert!(took <= 1 + slept, "{took} enters: one submits, the others wait for completions");
        }
    });
}
