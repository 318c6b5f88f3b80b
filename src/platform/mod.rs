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
