//! Several shards: mailboxes, wakes, and beginning and ending together.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::mailbox::{Mailbox, mesh};
use super::super::pump::{ShardPlan, run_shards};
use super::super::{Env, Kernel, Runtime};
use super::small;
use crate::types::ShardId;

/// Runs two shards with a mailbox each.
fn two<T: Send + 'static, F: Future<Output = T> + 'static>(
    capacity: usize,
    body: impl Fn(Rc<Runtime<Kernel>>, Mailbox<u64>) -> F + Send + Clone + 'static,
) -> Vec<T> {
    let plans = mesh(2, capacity)
        .into_iter()
        .zip(0..)
        .map(|(seat, shard)| ShardPlan { shard: ShardId(shard), core: None, seat })
        .collect();
    run_shards(plans, &small(), &[], body).expect("run")
}

/// The next message, waiting for it.
async fn next(runtime: &Runtime<Kernel>, mailbox: &Mailbox<u64>) -> (ShardId, u64) {
    loop {
        let mail = runtime.mail().wait();
        if let Some(got) = mailbox.recv(runtime.env()) {
            return got;
        }
        mail.await;
    }
}

#[test]
fn a_message_wakes_a_shard_that_sleeps_and_one_that_is_awake() {
    let rounds = 2000_u64;
    let ended = two(8, move |runtime, mailbox| async move {
        let other = ShardId(1 - runtime.shard().0);
        for round in 0..rounds {
            if runtime.shard() == ShardId::FIRST {
                // Sometimes the other has long been asleep, sometimes it is just falling asleep.
                if round % 100 == 0 {
                    runtime.sleep_ms(3).await;
                }
                mailbox.send(runtime.env(), other, round).expect("room");
                assert_eq!(next(&runtime, &mailbox).await, (other, round + 1));
            } else {
                let (from, message) = next(&runtime, &mailbox).await;
                mailbox.send(runtime.env(), from, message + 1).expect("room");
            }
        }
        rounds
    });
    assert_eq!(ended, [rounds, rounds]);
}

#[test]
fn a_full_mailbox_pushes_back_and_says_when_there_is_room() {
    let count = 5000_u64;
    two(4, move |runtime, mailbox| async move {
        if runtime.shard() == ShardId::FIRST {
            let mut refused = 0;
            for message in 0..count {
                loop {
                    let mail = runtime.mail().wait();
                    if mailbox.send(runtime.env(), ShardId(1), message).is_ok() {
                        break;
                    }
                    refused += 1;
                    mail.await;
                }
            }
            assert!(refused > 0, "four places are less than five thousand messages");
        } else {
            for expected in 0..count {
                assert_eq!(next(&runtime, &mailbox).await, (ShardId::FIRST, expected), "in order, none lost");
            }
        }
    });
}

#[test]
fn a_shard_that_is_awake_is_woken_without_a_system_call() {
    let wakes = two(8, |runtime, mailbox| async move {
        if runtime.shard() == ShardId(1) {
            // Keeps its pump awake until the end.
            let busy = Rc::new(Cell::new(true));
            let flag = Rc::clone(&busy);
            let spin = runtime.spawn(std::future::poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                if flag.get() { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
            }));
            let _ = mailbox.send(runtime.env(), ShardId::FIRST, 0);
            for _ in 0..100 {
                next(&runtime, &mailbox).await;
            }
            busy.set(false);
            spin.await;
            return 0;
        }
        next(&runtime, &mailbox).await;
        let before = wakes_of(&runtime);
        let mut sent = 0;
        while sent < 100 {
            if mailbox.send(runtime.env(), ShardId(1), 1).is_ok() {
                sent += 1;
            }
        }
        wakes_of(&runtime) - before
    });
    assert_eq!(wakes[0], 0, "system calls for a shard that never slept");
}

fn wakes_of(runtime: &Runtime<Kernel>) -> u64 {
    runtime.env().counters().wakes.get()
}

#[test]
fn a_shard_may_wake_itself_and_a_timer_ends_a_sleep() {
    let plans = vec![ShardPlan { shard: ShardId::FIRST, core: None, seat: () }];
    run_shards(plans, &small(), &[], |runtime, ()| async move {
        let mail = runtime.mail().wait();
        runtime.env().wake(ShardId::FIRST);
        mail.await;
        let begun = Instant::now();
        runtime.sleep_ms(30).await;
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert!(begun.elapsed() < Duration::from_millis(500));
    })
    .expect("run");
}

#[test]
fn shards_run_pinned_where_they_were_told() {
    let core = *super::super::pump::usable_cores().last().expect("a core");
    let plans = vec![ShardPlan { shard: ShardId::FIRST, core: Some(core), seat: () }];
    let mine = run_shards(plans, &small(), &[], |_runtime, ()| async { super::super::pump::usable_cores() });
    assert_eq!(mine.expect("run"), [vec![core]]);
}

#[test]
fn a_ring_that_cannot_be_made_begins_no_body() {
    let plans = vec![ShardPlan { shard: ShardId::FIRST, core: None, seat: () }];
    let config = super::Config { ring_entries: 0, ..small() };
    let failed = run_shards(plans, &config, &[], |_runtime, ()| async { panic!("begun") });
    let error = failed.expect_err("no ring has no entries");
    assert!(error.to_string().starts_with("shard 0 could not be started"), "{error}");
}

#[test]
fn waits_that_end_early_leave_no_timers_behind() {
    super::on_shard(|runtime| async move {
        let mut long = std::pin::pin!(runtime.sleep_ms(60_000));
        for round in 0..10_000 {
            // As a receive with an idle timeout does: the timer is armed and never rings.
            let mut timeout = Box::pin(runtime.sleep_ms(30_000 + round % 7));
            std::future::poll_fn(|cx| {
                assert!(timeout.as_mut().poll(cx).is_pending());
                assert!(long.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        assert!(runtime.timers_kept() < 200, "{} timers are kept for one wait", runtime.timers_kept());
        let begun = runtime.now_ns();
        runtime.sleep_ms(5).await;
        assert!(runtime.now_ns() - begun >= 5_000_000, "a sweep loses no live timer");
    });
}
