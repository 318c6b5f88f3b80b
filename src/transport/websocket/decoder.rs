//! Decodes what a client sends: tungstenite's state machine over bytes that are handed to it.
//!
//! tungstenite also wants to answer pings and closes by itself. What it writes goes nowhere: a socket has one
//! writer, and answers take their turn in the connection's own queue.

use super::boundary::Boundary;
use crate::transport::inbound::Inbound;
use bytes::{Buf, BytesMut};
use std::io::{self, Read, Write};
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::protocol::close::{CloseCode, Reason};

/// Read buffer of one codec, bytes: tungstenite clears all of it before every read.
const CODEC_BUFFER_BYTES: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Decoder {
    context: WebSocketContext,
    feed: Feed,
    boundary: Boundary,
    /// True exactly when nothing more will be decoded: a close or a violation has come.
    finished: bool,
}

impl Decoder {
    /// A decoder for a client whose messages have at most so many bytes.
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(CODEC_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let context = WebSocketContext::new(Role::Server, Some(config));
        Self { context, feed: Feed::default(), boundary: Boundary::default(), finished: false }
    }

    /// Adds bytes from the socket.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if !self.finished {
            self.feed.bytes.extend_from_slice(bytes);
            self.boundary.pass(bytes);
        }
    }

    /// Bytes that its buffer has grown to.
    pub(crate) fn capacity(&self) -> usize {
        self.feed.bytes.capacity()
    }

    /// True exactly when it holds nothing of a message: the next may be read by another.
    pub(crate) fn is_idle(&self) -> bool {
        !self.finished && self.feed.bytes.is_empty() && self.boundary.is_between_messages()
    }

    /// The next whole thing among the bytes fed so far.
    pub(crate) fn next(&mut self) -> Option<Inbound> {
        if self.finished {
            return None;
        }
        let inbound = match self.context.read(&mut self.feed) {
            Ok(Message::Text(text)) => Inbound::Text(text.into()),
            Ok(Message::Binary(bytes)) => Inbound::Binary(bytes),
            Ok(Message::Ping(payload)) => Inbound::Ping(payload),
            Ok(Message::Pong(_) | Message::Frame(_)) => Inbound::Pong,
            Ok(Message::Close(frame)) => {
                Inbound::Close(frame.map_or(CloseCode::NORMAL, |frame| CloseCode(frame.code.into())))
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => violation(&error),
        };
        self.finished = matches!(inbound, Inbound::Close(_) | Inbound::Violation(..));
        Some(inbound)
    }
}

fn violation(error: &Error) -> Inbound {
    let (reason, code) = match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => (Reason::TooBig, CloseCode::TOO_BIG),
        Error::Utf8(_) => (Reason::Protocol, CloseCode::NOT_UTF8),
        _ => (Reason::Protocol, CloseCode::PROTOCOL),
    };
    Inbound::Violation(reason, code, error.to_string())
}

/// The bytes that wait to be decoded, as a stream; writing to it does nothing.
#[derive(Debug, Default)]
struct Feed {
    bytes: BytesMut,
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = into.len().min(self.bytes.len());
        self.bytes.copy_to_slice(&mut into[..len]);
        Ok(len)
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::wire::Wire;
    use crate::properties::frames::decoded;

    /// A masked client frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(0x80 | len as u8),
            len => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&[1, 2, 3, 4]);
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
        out
    }

    fn all(bytes: &[u8], step: usize) -> Vec<Inbound> {
        decoded(Wire::WebSocket, bytes, &[step])
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let mut bytes = frame(0x81, b"hello");
        bytes.extend(frame(0x01, b"frag"));
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x80, b"mented"));
        bytes.extend(frame(0x82, &[9; 600]));
        bytes.extend(frame(0x88, &[0x03, 0xE8]));
        let whole = all(&bytes, bytes.len());
        assert_eq!(
            whole,
            [
                Inbound::Text("hello".into()),
                Inbound::Ping("ping".into()),
                Inbound::Text("fragmented".into()),
                Inbound::Binary(vec![9; 600].into()),
                Inbound::Close(CloseCode::NORMAL),
            ]
        );
        for step in [1, 2, 3, 7, 100] {
            assert_eq!(all(&bytes, step), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn only_between_messages_is_it_idle() {
        let message = [frame(0x01, b"half"), frame(0x89, b"ping"), frame(0x80, b"whole")].concat();
        let mut decoder = Decoder::new(1_000);
        for (at, byte) in message.iter().enumerate() {
            decoder.feed(&[*byte]);
            while decoder.next().is_some() {}
            assert_eq!(decoder.is_idle(), at + 1 == message.len(), "after {} bytes", at + 1);
        }
    }

    #[test]
    fn what_breaks_the_protocol_names_its_close_code() {
        let mut long = vec![0x81, 0x80 | 126];
        long.extend_from_slice(&2_000u16.to_be_bytes());
        long.extend_from_slice(&[0; 4]);
        let cases = [
            (vec![0x81, 2, b'h', b'i'], CloseCode::PROTOCOL, "unmasked"),
            (frame(0xC1, b"hi"), CloseCode::PROTOCOL, "reserved bit"),
            (frame(0x81, &[0xFF]), CloseCode::NOT_UTF8, "not UTF-8"),
            (long, CloseCode::TOO_BIG, "oversize"),
            (frame(0x80, b"x"), CloseCode::PROTOCOL, "continues nothing"),
        ];
        for (bytes, code, what) in cases {
            let seen = all(&bytes, bytes.len());
            assert!(
                matches!(&seen[..], [Inbound::Violation(_, found, _)] if *found == code),
                "{what}: {seen:?}"
            );
        }
        let mut flood = frame(0x01, &[b'x'; 400]);
        flood.extend(frame(0x00, &[b'x'; 400]));
        flood.extend(frame(0x00, &[b'x'; 400]));
        let seen = all(&flood, 64);
        assert!(matches!(&seen[..], [Inbound::Violation(Reason::TooBig, CloseCode::TOO_BIG, _)]), "{seen:?}");
    }
}
