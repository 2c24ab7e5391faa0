//! Reading the same bytes again: a reply to a peer that does not read gives its memory back, and finds the bytes by their
//! place when the peer goes on, whatever has become of the log meanwhile.

use std::ops::Range;
use std::rc::Rc;

use super::Part;
use super::load::{Short, Source};
use crate::io::Env;
use crate::storage::error::Error;
use crate::storage::log::Log;
use crate::storage::segment::{Segment, SegmentRef};
use crate::types::Offset;

/// Where the bytes of one read begin. While it lives they stay readable, also when retention gives their segment up. May
/// cross shards.
#[derive(Clone, Debug)]
pub struct Place {
    segment: Offset,
    position: u64,
    _keep: SegmentRef,
}

impl Place {
    pub(super) fn new<E: Env>(segment: &Segment<E>, position: u64) -> Self {
        Self { segment: segment.base_offset, position, _keep: segment.hold() }
    }
}

impl<E: Env> Log<E> {
    /// Reads bytes again that a read found: `range` counts from where that read begins.
    ///
    /// # Errors
    /// What reading met, or that the log was deleted.
    pub async fn read_again(self: &Rc<Self>, place: &Place, range: Range<usize>) -> Result<Vec<Part<E>>, Error> {
        let found = self.segments.borrow().get(&place.segment).cloned();
        let gone = || self.gone.borrow().get(&place.segment).and_then(std::rc::Weak::upgrade);
        let Some(segment) = found.or_else(gone) else {
            return Err(Error::Closed { log: self.name.clone() });
        };
        let (position, len) = (place.position + range.start as u64, range.len());
        if self.is_stored(&segment) {
            let (file, keep) = (self.buffered(&segment).await?, segment.hold());
            return Ok(vec![Part::File { file, position, len, keep }]);
        }
        let piece = self.load(&segment, position..position + len as u64, Source::Direct, Short::Wait).await?;
        Ok(piece.records.parts().iter().cloned().map(Part::Bytes).collect())
    }
}
