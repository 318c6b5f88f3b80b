//! Multicast groups: what a topic rule matches goes to its group too, as to one subscriber by datagram whose lease does
//! not end.

use super::Shell;
use crate::clock;
use crate::protocol::operation::{OpId, Wish};
use crate::protocol::pattern::Subject;
use crate::protocol::reply::Tag;
use crate::sequencer::request::Request;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;

/// Seconds between two heartbeats to a group: who listens sees what was lost at the end.
const HEARTBEAT_S: u32 = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct Group {
    /// What is sent goes through it.
    pub(crate) socket: UdpSocket,
    pub(crate) address: SocketAddr,
    pub(crate) subject: Subject,
}

impl Shell {
    /// Subscribes a group. It takes no seat.
    ///
    /// # Errors
    /// The runtime refuses its socket.
    pub(super) async fn open_group(self: &Rc<Self>, group: Group) -> io::Result<()> {
        let Group { socket, address, subject } = group;
        let socket = Rc::new(tokio::net::UdpSocket::from_std(socket)?);
        let connection = self.take_in(address, subject.to_string(), None, Some(socket));
        self.with(|core, _| {
            core.keep_for_ever(connection);
            core.set_heartbeat(connection.slot, HEARTBEAT_S, clock::now());
        });
        let tag = Tag::Native(OpId::Absent, Vec::new());
        let wishes = vec![Wish { subject, since: None }];
        // Closed: the server goes down before it has begun.
        let _ = self.publisher.send(Request::Subscribe { connection, tag, wishes }).await;
        Ok(())
    }
}
