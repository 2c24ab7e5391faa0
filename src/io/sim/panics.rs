//! Panics of tasks, counted: the executor keeps a panic for whoever awaits the task, and most tasks nobody awaits.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// From now on panics are counted, each on its thread; the hook that was there goes on being called.
pub(super) fn count() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}

/// Panics of this thread so far.
pub(super) fn so_far() -> u64 {
    PANICS.get()
}
