//! The frames a client sends, made by hand: masked, one write each, no codec.
//!
//! Contract: every function appends whole frames to a buffer. The mask is constant: it protects proxies from hostile
//! pages, and a generator has neither; a server must unmask all the same.

use crate::stamp::{STAMP_BYTES, Stamp};

const MASK: [u8; 4] = [0x5a, 0x13, 0xc7, 0x2e];
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xa;

/// A message as it is sent, in which only the stamp changes from time to time.
#[derive(Debug)]
pub(crate) struct PublishFrame {
    bytes: Vec<u8>,
    stamp_at: usize,
    /// Of the stamp's first four bytes, and so on; zeros where nothing is masked.
    mask: [u8; 4],
}

impl PublishFrame {
    /// A masked frame around `text`, whose stamp stands at `stamp_at`.
    pub(crate) fn text(text: &[u8], stamp_at: usize) -> Self {
        let mut bytes = Vec::new();
        push_text(&mut bytes, text);
        let mut mask = MASK;
        mask.rotate_left(stamp_at % 4);
        Self { stamp_at: bytes.len() - text.len() + stamp_at, bytes, mask }
    }

    /// These bytes, whose stamp stands at `stamp_at`.
    pub(crate) fn plain(bytes: Vec<u8>, stamp_at: usize) -> Self {
        Self { bytes, stamp_at, mask: [0; 4] }
    }

    /// Appends the frame with this stamp.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, stamp: Stamp) {
        let place = &mut self.bytes[self.stamp_at..][..STAMP_BYTES];
        for ((to, from), mask) in place.iter_mut().zip(stamp.to_bytes()).zip(self.mask.iter().cycle()) {
            *to = from ^ mask;
        }
        out.extend_from_slice(&self.bytes);
    }

    /// Bytes of one frame.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Appends a text.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    push_frame(out, TEXT, text);
}

/// Appends the answer to a ping; `payload` is at most 125 bytes.
pub(crate) fn push_pong(out: &mut Vec<u8>, payload: &[u8]) {
    push_frame(out, PONG, payload);
}

/// Appends a close frame with a code, or without one.
pub(crate) fn push_close(out: &mut Vec<u8>, code: Option<u16>) {
    match code {
        Some(code) => push_frame(out, CLOSE, &code.to_be_bytes()),
        None => push_frame(out, CLOSE, &[]),
    }
}

fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(FINAL | opcode);
    match payload.len() {
        // Each arm's range fits the cast.
        short @ 0..=125 => out.push(MASKED | short as u8),
        medium @ 126..=0xffff => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Payload;
    use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket};

    /// Reads frames with a codec we did not write.
    fn decode(bytes: Vec<u8>) -> Message {
        let stream = std::io::Cursor::new(bytes);
        WebSocket::from_raw_socket(stream, Role::Server, None).read().unwrap()
    }

    #[test]
    fn a_server_reads_what_we_publish() {
        for size in [64, 125, 126, 65_535, 65_536] {
            let payload = Payload::new(size);
            let mut frame = PublishFrame::text(payload.as_bytes(), payload.stamp_at());
            let mut out = Vec::new();
            frame.push(&mut out, Stamp { intended_ns: 7, topic: 0, seq: 1 });
            out.clear();
            frame.push(&mut out, Stamp { intended_ns: 0xabc, topic: 5, seq: 2 });
            assert_eq!(out.len(), frame.len());
            let text = decode(out).into_text().unwrap();
            assert_eq!(text.len(), size);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["stamp"], "@@T0000000000000abc0000000500000002");
        }
    }

    #[test]
    fn a_server_reads_our_pong_and_our_close() {
        let mut out = Vec::new();
        push_pong(&mut out, b"are you there");
        assert_eq!(decode(out).into_data(), "are you there");
        let mut out = Vec::new();
        push_close(&mut out, Some(1000));
        let Message::Close(Some(close)) = decode(out) else { panic!("not a close frame") };
        assert_eq!(u16::from(close.code), 1000);
        let mut out = Vec::new();
        push_close(&mut out, None);
        assert_eq!(decode(out), Message::Close(None));
    }
}
