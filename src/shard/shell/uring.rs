//! A sweep's sends through io_uring, where that is wanted and works; the other path is always there.

use super::socket_table::Socket;
use crate::config::Io;
use crate::ids::ShardId;
use crate::platform::{Ring, Sending};
use crate::shard::core::writer::{Offer, Taken};
use std::io::{Error, ErrorKind};
use std::os::fd::AsFd as _;
use std::rc::Rc;

/// See the module.
#[derive(Debug)]
pub(super) struct Uring {
    /// Where it is used, until it fails.
    ring: Option<Ring>,
}

impl Uring {
    /// To be called on the shard's own thread. The first shard says what all of them do.
    pub(super) fn new(shard: ShardId, io: Io) -> Self {
        let ring = match io {
            Io::Epoll => return Self { ring: None },
            Io::Auto | Io::Uring => Ring::new(),
        };
        match &ring {
            _ if shard > 0 => {}
            Ok(_) => tracing::info!("sending through io_uring"),
            Err(error) => tracing::info!(%error, "no io_uring here; sending with one system call each"),
        }
        Self { ring: ring.ok() }
    }

    /// Returns how many offers it made, from the first: the others are to be made in the other way.
    pub(super) fn send_all(
        &mut self,
        sockets: &[Option<Rc<Socket>>],
        offers: &[Offer<'_>],
        taken: &mut [Taken],
    ) -> usize {
        let Some(ring) = &mut self.ring else { return 0 };
        let sendings = offers.iter().map_while(|offer| {
            let socket = sockets.get(offer.slot as usize)?.as_ref()?.stream().as_fd();
            Some(Sending { socket, bytes: offer.bytes })
        });
        for (offer, taken) in offers.iter().zip(&mut *taken) {
            *taken = Taken::Bytes(offer.bytes.len());
        }
        let tried =
            ring.send_all(sendings, |at, result| taken[at] = result.map_or_else(failed, Taken::Bytes));
        if tried == 0 && !offers.is_empty() {
            tracing::warn!("io_uring failed; this shard goes on with one system call a send");
            self.ring = None;
        }
        tried
    }
}

fn failed(error: Error) -> Taken {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Taken::Bytes(0),
        _ => Taken::Dead,
    }
}
