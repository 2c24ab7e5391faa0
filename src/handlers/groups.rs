//! What the requests to group coordinators share: who asks, whom, and what is said where nobody answers.
//!
//! A request is with its coordinators, of whatever shard, when its first phase returns.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::reply::Started;
use super::{Handlers, later, respond};
use crate::io::Env;
use crate::protocol::cold::Response;
use crate::protocol::{ErrorCode, Frame, RequestHeader};
use crate::shard::{GroupCaller, GroupError, GroupReply, GroupRequest};

impl<E: Env> Handlers<E> {
    /// Asks the coordinator of one group; `answer` makes the response of its reply.
    pub(super) fn ask_group<R: Response>(
        self: &Rc<Self>,
        header: RequestHeader,
        group_id: &str,
        request: GroupRequest,
        answer: impl FnOnce(GroupReply) -> R + 'static,
    ) -> Started<E> {
        let asked = self.shard.ask_groups([(group_id, request)]);
        later(async move {
            let reply = asked.all().await.pop().unwrap_or(GroupReply::Refused(GroupError::NotCoordinator));
            respond(&header, &answer(reply))
        })
    }

    /// Asks the coordinators of many groups; `answer` makes the response of their replies, which stand in the order of
    /// the questions.
    pub(super) fn ask_groups<'a, R: Response>(
        self: &Rc<Self>,
        header: RequestHeader,
        asks: impl IntoIterator<Item = (&'a str, GroupRequest)>,
        answer: impl FnOnce(Vec<GroupReply>) -> R + 'static,
    ) -> Started<E> {
        let asked = self.shard.ask_groups(asks);
        later(async move { respond(&header, &answer(asked.all().await)) })
    }
}

/// Kafka's code where no coordinator answers. A reply of another kind than was asked for is none.
pub(super) fn refusal(reply: &GroupReply) -> ErrorCode {
    match reply {
        GroupReply::Refused(GroupError::LoadInProgress) => ErrorCode::CoordinatorLoadInProgress,
        GroupReply::Refused(GroupError::NotCoordinator) => ErrorCode::NotCoordinator,
        _ => ErrorCode::UnknownServerError,
    }
}

/// Who has sent a request.
pub(super) fn caller(frame: &Frame, peer: Option<SocketAddr>) -> GroupCaller {
    GroupCaller {
        client_id: frame.client_id().unwrap_or_default().into(),
        client_host: client_host(peer).into(),
        version: frame.header.api_version,
    }
}

/// An address as Java prints it, which is what DescribeGroups shows and Kafka stores.
fn client_host(peer: Option<SocketAddr>) -> String {
    match peer.map(|peer| peer.ip().to_canonical()) {
        None => String::new(),
        Some(IpAddr::V4(ip)) => format!("/{ip}"),
        Some(IpAddr::V6(ip)) => {
            let groups: Vec<String> = ip.segments().iter().map(|group| format!("{group:x}")).collect();
            format!("/{}", groups.join(":"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::client_host;

    #[test]
    fn hosts_are_printed_as_java_prints_them() {
        for (peer, host) in [
            ("127.0.0.1:9", "/127.0.0.1"),
            ("[::1]:9", "/0:0:0:0:0:0:0:1"),
            ("[::ffff:10.0.0.7]:9", "/10.0.0.7"),
            ("[fe80::a0b:1]:9", "/fe80:0:0:0:0:0:a0b:1"),
        ] {
            assert_eq!(client_host(Some(peer.parse().expect("an address"))), host);
        }
    }
}
