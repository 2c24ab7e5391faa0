//! The hand-written views and encoders against the generated codec, in every version and with any chunk edges.

mod cold;
mod fetch;
mod golden;
mod produce;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{ApiKey, Frame};
use crate::io::Slice;
use crate::record::Records;

/// A request frame without its length field, as Kafka's header schema has it.
fn request(api_key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(api_key.code().to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(77_i32.to_be_bytes());
    bytes.extend(4_i16.to_be_bytes());
    bytes.extend(b"test");
    if api_key.is_flexible(version) {
        // One tagged field that nobody knows.
        bytes.extend([1, 9, 2, 0xff, 0xff]);
    }
    bytes.extend(body);
    bytes
}

/// Cuts `bytes` at `edges` (taken modulo the length).
fn chunked(bytes: &[u8], edges: &[usize]) -> Records {
    let mut edges: Vec<usize> = edges.iter().map(|edge| edge % (bytes.len() + 1)).collect();
    edges.extend([0, bytes.len()]);
    edges.sort_unstable();
    edges.windows(2).map(|pair| Slice::from(Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]))).collect()
}

/// Some chunk edges, often none, sometimes one at every byte.
fn edges() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![]), prop::collection::vec(any::<usize>(), 1..6), Just((0..4096).collect())]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9._-]{1,20}", "\\PC{0,8}"]
}

fn parse(bytes: &[u8]) -> Frame {
    Frame::parse(&Records::from(bytes.to_vec())).expect("a frame")
}

fn written(write: impl FnOnce(&mut BytesMut) -> kacrab_protocol::Result<()>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    write(&mut bytes).expect("the generated codec writes");
    bytes.to_vec()
}
