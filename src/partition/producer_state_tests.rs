//! The rules one by one, then random histories against a model that remembers everything.

use proptest::prelude::*;

use super::*;

const DAY_MS: i64 = 86_400_000;

fn producers() -> Producers {
    Producers::new(DAY_MS, Budget::new(1000))
}

fn batch(producer_id: i64, epoch: i16, sequence: i32, records: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset::ZERO,
        batch_length: 49,
        partition_leader_epoch: -1,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id,
        producer_epoch: epoch,
        base_sequence: sequence,
        record_count: records,
    }
}

/// Checks a batch and commits it if it is to be appended.
fn send(state: &mut Producers, header: BatchHeader, offset: i64) -> Result<Verdict, SequenceError> {
    let verdict = state.check(&header)?;
    if verdict == Verdict::Append {
        state.commit(&header, Offset(offset), offset * 10, 0);
    }
    Ok(verdict)
}

fn duplicate(base: i64, last: i64) -> Result<Verdict, SequenceError> {
    let (base_offset, last_offset) = (Offset(base), Offset(last));
    Ok(Verdict::Duplicate { base_offset, last_offset, timestamp: base * 10 })
}

fn out_of_order(sequence: i32, last: i32) -> Result<Verdict, SequenceError> {
    Err(SequenceError::OutOfOrder { producer_id: 1, sequence, last })
}

#[test]
fn a_batch_without_a_producer_is_always_appended_and_never_remembered() {
    let mut state = producers();
    for offset in 0..10 {
        assert_eq!(send(&mut state, batch(-1, -1, -1, 1), offset), Ok(Verdict::Append));
    }
    assert!(state.is_empty());
}

#[test]
fn the_last_five_batches_are_known_and_no_more() {
    let mut state = producers();
    for round in 0..6 {
        assert_eq!(send(&mut state, batch(1, 0, round * 2, 2), i64::from(round) * 100), Ok(Verdict::Append));
    }
    for round in 1..6 {
        let base = i64::from(round) * 100;
        assert_eq!(send(&mut state, batch(1, 0, round * 2, 2), 0), duplicate(base, base + 1));
    }
    assert_eq!(send(&mut state, batch(1, 0, 0, 2), 0), out_of_order(0, 11));
}

#[test]
fn a_batch_that_overlaps_a_known_one_is_out_of_order() {
    let mut state = producers();
    assert_eq!(send(&mut state, batch(1, 0, 0, 4), 0), Ok(Verdict::Append));
    assert_eq!(send(&mut state, batch(1, 0, 0, 5), 0), out_of_order(0, 3));
    assert_eq!(send(&mut state, batch(1, 0, 2, 2), 0), out_of_order(2, 3));
}

#[test]
fn a_gap_is_out_of_order_and_changes_nothing() {
    let mut state = producers();
    assert_eq!(send(&mut state, batch(1, 0, 0, 1), 0), Ok(Verdict::Append));
    assert_eq!(send(&mut state, batch(1, 0, 2, 1), 1), out_of_order(2, 0));
    assert_eq!(send(&mut state, batch(1, 0, 1, 1), 1), Ok(Verdict::Append));
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    let mut state = producers();
    assert_eq!(send(&mut state, batch(1, 3, 77, 1), 0), Ok(Verdict::Append));
    assert_eq!(send(&mut state, batch(1, 3, 79, 1), 0), out_of_order(79, 77));
}

#[test]
fn sequences_wrap_after_the_largest_number() {
    let mut state = producers();
    assert_eq!(send(&mut state, batch(1, 0, i32::MAX - 1, 2), 0), Ok(Verdict::Append));
    assert_eq!(send(&mut state, batch(1, 0, 0, 3), 2), Ok(Verdict::Append));
    assert_eq!(send(&mut state, batch(1, 0, 0, 3), 9), duplicate(2, 4));
    // A batch may also wrap in its middle.
    let mut state = producers();
    assert_eq!(send(&mut state, batch(1, 0, i32::MAX, 3), 0), Ok(Verdict::Append));
    assert_eq!(send(&mut state, batch(1, 0, i32::MAX, 3), 0), duplicate(0, 2));
    assert_eq!(send(&mut state, batch(1, 0, 2, 1), 3), Ok(Verdict::Append));
}

