//! What a shard says of itself while it runs: a line in the log each minute, and the gauges that `status` shows.

use std::rc::Rc;

use super::node::Node;
use crate::handlers::figures::Summary;
use crate::io::local::yield_now;
use crate::io::{Env, Pool, copy, stats};
use crate::types::ShardId;

impl<E: Env> Node<E> {
    /// Logs the figures once a minute, for as long as the shard lives.
    pub(super) async fn keep_reporting(self: Rc<Self>) {
        loop {
            self.rt.sleep_ms(REPORT_MS).await;
            self.report_figures();
        }
    }

    /// Logs what came since the last time, if anything did.
    pub(super) fn report_figures(&self) {
        let now = self.shown().figures.moment();
        if let Some(summary) = Summary::between(&self.told.borrow(), &now) {
            tracing::info!(shard = self.rt.shard().0, "latency: {summary}");
        }
        self.told.replace(now);
        if self.rt.shard() == ShardId::FIRST {
            self.report_copies();
        }
    }

    /// The counters are those of the whole process since its start: one shard tells them, and not again while they stand.
    fn report_copies(&self) {
        let figures @ (copied, journaled, sendfiles) =
            (copy::copied_bytes(), copy::journaled_bytes(), stats::totals().sendfiles);
        if self.copies.replace(Some(figures)) != Some(figures) {
            tracing::info!(
                "copies: {copied} record bytes, {journaled} bytes of block tails into journals; {sendfiles} sendfile calls"
            );
        }
    }

    /// Counts up what nobody counts as it changes, once a second, for as long as the shard lives.
    pub(super) async fn keep_counting(self: Rc<Self>, receive_pool: Pool) {
        let gauges = Rc::clone(&self);
        let gauges = &gauges.shown().gauges;
        loop {
            let mut log_bytes = 0;
            for (number, log) in self.shard.store().logs().into_iter().enumerate() {
                log_bytes += log.size_bytes();
                if number % LOGS_A_STEP == LOGS_A_STEP - 1 {
                    yield_now().await;
                }
            }
            gauges.log_bytes.set(log_bytes);
            gauges.partitions.set(self.shard.partition_count() as u64);
            gauges.tail_bytes.set(self.shard.store().writer().memory_bytes() as u64);
            gauges.receive_bytes.set(receive_pool.outstanding_bytes() as u64);
            self.rt.sleep_ms(COUNT_MS).await;
        }
    }
}

const REPORT_MS: u64 = 60_000;
const COUNT_MS: u64 = 1_000;
/// Logs that are counted up before the shard's other tasks get their turn.
const LOGS_A_STEP: usize = 256;
