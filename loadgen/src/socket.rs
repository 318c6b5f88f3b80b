//! What a subscriber reads from: a stream, or datagrams under a lease.
//!
//! Contract: reads give bytes of a stream, or one whole datagram; nothing is buffered here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};

use crate::handshake::Opened;
use crate::limits::RECEIVE_BUFFER_BYTES;
use crate::target::wire::Wire;

/// See the module.
#[derive(Debug)]
pub(crate) enum Socket {
    Stream(TcpStream),
    Datagrams(Box<Lease>),
}

/// A socket that a server sends datagrams to as long as it shows its cookie.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) socket: UdpSocket,
    /// To be sent now and then,
    pub(crate) renewal: Vec<u8>,
    /// and these at the end.
    pub(crate) farewell: Vec<Vec<u8>>,
}

/// A subscriber that is ready.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) socket: Socket,
    /// What was read already: pieces of a stream, or datagrams.
    pub(crate) early: Vec<Vec<u8>>,
    /// How what it sends is read.
    pub(crate) wire: Wire,
}

impl From<Opened> for Joined {
    fn from(opened: Opened) -> Self {
        let early = opened.early.chunks(RECEIVE_BUFFER_BYTES).map(<[u8]>::to_vec).collect();
        Self { socket: Socket::Stream(opened.stream), early, wire: opened.wire }
    }
}

impl Socket {
    /// One read; of a stream nothing means its end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Stream(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Datagrams(lease) => lease.socket.poll_recv(cx, buffer),
        }
    }

    /// One read of what is there already.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.try_read(buffer),
            Self::Datagrams(lease) => lease.socket.try_recv(buffer),
        }
    }

    /// One write of what goes at once.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.try_write(bytes),
            Self::Datagrams(lease) => lease.socket.try_send(bytes),
        }
    }

    /// True exactly when it has an end, which a read tells.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Shows the cookie, where there is one.
    pub(crate) fn renew(&self) {
        if let Self::Datagrams(lease) = self {
            // One that is lost is followed by another long before the lease ends.
            let _ = lease.socket.try_send(&lease.renewal);
        }
    }

    /// Takes leave without a close frame.
    pub(crate) fn leave(&mut self) {
        match self {
            // At once on a plain socket.
            Self::Stream(stream) => {
                let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
            }
            Self::Datagrams(lease) => {
                lease.farewell.iter().for_each(|bytes| drop(lease.socket.try_send(bytes)));
            }
        }
    }

    /// Leaves nothing in TIME_WAIT when it is dropped; one that cannot be reset is closed all the same.
    pub(crate) fn be_abrupt(&self) {
        if let Self::Stream(stream) = self {
            drop(stream.set_zero_linger());
        }
    }
}