#[test]
fn a_new_epoch_begins_at_zero_and_forgets_the_old_ones_batches() {
    let mut state = producers();
    assert_eq!(send(&mut state, batch(1, 0, 0, 1), 0), Ok(Verdict::Append));
    let refused = SequenceError::NewEpoch { producer_id: 1, epoch: 1, current: 0, sequence: 1 };
    assert_eq!(send(&mut state, batch(1, 1, 1, 1), 1), Err(refused));
    assert_eq!(send(&mut state, batch(1, 1, 0, 1), 1), Ok(Verdict::Append));
    assert_eq!(send(&mut state, batch(1, 1, 0, 1), 2), duplicate(1, 1));
    let stale = SequenceError::StaleEpoch { producer_id: 1, epoch: 0, current: 1 };
    assert_eq!(send(&mut state, batch(1, 0, 1, 1), 2), Err(stale));
    // Not even an exact repetition of the old epoch's batch is a duplicate.
    assert_eq!(send(&mut state, batch(1, 0, 0, 1), 2), Err(stale));
}

#[test]
fn a_batch_that_was_checked_but_not_stored_leaves_no_trace() {
    let state = producers();
    assert_eq!(state.check(&batch(1, 0, 5, 1)), Ok(Verdict::Append));
    assert_eq!(state.check(&batch(1, 0, 9, 1)), Ok(Verdict::Append));
    assert!(state.is_empty());
}

#[test]
fn a_silent_producer_expires_by_the_nodes_clock() {
    let mut state = producers();
    state.commit(&batch(1, 0, 0, 1), Offset(0), 0, 1_000);
    state.commit(&batch(2, 0, 0, 1), Offset(1), 0, 1_000 + DAY_MS / 2);
    assert_eq!(state.snapshot(999 + DAY_MS).len(), 2);
    let left = state.snapshot(1_000 + DAY_MS);
    assert_eq!(left.iter().map(|entry| entry.producer_id).collect::<Vec<_>>(), [2]);
    assert_eq!(state.check(&batch(1, 0, 7, 1)), Ok(Verdict::Append));
}

#[test]
fn the_budget_holds_over_all_partitions_and_the_longest_silent_go() {
    let budget = Budget::new(16);
    let mut one = Producers::new(DAY_MS, Rc::clone(&budget));
    let mut two = Producers::new(DAY_MS, Rc::clone(&budget));
    for producer_id in 0..100 {
        one.commit(&batch(producer_id, 0, 0, 1), Offset(producer_id), 0, producer_id);
        assert!(budget.used() <= 16);
    }
    assert_eq!(
        one.check(&batch(99, 0, 5, 1)),
        Err(SequenceError::OutOfOrder { producer_id: 99, sequence: 5, last: 0 })
    );
    assert_eq!(one.check(&batch(0, 0, 5, 1)), Ok(Verdict::Append), "the oldest is forgotten");
    // A partition without any may always have one, and then only that one.
    for producer_id in 0..10 {
        two.commit(&batch(producer_id, 0, 0, 1), Offset(producer_id), 0, 200);
    }
    assert_eq!(budget.used(), one.len() + two.len());
    assert!(budget.used() <= 17);
    drop(one);
    drop(two);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_snapshot_restores_to_the_same_state() {
    let mut state = producers();
    for round in 0..7 {
        send(&mut state, batch(1, 2, round, 1), i64::from(round)).expect("in order");
    }
    send(&mut state, batch(9, 0, 5, 3), 7).expect("unknown");
    let snapshot = state.snapshot(0);
    let mut restored = producers();
    restored.restore(&snapshot, 0);
    assert_eq!(restored.snapshot(0), snapshot);
    assert_eq!(restored.check(&batch(1, 2, 3, 1)), duplicate(3, 3));
    assert_eq!(restored.check(&batch(1, 2, 7, 1)), Ok(Verdict::Append));
    assert_eq!(restored.len(), 2);
}

#[test]
fn a_restored_producer_counts_as_heard_at_the_start() {
    let mut state = producers();
    let batch = ProducerBatch::default();
    state.restore(&[ProducerEntry { producer_id: 1, epoch: 0, batches: vec![batch] }], 50 * DAY_MS);
    assert_eq!(state.snapshot(50 * DAY_MS + 1).len(), 1);
}

/// What a producer did, kept whole: sequence numbers counted without wrapping, so that the model knows nothing of it.
#[derive(Default)]
struct Model {
    epoch: Option<i16>,
    stored: Vec<(i64, i64, i64)>,
}

impl Model {
    /// The rules in the words of the specification.
    fn expect(&self, epoch: i16, first: i64, last: i64) -> &'static str {
        let Some(current) = self.epoch else { return "append" };
        if epoch < current {
            return "stale";
        }
        if epoch > current {
            return if first % WRAP == 0 { "append" } else { "new epoch" };
        }
        let recent = self.stored.iter().rev().take(5);
        if recent.clone().any(|(f, l, _)| (*f % WRAP, *l % WRAP) == (first % WRAP, last % WRAP)) {
            return "duplicate";
        }
        let end = self.stored.last().map_or(first, |(_, l, _)| l + 1);
        if end % WRAP == first % WRAP { "append" } else { "out of order" }
    }
}

