//! Any bytes as a record of `__consumer_offsets`: no panic, what is accepted is written back the same, and a coordinator
//! that loads it goes on.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use ringmain::group::records::{GroupMetadataValue, Key, OffsetCommitValue};
use ringmain::group::{Budget, Config, Coordinator, Now};
use ringmain::types::Offset;

fuzz_target!(|data: &[u8]| {
    let (key, value) = data.split_at(data.len() / 2);
    if let Ok(key) = Key::decode(key)
        && !matches!(key, Key::Newer { .. })
    {
        assert_eq!(Key::decode(&key.encode()), Ok(key));
    }
    if let Ok(value) = OffsetCommitValue::decode(value)
        && value.expire_timestamp == -1
    {
        assert_eq!(OffsetCommitValue::decode(&value.encode()), Ok(value));
    }
    if let Ok(value) = GroupMetadataValue::decode(value) {
        assert_eq!(GroupMetadataValue::decode(&value.encode()), Ok(value));
    }
    let mut coordinator = Coordinator::new(Rc::new(Config::default()), Budget::new(1 << 20), 1);
    let _ = coordinator.replay(Offset(0), key, Some(value));
    coordinator.loaded(Now { monotonic_ms: 0, wall_ms: 0 });
    coordinator.tick(Now { monotonic_ms: u64::from(u32::MAX), wall_ms: i64::from(u32::MAX) });
});
