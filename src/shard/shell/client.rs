//! Who is at the other end of a socket.

use crate::door::admission::Seat;
use crate::ids::ConnectionId;
use crate::message::wire::Wire;
use crate::protocol::identity::Identity;
use crate::shard::register::Visitor;
use std::net::SocketAddr;

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    pub(super) path: Box<str>,
    pub(super) identity: Option<Identity>,
    pub(super) wire: Wire,
    /// True exactly when it came to publish, and for nothing else.
    pub(super) is_publisher: bool,
    /// Given back when it goes; a multicast group takes none.
    pub(super) _seat: Option<Seat>,
}

impl Client {
    /// As the operator sees it.
    pub(super) fn visitor(&self, id: ConnectionId) -> Visitor {
        Visitor {
            id,
            client: self.identity.as_ref().map(ToString::to_string),
            address: self.peer,
            transport: self.wire.as_str(),
            path: self.path.clone(),
        }
    }
}