const WRAP: i64 = 1 << 31;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Histories of one producer near the wrap: resends, gaps, epochs up and down, restarts between any two batches.
    #[test]
    fn histories_follow_the_rules(
        start in prop_oneof![Just(0_i64), Just(WRAP - 6), 0..WRAP],
        steps in prop::collection::vec((0..12_u8, 1..4_i64, 0..8_usize, any::<bool>()), 1..60),
    ) {
        let mut state = producers();
        let mut model = Model::default();
        let (mut epoch, mut next, mut offset) = (0_i16, start, 0_i64);
        for (action, records, back, restart) in steps {
            let (send_epoch, first, count) = match action {
                0 => (epoch, next + records, records),
                1 => (epoch - 1, next, records),
                2 => (epoch + 1, 0, records),
                3 => (epoch + 1, next.max(1), records),
                4..=6 => match model.stored.iter().rev().nth(back) {
                    Some((first, last, _)) => (epoch, *first, last - first + 1),
                    None => (epoch, next, records),
                },
                _ => (epoch, next, records),
            };
            let send_epoch = send_epoch.max(0);
            let last = first + count - 1;
            let sequence = i32::try_from(first % WRAP).expect("below the wrap");
            let header = batch(1, send_epoch, sequence, i32::try_from(count).expect("few"));
            let got = state.check(&header);
            let name = match &got {
                Ok(Verdict::Append) => "append",
                Ok(Verdict::Duplicate { .. }) => "duplicate",
                Err(SequenceError::StaleEpoch { .. }) => "stale",
                Err(SequenceError::NewEpoch { .. }) => "new epoch",
                Err(SequenceError::OutOfOrder { .. }) => "out of order",
            };
            prop_assert_eq!(name, model.expect(send_epoch, first, last));
            if let Ok(Verdict::Duplicate { base_offset, .. }) = got {
                let original = model.stored.iter().rev().find(|(f, l, _)| (f % WRAP, l % WRAP) == (first % WRAP, last % WRAP));
                prop_assert_eq!(Some(base_offset.0), original.map(|(_, _, base)| *base));
            }
            if name == "append" {
                state.commit(&header, Offset(offset), 0, 0);
                if model.epoch != Some(send_epoch) {
                    model.stored.clear();
                }
                model.epoch = Some(send_epoch);
                model.stored.push((first, last, offset));
                (epoch, next) = (send_epoch, last + 1);
                offset += count;
            }
            if restart {
                let snapshot = state.snapshot(0);
                state = producers();
                state.restore(&snapshot, 0);
            }
        }
    }

    /// What recovery makes of the batches of the log is what the running partition knew.
    #[test]
    fn recovery_from_the_log_gives_the_same_state(sent in prop::collection::vec((0..3_i64, 0..10_i32, 1..5_i32, any::<bool>()), 1..60)) {
        let mut state = producers();
        let mut recovered = crate::storage::checkpoint::PartitionState::default();
        let mut end = 0;
        let mut epochs = [0_i16; 3];
        for (producer_id, sequence, records, bump) in sent {
            let at = usize::try_from(producer_id).expect("few");
            epochs[at] += i16::from(bump);
            let mut header = batch(producer_id, epochs[at], if bump { 0 } else { sequence }, records);
            if state.check(&header) == Ok(Verdict::Append) {
                state.commit(&header, Offset(end), header.largest_timestamp(), 0);
                header.base_offset = Offset(end);
                recovered.apply(&header);
                end += i64::from(records);
            }
        }
        prop_assert_eq!(state.snapshot(0), recovered.producers);
    }
}
