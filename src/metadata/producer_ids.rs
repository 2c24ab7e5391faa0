//! Producer ids: handed out one by one from a block that the metadata log has given away durably.
//!
//! Each shard keeps one block and asks shard 0 for the next
//! ([`MetadataLog::allocate_producer_ids`](super::MetadataLog::allocate_producer_ids)). A block that was not used up when
//! the node stops is lost: an id is never given twice.

/// How many ids a block holds, as in Kafka.
pub const BLOCK_IDS: i64 = 1000;

/// Ids that belong to one shard.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ProducerIdBlock {
    next: i64,
    end: i64,
}

impl ProducerIdBlock {
    /// The block that begins at `first`.
    #[must_use]
    pub fn new(first: i64) -> Self {
        Self { next: first, end: first + BLOCK_IDS }
    }

    /// The next id, or `None` where another block is needed.
    pub fn take(&mut self) -> Option<i64> {
        let id = self.next;
        (id < self.end).then(|| {
            self.next += 1;
            id
        })
    }

    /// The first id that is still to be given.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_IDS, ProducerIdBlock};

    #[test]
    fn a_block_gives_each_of_its_ids_once() {
        let mut block = ProducerIdBlock::new(2 * BLOCK_IDS);
        let ids: Vec<i64> = std::iter::from_fn(|| block.take()).collect();
        assert_eq!(ids, (2000..3000).collect::<Vec<i64>>());
        assert_eq!(block.take(), None);
        assert_eq!(ProducerIdBlock::default().take(), None);
    }
}
