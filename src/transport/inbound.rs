//! What clients send, whichever way: things that came whole.

use super::tcp;
use super::websocket;
use crate::message::wire::Wire;
use crate::protocol::close::{CloseCode, Reason};
use crate::protocol::topic::TopicName;
use bytes::Bytes;

/// Something a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Text(Bytes),
    Binary(Bytes),
    /// A message for a topic that it names.
    Publish(TopicName, Bytes),
    Ping(Bytes),
    Pong,
    /// It cannot be understood; what follows can.
    Malformed(&'static str, String),
    /// The client closes, with this code if it gave one.
    Close(CloseCode),
    /// The client broke the protocol; nothing after it can be understood.
    Violation(Reason, CloseCode, String),
}

/// Makes whole things of what comes in pieces; a connection has one only while it is half-read.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Decoder {
    WebSocket(websocket::decoder::Decoder),
    Tcp(tcp::Decoder),
}

impl Decoder {
    /// A decoder for a client of a stream whose messages have at most so many bytes.
    pub(crate) fn new(wire: Wire, message_bytes_max: usize) -> Self {
        match wire {
            Wire::WebSocket => Self::WebSocket(websocket::decoder::Decoder::new(message_bytes_max)),
            Wire::Tcp | Wire::Udp => Self::Tcp(tcp::Decoder::new(message_bytes_max)),
        }
    }

    fn wire(&self) -> Wire {
        match self {
            Self::WebSocket(_) => Wire::WebSocket,
            Self::Tcp(_) => Wire::Tcp,
        }
    }

    /// Bytes that its buffer has grown to.
    fn capacity(&self) -> usize {
        match self {
            Self::WebSocket(decoder) => decoder.capacity(),
            Self::Tcp(decoder) => decoder.capacity(),
        }
    }

    /// Adds bytes from the socket.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::WebSocket(decoder) => decoder.feed(bytes),
            Self::Tcp(decoder) => decoder.feed(bytes),
        }
    }

    /// The next whole thing among the bytes fed so far.
    pub(crate) fn next(&mut self) -> Option<Inbound> {
        match self {
            Self::WebSocket(decoder) => decoder.next(),
            Self::Tcp(decoder) => decoder.next(),
        }
    }

    /// True exactly when it holds nothing of a message: the next may be read by another.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Self::WebSocket(decoder) => decoder.is_idle(),
            Self::Tcp(decoder) => decoder.is_idle(),
        }
    }
}

/// Decoders that hold nothing, lent to whoever begins to speak: who is between messages needs none.
#[derive(Debug)]
pub(crate) struct Decoders {
    message_bytes_max: usize,
    #[allow(clippy::vec_box, reason = "they come and go in their boxes")]
    spare: Vec<Box<Decoder>>,
}

/// Decoders kept at most, and the bytes of each one's buffer at most.
const SPARE_MAX: usize = 16;
const SPARE_BYTES_MAX: usize = 64 << 10;

impl Decoders {
    /// For clients whose messages have at most so many bytes.
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, spare: Vec::new() }
    }

    pub(crate) fn lend(&mut self, wire: Wire) -> Box<Decoder> {
        let spare = self.spare.iter().position(|decoder| decoder.wire() == wire);
        spare.map_or_else(
            || Box::new(Decoder::new(wire, self.message_bytes_max)),
            |at| self.spare.swap_remove(at),
        )
    }

    /// Takes one back that has given out everything it was fed.
    pub(crate) fn give_back(&mut self, decoder: Box<Decoder>) {
        if decoder.is_idle() && self.spare.len() < SPARE_MAX && decoder.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(decoder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tcp;

    /// Proves: one that is lent again reads as a new one does.
    #[test]
    fn a_decoder_lent_again_is_as_new() {
        let masked =
            |opcode: u8, text: &[u8]| [&[0x80 | opcode, 0x80 | text.len() as u8, 0, 0, 0, 0], text].concat();
        let websocket =
            [masked(9, b"ping"), masked(1, "é".as_bytes()), masked(2, b"\xFF"), masked(10, b"")].concat();
        let of_tcp =
            [tcp::frame(tcp::JSON, b"{}"), tcp::frame(tcp::PUBLISH, b"\0\x01a!"), tcp::frame(b'H', b"")]
                .concat();
        let mut decoders = Decoders::new(1_000);
        let read = |decoder: &mut Decoder, bytes: &[u8]| -> Vec<Inbound> {
            decoder.feed(bytes);
            std::iter::from_fn(|| decoder.next()).collect()
        };
        for (wire, bytes) in [(Wire::WebSocket, websocket), (Wire::Tcp, of_tcp)] {
            let new = read(&mut Decoder::new(wire, 1_000), &bytes);
            assert!(new.len() >= 3, "{new:?}");
            for _ in 0..3 {
                let mut decoder = decoders.lend(wire);
                assert_eq!(read(&mut decoder, &bytes), new);
                decoders.give_back(decoder);
            }
            assert!(decoders.spare.iter().filter(|decoder| decoder.wire() == wire).count() == 1);
        }
    }
}
