//! Walks the WebSocket frames of one server connection in whatever pieces they arrive, and says what was in them.
//!
//! Contract: [`Walker::feed`] takes the next bytes of the stream and calls back for each stamp, each data message that held
//! none, each ping and the close. It keeps no payload except that of a control frame (at most 125 bytes).
//!
//! 1. A frame header may be split at any byte, and so may a stamp, also across the fragments of one message.
//! 2. Control frames between fragments do not disturb the message.
//! 3. After a close nothing is reported any more.
//! 4. An error is final: the framing is lost.

use crate::stamp::{Scanner, Stamp};

/// What a server sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A stamp, as soon as its last digit was there.
    Stamp(Stamp),
    /// A data message ended and held no stamp (an event of the server, somebody else's message).
    Unstamped,
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// To be answered with a close; `code` is absent when the frame was empty.
    Close {
        /// As RFC 6455, or an application's own.
        code: Option<u16>,
        /// May be empty.
        reason: &'a str,
    },
    /// A request was not carried out; the connection stays.
    Refused {
        /// In the server's words, a status or a code first.
        said: &'a str,
    },
}

/// What a server must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a masked frame from the server")]
    Masked,
    #[error("reserved bits without an extension")]
    ReservedBits,
    #[error("unknown opcode {0}")]
    Opcode(u8),
    #[error("a control frame that is fragmented or longer than 125 bytes")]
    Control,
    #[error("a continuation of nothing, or a new message inside another")]
    Fragmentation,
    #[error("a frame length that none has")]
    Length,
    #[error("a close frame of one byte")]
    Close,
    #[error("a line that does not belong to the protocol")]
    Line,
    #[error("a frame of the unknown kind {0:#04x}")]
    Kind(u8),
}

const CONTINUATION: u8 = 0x0;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// What the next byte belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// To a frame's header.
    Header,
    /// To the payload of a data frame, of which `remaining` bytes are still to come.
    Data { remaining: u64, last: bool },
    /// To the payload of a control frame, which is collected.
    Control { opcode: u8, remaining: u8 },
    /// To nothing: the server has closed.
    Closed,
}

/// The state of one connection between two reads.
#[derive(Debug)]
pub(crate) struct Walker {
    place: Place,
    header: [u8; 10],
    header_bytes: u8,
    /// True exactly when a data message has begun and its final frame has not.
    in_message: bool,
    /// True exactly when the current message has held a stamp.
    stamped: bool,
    scanner: Scanner,
    /// Allocated by the first control frame that is not empty.
    control: Vec<u8>,
}

impl Default for Walker {
    fn default() -> Self {
        Self {
            place: Place::Header,
            header: [0; 10],
            header_bytes: 0,
            in_message: false,
            stamped: false,
            scanner: Scanner::default(),
            control: Vec::new(),
        }
    }
}

impl Walker {
    /// Takes the next bytes, all of them, unless they break the protocol.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        while !bytes.is_empty() {
            match self.place {
                Place::Header => {
                    self.header[usize::from(self.header_bytes)] = bytes[0];
                    self.header_bytes += 1;
                    bytes = &bytes[1..];
                    if let Some(length) = self.whole_header() {
                        self.header_bytes = 0;
                        self.begin_frame(length)?;
                        self.end_frame_if_complete(on)?;
                    }
                }
                Place::Data { remaining, last } => {
                    let take = usize::try_from(remaining).map_or(bytes.len(), |n| n.min(bytes.len()));
                    let (piece, rest) = bytes.split_at(take);
                    bytes = rest;
                    let stamped = &mut self.stamped;
                    self.scanner.scan(piece, &mut |stamp| {
                        *stamped = true;
                        on(Event::Stamp(stamp));
                    });
                    self.place = Place::Data { remaining: remaining - take as u64, last };
                    self.end_frame_if_complete(on)?;
                }
                Place::Control { opcode, remaining } => {
                    let (piece, rest) = bytes.split_at(usize::from(remaining).min(bytes.len()));
                    bytes = rest;
                    self.control.extend_from_slice(piece);
                    // A piece is at most `remaining`, which is a u8.
                    self.place = Place::Control { opcode, remaining: remaining - piece.len() as u8 };
                    self.end_frame_if_complete(on)?;
                }
                Place::Closed => return Ok(()),
            }
        }
        Ok(())
    }

    /// The payload's length, once the header is whole.
    fn whole_header(&self) -> Option<u64> {
        let have = &self.header[..usize::from(self.header_bytes)];
        match (have.get(1)? & 0x7f, have) {
            (126, [_, _, a, b]) => Some(u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [_, _, length @ ..]) => Some(u64::from_be_bytes(length.try_into().ok()?)),
            (126, _) => None,
            (short, _) => Some(u64::from(short)),
        }
    }

    fn begin_frame(&mut self, length: u64) -> Result<(), Violation> {
        let [first, second, ..] = self.header;
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBits);
        }
        if second & 0x80 != 0 {
            return Err(Violation::Masked);
        }
        if length > i64::MAX as u64 {
            return Err(Violation::Length);
        }
        match opcode {
            CONTINUATION..=BINARY => {
                if self.in_message == (opcode != CONTINUATION) {
                    return Err(Violation::Fragmentation);
                }
                if opcode != CONTINUATION {
                    self.scanner.reset();
                    self.stamped = false;
                }
                self.in_message = !last;
                self.place = Place::Data { remaining: length, last };
            }
            CLOSE | PING | PONG => {
                let remaining = match u8::try_from(length) {
                    Ok(short) if short <= 125 && last => short,
                    _ => return Err(Violation::Control),
                };
                self.control.clear();
                self.place = Place::Control { opcode, remaining };
            }
            other => return Err(Violation::Opcode(other)),
        }
        Ok(())
    }

    fn end_frame_if_complete(&mut self, on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        match self.place {
            Place::Data { remaining: 0, last } => {
                self.place = Place::Header;
                if last && !self.stamped {
                    on(Event::Unstamped);
                }
            }
            Place::Control { opcode, remaining: 0 } => {
                self.place = Place::Header;
                match (opcode, self.control.as_slice()) {
                    (PING, payload) => on(Event::Ping(payload)),
                    (CLOSE, payload) => {
                        self.place = Place::Closed;
                        let (code, reason) = match payload {
                            [] => (None, &[][..]),
                            [_] => return Err(Violation::Close),
                            [a, b, reason @ ..] => (Some(u16::from_be_bytes([*a, *b])), reason),
                        };
                        on(Event::Close { code, reason: &String::from_utf8_lossy(reason) });
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
