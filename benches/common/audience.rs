//! Those who listen over loopback: many sockets, read by the thread that asks.

use mio::net::TcpStream as Stream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Longer than any round takes on any machine; a byte that never comes must not hang a run.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Audience {
    poll: Poll,
    events: Events,
    streams: Vec<Stream>,
    buffer: Vec<u8>,
}

impl Audience {
    /// So many connections with what their server accepted: nothing but sockets.
    pub(crate) fn pairs(count: usize) -> (Self, Vec<TcpStream>) {
        allow_descriptors();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (clients, accepted) = (0..count)
            .map(|_| {
                let client = TcpStream::connect(address).expect("a connection");
                let (accepted, _) = listener.accept().expect("its other end");
                accepted.set_nodelay(true).expect("an option");
                (client, accepted)
            })
            .unzip();
        (Self::of(clients), accepted)
    }

    /// So many WebSocket clients of a path; what is published from now on reaches all of them.
    pub(crate) fn connect(count: usize, address: SocketAddr, path: &str) -> Self {
        allow_descriptors();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let client = |_| {
            let mut client = TcpStream::connect(address).expect("a connection");
            client.write_all(request.as_bytes()).expect("a request");
            let mut answer = Vec::new();
            let mut byte = [0];
            while !answer.ends_with(b"\r\n\r\n") {
                client.read_exact(&mut byte).expect("an answer");
                answer.push(byte[0]);
            }
            assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
            client
        };
        Self::of((0..count).map(client).collect())
    }

    fn of(clients: Vec<TcpStream>) -> Self {
        let poll = Poll::new().expect("a poller");
        let watched = |(at, client): (usize, TcpStream)| {
            client.set_nonblocking(true).expect("an option");
            let mut stream = Stream::from_std(client);
            poll.registry()
                .register(&mut stream, Token(at), Interest::READABLE)
                .expect("a place in the poller");
            stream
        };
        let streams = clients.into_iter().enumerate().map(watched).collect();
        Self { poll, events: Events::with_capacity(1_024), streams, buffer: vec![0; 256 << 10] }
    }

    /// Reads until so many bytes have come over all sockets together.
    pub(crate) fn read(&mut self, bytes: usize) {
        let mut missing = bytes;
        while missing > 0 {
            self.poll.poll(&mut self.events, Some(PATIENCE)).expect("events");
            assert!(!self.events.is_empty(), "{missing} of {bytes} bytes never came");
            for event in &self.events {
                missing -= read_out(&mut self.streams[event.token().0], &mut self.buffer);
            }
        }
    }
}

/// Reads what is there. A read that leaves room in the buffer has emptied the socket: the next byte is an event.
fn read_out(stream: &mut Stream, buffer: &mut [u8]) -> usize {
    let mut read = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => panic!("a connection was closed"),
            Ok(len) => read += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return read,
            Err(error) => panic!("a connection failed: {error}"),
        }
        if read % buffer.len() != 0 {
            return read;
        }
    }
}

fn allow_descriptors() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the descriptor limit");
}
