//! Rules broken on purpose: each must be found within 1,000 seeds by the very checks that pass otherwise.

use ringmain::storage::Sabotage;

use super::drive::try_seed;
use super::model::End;
use super::script::{Broken, Script};

/// The first seed below 1,000 that finds the broken rule; printed with what it found.
fn found(name: &str, broken: Broken) -> u64 {
    let seed = (0..1_000).find_map(|seed| {
        let mut script = Script { sabotage: broken, ..Script::new(seed) };
        // Only a killed node leaves writes under way.
        for life in script.lives.iter_mut().filter(|_| broken.before_lock) {
            life.end = End::Kill;
        }
        try_seed(&script).err().map(|text| {
            println!("{name}: found by seed {seed}: {text}");
            seed
        })
    });
    seed.unwrap_or_else(|| panic!("{name}: not found within 1,000 seeds"))
}

fn rule(rule: Sabotage) -> Broken {
    Broken { rule, ..Broken::default() }
}

#[test]
fn a_file_too_few_flushed_is_found() {
    found("a file too few flushed", rule(Sabotage::FlushOneLess));
}

#[test]
fn a_window_acknowledged_early_is_found() {
    found("a window acknowledged early", rule(Sabotage::AckEarly));
}

#[test]
fn a_block_written_again_is_found() {
    found("a block written again", rule(Sabotage::RewriteBlocks));
}

#[test]
fn a_skipped_journal_is_found() {
    found("the journal skipped", rule(Sabotage::SkipJournal));
}

#[test]
fn a_deletion_answered_early_is_found() {
    found("a deletion answered early", rule(Sabotage::AnswerDeleteEarly));
}

#[test]
fn recovery_before_the_lock_is_found() {
    found("recovery before the lock", Broken { before_lock: true, ..Broken::default() });
}
