//! The entrances: where clients of each wire knock.

use crate::message::wire::Wire;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// See the module.
#[derive(Debug)]
pub(crate) struct Entrances {
    pub(crate) websocket: TcpListener,
    pub(crate) tcp: Option<TcpListener>,
}

impl Entrances {
    /// The next who knocks, wherever that is.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Wire)> {
        let tcp = async {
            match &self.tcp {
                Some(tcp) => tcp.accept().await,
                None => std::future::pending().await,
            }
        };
        let ((stream, peer), wire) = tokio::select! {
            accepted = self.websocket.accept() => (accepted?, Wire::WebSocket),
            accepted = tcp => (accepted?, Wire::Tcp),
        };
        // An IPv4 client of a dual-stack listener is an IPv4 client.
        Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()), wire))
    }
}
