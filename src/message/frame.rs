//! WebSocket frames as a server sends them (RFC 6455, 5.2): whole, final, unmasked.
//!
//! ```text
//!  0x80 | opcode   length: 0-125, or 126 + u16, or 127 + u64 (big-endian)   payload
//! ```

use crate::protocol::close::CloseCode;

/// Opcode of a text frame.
pub const TEXT: u8 = 0x1;
/// Opcode of a binary frame.
pub const BINARY: u8 = 0x2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a ping.
pub const PING: u8 = 0x9;
/// Opcode of a pong.
pub const PONG: u8 = 0xA;

/// The longest payload of a control frame, bytes.
pub const CONTROL_PAYLOAD_MAX: usize = 125;

/// The longest reason of a close frame, bytes.
pub const REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// Appends the header of a final frame with a payload of `len` bytes.
pub fn put_header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.push(0x80 | opcode);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// One whole frame.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    put_header(&mut out, opcode, payload.len());
    out.extend_from_slice(payload);
    out
}

/// A close frame; a reason over 123 bytes is cut at a character.
pub fn close(code: CloseCode, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.0.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame(CLOSE, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(frame(TEXT, b"hi"), [0x81, 2, b'h', b'i']);
        assert_eq!(frame(BINARY, &[0; 125])[..2], [0x82, 125]);
        assert_eq!(frame(TEXT, &[0; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(frame(TEXT, &[0; 65_535])[..4], [0x81, 126, 0xFF, 0xFF]);
        assert_eq!(frame(TEXT, &[0; 65_536])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let frame = close(CloseCode::SLOW_CONSUMER, &"é".repeat(100));
        assert!(frame.len() <= 2 + CONTROL_PAYLOAD_MAX);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
