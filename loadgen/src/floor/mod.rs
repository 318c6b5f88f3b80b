//! The yardstick: a raw send loop, the cheapest fan-out there is with one send for each subscriber.
//!
//! Contract: it runs in a child process of the generator, `floor-server`, which says where it listens, serves from one thread and
//! ends on SIGTERM or with its parent. It has no topics, no queues and no policy: each message of a connection to `/publish/*`
//! goes to every other connection. Coalescing, it first takes all that is pending from the publisher, and sends that as one buffer.
//! By datagram it goes to all who have subscribed with one.

mod audience;
mod datagrams;
mod inbox;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::limits::{FLOOR_BATCH_BYTES, FLOOR_READ_BYTES};
use audience::Audience;
use datagrams::Datagrams;
use inbox::{Heard, Inbox};

/// How the floor is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Floor {
    /// One buffer for everything that is pending.
    pub(crate) coalesce: bool,
    /// Subscribers are sent datagrams.
    pub(crate) datagrams: bool,
}

/// Everybody who is to get what is published.
#[derive(Clone, Debug)]
enum Everybody {
    Streams(Rc<RefCell<Audience>>),
    Datagrams(Rc<RefCell<Datagrams>>),
}

impl Everybody {
    /// Frames of a WebSocket, of which only one goes by datagram, without its header.
    fn send(&self, frames: &[u8]) {
        match self {
            Self::Streams(audience) => audience.borrow().send(frames),
            Self::Datagrams(datagrams) => datagrams.borrow_mut().send(inbox::payload(frames)),
        }
    }
}

/// Serves until `stopped`.
pub(crate) async fn serve(floor: Floor, stopped: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    // Where there is no such limit there is nothing to raise.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    end_with_parent()?;
    let local = LocalSet::new();
    let accept = local.run_until(async move {
        let everybody = if floor.datagrams {
            let datagrams = Datagrams::bind().await?;
            let socket = datagrams.socket();
            writeln!(io::stdout().lock(), "listening on udp://{}", socket.local_addr()?)?;
            let datagrams = Rc::new(RefCell::new(datagrams));
            let everybody = Everybody::Datagrams(Rc::clone(&datagrams));
            spawn_local(async move {
                while socket.readable().await.and_then(|()| datagrams.borrow_mut().hear()).is_ok() {}
            });
            everybody
        } else {
            Everybody::Streams(Rc::default())
        };
        writeln!(io::stdout().lock(), "listening on ws://{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            spawn_local(greet(stream, everybody.clone(), floor.coalesce));
        }
    });
    tokio::select! {
        // First, so that whoever reads where it listens may already tell it to stop.
        biased;
        done = stopped => done,
        failed = accept => failed,
    }
}

/// The parent holds the other end of standard input: however it ends, this ends too.
fn end_with_parent() -> io::Result<()> {
    let wait = || {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    };
    std::thread::Builder::new().name("parent".into()).spawn(wait).map(drop)
}

/// One connection, from its first byte to its last. What fails concerns only its client.
async fn greet(stream: TcpStream, everybody: Everybody, coalesce: bool) {
    let mut publishes = false;
    #[allow(clippy::result_large_err)] // The callback's type is tungstenite's.
    let look = |request: &Request, response: Response| {
        publishes = request.uri().path().starts_with("/publish/");
        Ok(response)
    };
    let config = WebSocketConfig::default().read_buffer_size(2_048);
    let Ok(socket) = accept_hdr_async_with_config(stream, look, Some(config)).await else { return };
    // A client sends nothing before it has the 101, so that the codec has read nothing beyond the request.
    let stream = socket.into_inner();
    if publishes {
        let _ = relay(&stream, &everybody, coalesce).await;
        return;
    }
    let Everybody::Streams(audience) = everybody else { return };
    let (index, listener) = audience.borrow_mut().join(stream);
    let _ = listener.attend().await;
    audience.borrow_mut().leave(index);
}

/// Sends on what a publisher says, until it leaves.
async fn relay(stream: &TcpStream, everybody: &Everybody, coalesce: bool) -> io::Result<()> {
    let mut inbox = Inbox::default();
    let mut bytes = vec![0; FLOOR_READ_BYTES];
    let mut pending = Vec::new();
    let send = |pending: &mut Vec<u8>| {
        everybody.send(pending);
        pending.clear();
    };
    loop {
        stream.readable().await?;
        loop {
            let length = match stream.try_read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let heard = inbox.take(&bytes[..length], &mut pending, |pending| {
                if !coalesce || pending.len() > FLOOR_BATCH_BYTES {
                    send(pending);
                }
            });
            match heard {
                Ok(Heard::Frames) if coalesce => {}
                Ok(Heard::Frames) => break,
                Ok(Heard::Close) | Err(_) => {
                    send(&mut pending);
                    return Ok(());
                }
            }
        }
        if !pending.is_empty() {
            send(&mut pending);
        }
        // A publisher that is always ahead must not keep the others from being accepted and read.
        tokio::task::yield_now().await;
    }
}
