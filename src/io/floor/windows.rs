//! Which commit window is how far: no I/O here, only the order.
//!
//! ```text
//!   begin --> Writing --written--> Written --flush_due--> Flushing --flushed--> Durable --release--> its answers leave
//! ```
//! As in the node (`storage::committer`): there is no timer, up to three windows are under way, a flush covers the windows
//! whose writes and those of all earlier ones had completed when it began, and answers leave in order. Where the stage
//! does not flush, a window is through when it is written.
//!
//! **Invariant.** What a window carries is released once, after its own write, after a flush that began after its write
//! and those of all earlier windows, and after all earlier windows: asserted in `release`, and by the tests below in
//! every order in which completions may come.

use std::collections::VecDeque;

/// The windows under way, oldest first.
#[derive(Debug)]
pub(super) struct Windows<T> {
    under_way: VecDeque<Window<T>>,
    /// Number of the next window to begin.
    next: u64,
    next_flush: u64,
    /// Whether windows are flushed.
    flushed: bool,
}

#[derive(Debug)]
struct Window<T> {
    number: u64,
    state: State,
    carries: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Writing,
    Written,
    /// By the flush of this number.
    Flushing(u64),
    Through,
}

impl<T> Windows<T> {
    pub(super) fn new(flushed: bool) -> Self {
        Self { under_way: VecDeque::new(), next: 0, next_flush: 0, flushed }
    }

    /// Whether another window may begin.
    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < WINDOWS_MAX
    }

    /// A window whose write is about to be submitted. Answers its number.
    pub(super) fn begin(&mut self, carries: T) -> u64 {
        assert!(self.has_room(), "asked before");
        let number = self.next;
        self.next += 1;
        self.under_way.push_back(Window { number, state: State::Writing, carries });
        number
    }

    /// The write of a window has completed.
    pub(super) fn written(&mut self, number: u64) -> &mut T {
        let flushed = self.flushed;
        let window = self.under_way.iter_mut().find(|window| window.number == number).expect("a window under way");
        assert_eq!(window.state, State::Writing, "a window is written once");
        window.state = if flushed { State::Written } else { State::Through };
        &mut window.carries
    }

    /// A flush to begin now, if one is due: its number, and what the windows that it covers carry.
    pub(super) fn flush_due(&mut self) -> Option<(u64, impl Iterator<Item = &T>)> {
        let flush = self.next_flush;
        let written = |window: &&mut Window<T>| window.state != State::Writing;
        let mut due = false;
        for window in self.under_way.iter_mut().take_while(written) {
            if window.state == State::Written {
                window.state = State::Flushing(flush);
                due = true;
            }
        }
        if !due {
            return None;
        }
        self.next_flush += 1;
        let covered = self.under_way.iter().filter(move |window| window.state == State::Flushing(flush));
        Some((flush, covered.map(|window| &window.carries)))
    }

    /// A flush has ended well, for all files that it was for.
    pub(super) fn flushed(&mut self, flush: u64) {
        for window in self.under_way.iter_mut().filter(|window| window.state == State::Flushing(flush)) {
            window.state = State::Through;
        }
    }

    /// What the oldest window carries, if it is through.
    pub(super) fn release(&mut self) -> Option<T> {
        let through = self.under_way.front()?.state == State::Through;
        let window = if through { self.under_way.pop_front() } else { None }?;
        assert_eq!(window.number + self.under_way.len() as u64 + 1, self.next, "windows leave in order");
        Some(window.carries)
    }
}

/// Windows under way at a time, as in the node.
pub(super) const WINDOWS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{WINDOWS_MAX, Windows};

    #[test]
    fn a_window_leaves_after_its_write_and_its_flush() {
        let mut windows = Windows::new(true);
        let number = windows.begin('a');
        assert!(windows.flush_due().is_none() && windows.release().is_none(), "not written");
        windows.written(number);
        assert!(windows.release().is_none(), "not flushed");
        let (flush, covered) = windows.flush_due().expect("due");
        assert_eq!(covered.collect::<Vec<_>>(), [&'a']);
        assert!(windows.release().is_none(), "the flush is under way");
        assert!(windows.flush_due().is_none(), "a window is flushed once");
        windows.flushed(flush);
        assert_eq!(windows.release(), Some('a'));
        assert!(windows.release().is_none());
    }

    #[test]
    fn a_flush_covers_no_window_behind_one_that_is_still_written() {
        let mut windows = Windows::new(true);
        let (first, second) = (windows.begin(1), windows.begin(2));
        windows.written(second);
        assert!(windows.flush_due().is_none());
        windows.written(first);
        assert_eq!(windows.flush_due().expect("due").1.count(), 2, "one flush for both");
    }

    #[test]
    fn without_a_flush_windows_leave_in_order_when_written() {
        let mut windows = Windows::new(false);
        let (first, second) = (windows.begin(1), windows.begin(2));
        windows.written(second);
        assert_eq!(windows.release(), None);
        windows.written(first);
        assert_eq!((windows.release(), windows.release()), (Some(1), Some(2)));
        assert!(windows.flush_due().is_none());
    }

    /// What may happen next, one of each in turn.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Begin,
        /// The write of so many under way completes.
        Written(usize),
        FlushDue,
        /// The flush of so many under way completes.
        Flushed(usize),
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Begin),
            (0..3_usize).prop_map(Step::Written),
            Just(Step::FlushDue),
            (0..3_usize).prop_map(Step::Flushed),
            Just(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn no_answer_leaves_before_a_flush_that_began_after_its_write_has_ended(steps in prop::collection::vec(step(), 0..200)) {
            let mut windows = Windows::new(true);
            let (mut writing, mut written, mut durable) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
            let mut flushing: Vec<(u64, BTreeSet<u64>)> = Vec::new();
            let mut released = 0;
            for step in steps {
                match step {
                    Step::Begin if windows.has_room() => {
                        let number = windows.next;
                        prop_assert_eq!(windows.begin(number), number);
                        writing.push(number);
                    }
                    Step::Written(at) if at < writing.len() => {
                        let number = writing.remove(at);
                        windows.written(number);
                        written.insert(number);
                    }
                    Step::FlushDue => {
                        if let Some((flush, covered)) = windows.flush_due() {
                            // What a flush that begins now makes durable.
                            let covers = written.clone();
                            for number in covered {
                                prop_assert!(covers.contains(number));
                            }
                            flushing.push((flush, covers));
                        }
                    }
                    Step::Flushed(at) if at < flushing.len() => {
                        let (flush, covers) = flushing.remove(at);
                        windows.flushed(flush);
                        durable.extend(covers);
                    }
                    Step::Release => {
                        if let Some(number) = windows.release() {
                            prop_assert_eq!(number, released);
                            prop_assert!(durable.contains(&number));
                            released += 1;
                        }
                    }
                    _ => {}
                }
                prop_assert!(windows.under_way.len() <= WINDOWS_MAX);
            }
        }
    }
}
