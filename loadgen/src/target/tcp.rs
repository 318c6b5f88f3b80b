//! Stentor's own length-prefixed TCP, as far as subscribing and publishing need it.
//!
//! Contract: pure. [`Walker::feed`] takes a server's stream in any pieces and tells what the WebSocket walker tells; a sign of
//! life is told as a ping, whose answer is another. Of what the server says on its own (`J`) only a close and an error have
//! names; the rest is a message without a stamp.
//!
//! ```text
//!  u32 length, big-endian, of what follows   u8 kind   body
//! ```

use serde_json::{Value, json};

use super::wire::Wire;
use super::{Answer, Call};
use crate::frame::PublishFrame;
use crate::limits::SAID_BYTES_MAX;
use crate::stamp::{Payload, Scanner};
use crate::walker::{Event, Violation};

/// Kind of JSON.
pub(crate) const JSON: u8 = b'J';
/// Kinds of a message, and of one that a snapshot begins with.
pub(crate) const DATA: u8 = b'D';
pub(crate) const SNAPSHOT: u8 = b'S';
const PUBLISH: u8 = b'P';
/// Kind of a sign of life.
pub(crate) const HEARTBEAT: u8 = b'H';

const HEADER_BYTES: usize = 5;

pub(super) fn subscriber(topics: &[String]) -> Call {
    let mut hello = Vec::new();
    push_frame(&mut hello, JSON, &[json!({ "op": "subscribe", "args": topics }).to_string().as_bytes()]);
    Call { hello, answer: Some(Answer::to_operations()), ..Call::plain(Wire::Tcp) }
}

pub(super) fn message(topic: &str, payload: &Payload) -> PublishFrame {
    let mut bytes = Vec::new();
    // The command line allows no topic of more than 200 bytes.
    let length = (topic.len() as u16).to_be_bytes();
    push_frame(&mut bytes, PUBLISH, &[&length, topic.as_bytes(), payload.as_bytes()]);
    let stamp_at = bytes.len() - payload.as_bytes().len() + payload.stamp_at();
    PublishFrame::plain(bytes, stamp_at)
}

/// Appends a frame of these parts.
pub(crate) fn push_frame(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    // No payload of ours is near 4 GiB.
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.push(kind);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The state of one connection between two reads.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    header: [u8; HEADER_BYTES],
    header_bytes: u8,
    /// Bytes of the current frame that are still to come; 0 between frames.
    remaining: u32,
    /// True exactly when the current message has held a stamp.
    stamped: bool,
    /// True exactly when the server has closed.
    closed: bool,
    scanner: Scanner,
    /// The beginning of what the server says on its own; allocated by the first of that.
    said: Vec<u8>,
}

