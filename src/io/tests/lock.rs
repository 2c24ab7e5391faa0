//! The directory lock outlives a killed process until its last write has ended.
