//! Rules of the coordinator broken on purpose, one at a time, to show that the simulation notices. Tests only.

/// What is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// Replies go out before the append that they speak of is durable.
    ReplyEarly,
    /// A commit of any generation is taken.
    AnyGeneration,
    /// Compaction appends the durable value again where a newer one is in flight.
    RewriteDurable,
    /// An assignment that was stored for one generation is handed out in another.
    AnyAssignment,
}
