//! The commit journal of one shard: where each log ends, and the bytes after its last full block.
pub mod record;
