//! A server to be driven, whether it ran already or was started for it.
//!
//! Contract: what was started is ended by [`Standing::end`], and killed when it is dropped instead.

use crate::cli::{Peer, Way};
use crate::drive::Failure;
use crate::floor::Floor;
use crate::pin::Pin;
use crate::server::Server;
use crate::target::address::{Address, Scheme};
use crate::target::{Manner, Publishing, Target};

/// Ready to be driven.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) target: Target,
    /// Its process, where it can be watched.
    pub(crate) pid: Option<u32>,
    server: Option<Server>,
}

impl Standing {
    /// Starts it where that is asked for.
    pub(crate) async fn of(peer: &Peer, pin: Option<&Pin>) -> Result<Self, Failure> {
        let server = match peer {
            Peer::Running { target, pid } => {
                return Ok(Self { target: Target::clone(target), pid: *pid, server: None });
            }
            Peer::Spawned { path, args, scheme, .. } => Server::spawn(path, args, *scheme, pin).await?,
            Peer::Nats { path, args } => Server::nats(path, args, pin).await?,
            Peer::Floor(floor) => Server::floor(floor, pin).await?,
        };
        let publishing = match (peer, &server.websocket) {
            (Peer::Spawned { way: Some(Way::Http), .. }, _) => Publishing::Http,
            (
                Peer::Spawned { way: Some(Way::Ws), .. }
                | Peer::Spawned { scheme: Scheme::Udp, .. }
                | Peer::Floor(Floor { datagrams: true, .. }),
                Some(url),
            ) => Publishing::WebSocket(Address::server(url)?),
            _ => Publishing::Own,
        };
        let operator = server.operator.as_deref().map(Address::operator).transpose()?;
        let target = Target::new(&server.url, Manner { templates: None, publishing, operator })?;
        Ok(Self { target, pid: Some(server.pid), server: Some(server) })
    }

    /// Ends what was started; one that ends badly is told of, and spoils nothing.
    pub(crate) async fn end(self) {
        if let Some(server) = self.server
            && let Err(bad_end) = server.stop().await
        {
            eprintln!("stentor-loadgen: {bad_end}");
        }
    }
}
