//! The hand-written views against the generated codec, in every version.
