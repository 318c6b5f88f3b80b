//! Clients that connect, are cut off all at once, and come back all at once.
//!
//! Contract: a bounded number of handshakes is under way at a time, as in a population behind a listen queue; the others wait
//! their turn, and their wait counts. A client that is refused or times out tries again after [`CROWD_RETRY`]. They subscribe
//! to a topic that nobody publishes to, and are back when the server has said that they are subscribed.

use std::net::SocketAddr;

use futures_util::stream::{self, StreamExt};

use crate::clock::Clock;
use crate::handshake::{Local, OpenError, Opened, open};
use crate::limits::{CROWD_PATIENCE, CROWD_RETRY, HANDSHAKES_IN_FLIGHT};
use crate::scenario::fanout::Beside;
use crate::target::Call;
use crate::target::address::source_for;

/// The connected clients.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) server: SocketAddr,
    pub(crate) call: Call,
    pub(crate) clients: Vec<Opened>,
}

/// How they came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Return {
    /// From the beginning of the cut to the end of it,
    pub(crate) cut_ns: u64,
    /// and to each client's return, in the order of returning.
    pub(crate) back_ns: Vec<u64>,
    /// Attempts that failed and were repeated.
    pub(crate) retries: u64,
    /// Clients that had not come back when patience ended, and what the last attempt of one of them met.
    pub(crate) lost: u64,
    pub(crate) last_error: Option<String>,
}

/// Opens `count` connections; the first failure ends it.
pub(crate) async fn open_all(
    server: SocketAddr,
    call: &Call,
    count: usize,
    told: &mut impl FnMut(u64),
) -> Result<Vec<Opened>, OpenError> {
    let mut clients = Vec::with_capacity(count);
    let openings = (0..count).map(|index| open(server, call, at(index, server)));
    let mut opened = stream::iter(openings).buffer_unordered(HANDSHAKES_IN_FLIGHT);
    while let Some(client) = opened.next().await {
        clients.push(client?);
        told(clients.len() as u64);
    }
    Ok(clients)
}

fn at(index: usize, server: SocketAddr) -> Local {
    Local { source: source_for(index, server.ip()), receive_bytes: None }
}

impl Beside for Return {}

impl Crowd {
    /// Cuts all of them off, and lets them come back with `in_flight` handshakes at a time.
    pub(crate) async fn storm(&mut self, in_flight: usize, clock: Clock) -> Return {
        let from_ns = clock.now_ns();
        let count = self.clients.len();
        self.clients.clear();
        let mut back = Return { cut_ns: clock.now_ns() - from_ns, ..Return::default() };
        let give_up_ns = from_ns + CROWD_PATIENCE.as_nanos() as u64;
        let (server, call) = (self.server, &self.call);
        let returns = (0..count).map(|index| async move {
            let mut retries = 0;
            loop {
                match open(server, call, at(index, server)).await {
                    Ok(client) => return (retries, Ok(client)),
                    Err(error) if clock.now_ns() > give_up_ns => return (retries, Err(error)),
                    Err(_) => retries += 1,
                }
                tokio::time::sleep(CROWD_RETRY).await;
            }
        });
        let mut returned = stream::iter(returns).buffer_unordered(in_flight);
        while let Some((retries, client)) = returned.next().await {
            back.retries += retries;
            match client {
                Ok(client) => {
                    back.back_ns.push(clock.now_ns() - from_ns);
                    self.clients.push(client);
                }
                Err(error) => {
                    back.lost += 1;
                    back.last_error = Some(error.to_string());
                }
            }
        }
        back
    }
}