impl Walker {
    /// Takes the next bytes, all of them, unless they break the protocol.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        while !bytes.is_empty() && !self.closed {
            if usize::from(self.header_bytes) < HEADER_BYTES {
                bytes = self.take_header(bytes)?;
            } else {
                let take = usize::try_from(self.remaining).map_or(bytes.len(), |n| n.min(bytes.len()));
                let (piece, rest) = bytes.split_at(take);
                bytes = rest;
                // At most `remaining`, which is a u32.
                self.remaining -= take as u32;
                self.take_body(piece, on);
            }
            if usize::from(self.header_bytes) == HEADER_BYTES && self.remaining == 0 {
                self.end_frame(on);
            }
        }
        Ok(())
    }

    /// Takes what belongs to the header, and gives the rest.
    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Violation> {
        let from = usize::from(self.header_bytes);
        let (piece, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - from));
        self.header[from..from + piece.len()].copy_from_slice(piece);
        self.header_bytes += piece.len() as u8;
        if usize::from(self.header_bytes) == HEADER_BYTES {
            let [a, b, c, d, kind] = self.header;
            if !matches!(kind, JSON | DATA | SNAPSHOT | HEARTBEAT) {
                return Err(Violation::Kind(kind));
            }
            self.remaining = u32::from_be_bytes([a, b, c, d]).checked_sub(1).ok_or(Violation::Length)?;
            self.stamped = false;
            self.scanner.reset();
            self.said.clear();
        }
        Ok(rest)
    }

    fn take_body(&mut self, piece: &[u8], on: &mut impl FnMut(Event<'_>)) {
        match self.header[HEADER_BYTES - 1] {
            DATA | SNAPSHOT => {
                // Alias and sequence are looked through as well: a stamp begins inside of JSON, so none begins in them.
                let stamped = &mut self.stamped;
                self.scanner.scan(piece, &mut |stamp| {
                    *stamped = true;
                    on(Event::Stamp(stamp));
                });
            }
            _ => {
                let room = SAID_BYTES_MAX.saturating_sub(self.said.len());
                self.said.extend_from_slice(&piece[..piece.len().min(room)]);
            }
        }
    }

    fn end_frame(&mut self, on: &mut impl FnMut(Event<'_>)) {
        self.header_bytes = 0;
        match self.header[HEADER_BYTES - 1] {
            HEARTBEAT => on(Event::Ping(&[])),
            JSON => self.closed = tell(&self.said, on),
            _ if !self.stamped => on(Event::Unstamped),
            _ => {}
        }
    }
}

/// Tells what the server said on its own; true when it was the last.
pub(crate) fn tell(said: &[u8], on: &mut impl FnMut(Event<'_>)) -> bool {
    // What is longer than what is kept of it is an ack.
    let said: Value = serde_json::from_slice(said).unwrap_or_default();
    let text = |name: &str| said[name].as_str().unwrap_or_default();
    match text("event") {
        "close" => {
            let code = said["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            on(Event::Close { code, reason: text("reason") });
            true
        }
        "error" => {
            on(Event::Refused { said: &format!("{}: {}", text("code"), text("message")) });
            false
        }
        _ => {
            on(Event::Unstamped);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;
    use crate::stamp::tests::STAMP;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_frame(&mut out, kind, &[body]);
        out
    }

    fn data(kind: u8, payload: &[u8]) -> Vec<u8> {
        frame(kind, &[&[0, 0, 0, 7], &258_u64.to_be_bytes()[..], payload].concat())
    }

    fn events(wire: &[u8], step: usize) -> Result<Vec<String>, Violation> {
        let (mut walker, mut events) = (Walker::default(), Vec::new());
        for piece in wire.chunks(step) {
            walker.feed(piece, &mut |event| events.push(format!("{event:?}")))?;
        }
        Ok(events)
    }

    #[test]
    fn a_stream_is_read_wherever_it_is_cut() {
        let stamped = [b"{\"stamp\":\"", &STAMP.to_bytes()[..], b"\"}"].concat();
        let long = format!("{{\"event\":\"ack\",\"ok\":[{}],\"err\":[]}}", "\"t\",".repeat(SAID_BYTES_MAX));
        let wire = [
            frame(JSON, long.as_bytes()),
            data(DATA, &stamped),
            frame(HEARTBEAT, b""),
            data(SNAPSHOT, &stamped),
            data(DATA, b""),
            frame(JSON, br#"{"event":"error","code":"bad_topic","message":"no"}"#),
            frame(JSON, br#"{"event":"gap","topic":"t"}"#),
            frame(JSON, br#"{"event":"close","code":4001,"reason":"slow"}"#),
            data(DATA, &stamped),
        ]
        .concat();
        let expected = [
            Event::Unstamped,
            Event::Stamp(STAMP),
            Event::Ping(&[]),
            Event::Stamp(STAMP),
            Event::Unstamped,
            Event::Refused { said: "bad_topic: no" },
            Event::Unstamped,
            Event::Close { code: Some(4001), reason: "slow" },
        ]
        .map(|event| format!("{event:?}"));
        for step in [1, 2, 3, 7, 100, wire.len()] {
            assert_eq!(events(&wire, step).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        for (bytes, violation) in [
            (&b"HTTP/1.1 400"[..], Violation::Kind(b'/')),
            (&[0, 0, 0, 2, b'P', 0], Violation::Kind(PUBLISH)),
            (&[0, 0, 0, 0, HEARTBEAT], Violation::Length),
        ] {
            assert_eq!(events(bytes, bytes.len()), Err(violation), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_said_is_what_the_page_says() {
        let call = subscriber(&["a".into(), "b\"".into()]);
        let said = br#"{"args":["a","b\""],"op":"subscribe"}"#;
        assert_eq!(call.hello, [&[0, 0, 0, 1 + said.len() as u8, JSON], &said[..]].concat());
        let mut out = Vec::new();
        let payload = Payload::new(64);
        message("a.b", &payload).push(&mut out, Stamp { seq: 7, ..STAMP });
        assert_eq!(out[..10], *b"\0\0\0\x46P\0\x03a.b");
        assert!(out.len() == 10 + 64 && out[10..].starts_with(b"{\"stamp\":\"@@T"));
    }
}
