//! Frames of the length-prefixed protocol, the same in both directions.
//!
//! ```text
//!  u32 length, big-endian, of what follows   u8 kind   body
//!
//!  J  one JSON operation, answer or event      P  u16 topic's length, topic, payload
//!  D  u32 alias, u64 sequence, payload         H  nothing: a sign of life
//!  S  the same as D, and a snapshot
//! ```

use crate::ids::TopicId;
use crate::protocol::close::CloseCode;
use serde_json::json;

/// Kind of JSON.
pub const JSON: u8 = b'J';
/// Kind of a message.
pub const DATA: u8 = b'D';
/// Kind of a message that a snapshot begins with.
pub const SNAPSHOT: u8 = b'S';
/// Kind of a message to be published.
pub const PUBLISH: u8 = b'P';
/// Kind of a sign of life.
pub const HEARTBEAT: u8 = b'H';

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of a message's alias and sequence.
const PLACE_BYTES: usize = 12;

/// Appends a frame with a message; its topic's id is the alias, the same for everybody.
pub fn put_message(out: &mut Vec<u8>, kind: u8, alias: TopicId, seq: u64, payload: &[u8]) {
    put_header(out, kind, PLACE_BYTES + payload.len());
    out.extend_from_slice(&alias.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The frames of bytes that hold whole ones, each with its length.
pub fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        let (frame, rest) = bytes.split_at_checked(LENGTH_BYTES + length)?;
        bytes = rest;
        Some(frame)
    })
}

/// One whole frame.
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(LENGTH_BYTES + 1 + body.len());
    put_header(&mut out, kind, body.len());
    out.extend_from_slice(body);
    out
}

/// The last frame: a connection has no close of its own here.
pub fn close(code: CloseCode, reason: &str) -> Vec<u8> {
    let event = json!({"event": "close", "code": code.0, "reason": reason});
    frame(JSON, event.to_string().as_bytes())
}

fn put_header(out: &mut Vec<u8>, kind: u8, body_bytes: usize) {
    // A message has at most as many bytes as a setting can say; none is near 4 GiB.
    let length = u32::try_from(1 + body_bytes).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_what_the_page_says() {
        assert_eq!(frame(HEARTBEAT, b""), b"\0\0\0\x01H");
        assert_eq!(frame(JSON, b"{}"), b"\0\0\0\x03J{}");
        let mut out = Vec::new();
        put_message(&mut out, DATA, 7, 258, b"hi");
        assert_eq!(out, b"\0\0\0\x0FD\0\0\0\x07\0\0\0\0\0\0\x01\x02hi");
        assert_eq!(
            &close(CloseCode::RESTART, "restart")[5..],
            br#"{"code":1012,"event":"close","reason":"restart"}"#
        );
    }
}
