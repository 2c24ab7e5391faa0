//! The Kafka wire protocol: bytes to requests, answers to bytes. It knows frames, never files, partitions or time.
//!
//! `server/` cuts frames off a socket and makes a [`Frame`] of each; `handlers/` read its body and encode the answer.
//! The two hot APIs, [`produce`] and [`fetch`], are hand-written views: they walk the frame where it lies, across chunk
//! edges, and give out record bytes as [`crate::record::Records`] cut from it. Every other API goes through [`cold`],
//! the generated codec of `kacrab-protocol`, which nothing outside this folder names.
//!
//! ```text
//!   request   length i32 | apiKey i16 | apiVersion i16 | correlationId i32 | clientId nullable string | (tags) | body
//!   response  length i32 | correlationId i32 | (tags) | body            tags: flexible versions only,
//!                                                                       in ApiVersions' response header never
//! ```
//!
//! **Invariants.** 1. No bytes from the network make this panic. 2. Nothing is allocated by what a length or a count
//! says, only by bytes that are there; a cold body is at most [`COLD_BODY_BYTES_MAX`] long. 3. A response frame's
//! length is exact before its first byte leaves, record parts included.
#![deny(clippy::indexing_slicing)]

mod api_key;
pub mod api_versions;
pub mod cold;
mod error;
mod error_code;
pub mod fetch;
mod frame;
pub mod produce;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use api_key::ApiKey;
pub use error::{DecodeError, EncodeError};
pub use error_code::ErrorCode;
pub use frame::{COLD_BODY_BYTES_MAX, Frame, RequestHeader};
