//! What needs unsafe code, and nothing else: the only room where it is allowed.
#![allow(unsafe_code)]

#[cfg(all(target_os = "linux", feature = "io-uring"))]
mod ring;
#[cfg(not(all(target_os = "linux", feature = "io-uring")))]
#[path = "no_ring.rs"]
mod ring;

pub(crate) use ring::Ring;

use mio::Poll;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Bytes for a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending<'a> {
    pub(crate) socket: BorrowedFd<'a>,
    pub(crate) bytes: &'a [u8],
}

/// A poller as one descriptor of the runtime's: readable when any of its sockets is.
///
/// # Errors
/// The runtime's own poller refuses it.
pub(crate) fn await_poll(poll: Poll) -> io::Result<AsyncFd<Poll>> {
    // SAFETY: a `Poll` owns its descriptor, gives out the same one always and closes it when it is dropped, which
    // `AsyncFd` does after striking it out.
    Ok(unsafe { AsyncFd::register_with_interest(poll, Interest::READABLE) }?)
}

/// A socket with what is known about it, in one allocation; it is the same socket for as long as this lives.
#[derive(Debug)]
pub(crate) struct Socket<T> {
    stream: TcpStream,
    pub(crate) about: T,
}

impl<T> Socket<T> {
    pub(crate) fn new(stream: TcpStream, about: T) -> Self {
        Self { stream, about }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Bytes that were sent and that the peer has not acknowledged; 0 where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn unacknowledged(stream: &TcpStream) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: this request (`man 7 tcp`: SIOCOUTQ) writes one `c_int`, and the descriptor is open while it is borrowed.
    let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { usize::try_from(bytes).unwrap_or_default() } else { 0 }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn unacknowledged(_: &TcpStream) -> usize {
    0
}

/// A full socket, to wait until it takes bytes again.
///
/// # Errors
/// The runtime's poller refuses it.
pub(crate) fn await_socket<T>(socket: Rc<Socket<T>>) -> io::Result<AsyncFd<SharedSocket<T>>> {
    // SAFETY: the `Rc` keeps the socket, and so its one descriptor, open for as long as the `AsyncFd` lives.
    Ok(unsafe { AsyncFd::register_with_interest(SharedSocket(socket), Interest::WRITABLE) }?)
}

/// A share of a socket, which stays open at least as long.
#[derive(Debug)]
pub(crate) struct SharedSocket<T>(Rc<Socket<T>>);

impl<T> AsRawFd for SharedSocket<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.stream.as_raw_fd()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread::sleep;
    use std::time::Duration;

    #[test]
    fn what_the_peer_has_taken_is_acknowledged_in_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut here = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        let (mut there, _) = listener.accept().expect("the other end");
        here.set_nonblocking(true).expect("an option");
        assert_eq!(unacknowledged(&here), 0);
        let mut sent = 0;
        while let Ok(bytes) = here.write(&[0; 64 << 10]) {
            sent += bytes;
        }
        assert!(unacknowledged(&here) > 0, "all of it fits into the other end");
        there.read_exact(&mut vec![0; sent]).expect("what was sent");
        let is_acknowledged = |_| {
            sleep(Duration::from_millis(1));
            unacknowledged(&here) == 0
        };
        assert!((0..30_000).any(is_acknowledged), "{} bytes are left", unacknowledged(&here));
    }
}
