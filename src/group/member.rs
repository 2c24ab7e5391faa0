//! A member of a group, as it joined, and the request of it that waits.

use std::rc::Rc;

use bytes::Bytes;

use super::effect::WaiterId;
use super::timers::Timer;
use crate::protocol::cold::join_group_request::JoinGroupRequestProtocol;

/// A request that waits for its reply, and the version that the reply has to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) to: WaiterId,
    pub(super) version: i16,
}

/// A protocol that a member can follow: an assignor's name and the member's subscription for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    pub(super) name: Rc<str>,
    pub(super) metadata: Bytes,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    /// The id that a static member gave itself.
    pub(super) instance_id: Option<Rc<str>>,
    pub(super) client_id: Rc<str>,
    pub(super) client_host: Rc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// In the order in which the member likes them.
    pub(super) protocols: Vec<Protocol>,
    /// What the leader gave it in the present generation.
    pub(super) assignment: Bytes,
    /// Its JoinGroup that waits for the others.
    pub(super) join: Option<Waiting>,
    /// Its SyncGroup that waits for the leader's.
    pub(super) sync: Option<Waiting>,
    /// Whether it never got an answer to a JoinGroup: it may not know its id, and cannot send heartbeats.
    pub(super) is_new: bool,
    /// Its session.
    pub(super) session: Timer,
}

/// What a member costs beside what it brings: its places in maps and sets, and its timer.
const MEMBER_BYTES: usize = 768;
/// What one protocol costs beside its name and metadata.
const PROTOCOL_BYTES: usize = 96;

impl Member {
    /// What the member brought for a protocol.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let named = self.protocols.iter().find(|known| Some(&*known.name) == protocol);
        named.map(|known| known.metadata.clone()).unwrap_or_default()
    }

    /// Whether a request names the same protocols in the same order with the same metadata.
    pub(super) fn matches(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        let same = |(ours, theirs): (&Protocol, &JoinGroupRequestProtocol)| {
            *ours.name == *theirs.name.as_str() && ours.metadata == theirs.metadata
        };
        self.protocols.len() == protocols.len() && self.protocols.iter().zip(protocols).all(same)
    }

    /// Whether silence is no fault: the member waits for us. A new member can be given up even so, since its client may
    /// have gone away and nobody would notice.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }

    /// What it costs.
    pub(super) fn bytes(&self) -> usize {
        let protocols: usize = self.protocols.iter().map(Protocol::bytes).sum();
        let names = self.instance_id.as_ref().map_or(0, |id| id.len()) + self.client_id.len() + self.client_host.len();
        MEMBER_BYTES + names + protocols + self.assignment.len()
    }
}

impl Protocol {
    /// Takes a request's protocols out of the frame that they lie in, so that a small member does not hold a large frame.
    pub(super) fn own(requested: &[JoinGroupRequestProtocol]) -> Vec<Self> {
        let own = |protocol: &JoinGroupRequestProtocol| Self {
            name: Rc::from(protocol.name.as_str()),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        };
        requested.iter().map(own).collect()
    }

    fn bytes(&self) -> usize {
        PROTOCOL_BYTES + self.name.len() + self.metadata.len()
    }
}

/// What a member that joins with these protocols is going to cost, about.
pub(super) fn bytes_of_new(protocols: &[JoinGroupRequestProtocol]) -> usize {
    MEMBER_BYTES + protocols.iter().map(|it| PROTOCOL_BYTES + it.name.len() + it.metadata.len()).sum::<usize>()
}
