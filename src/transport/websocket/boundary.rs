//! Where a client's bytes stand: between two messages, or within one.
//!
//! It reads headers and skips payloads; whether they are right is the decoder's business. What it is for: a
//! decoder lives only while a message is half-read, and tungstenite does not tell when it is not.

const FIN: u8 = 0x80;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    /// The header being read.
    header: [u8; 14],
    header_len: usize,
    /// Bytes of the payload still to come.
    payload: u64,
    /// True exactly when a message has begun and its last frame has not.
    is_fragmented: bool,
}

impl Boundary {
    /// Takes note of bytes as they arrive.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len() as u64);
                self.payload -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            self.header[self.header_len] = bytes[0];
            self.header_len += 1;
            bytes = &bytes[1..];
            if self.header_len >= 2 && self.header_len == self.header_size() {
                self.payload = self.payload_size();
                self.header_len = 0;
                let first = self.header[0];
                if first & CONTROL == 0 {
                    self.is_fragmented = first & FIN == 0;
                }
            }
        }
    }

    /// True exactly when the bytes so far end with a message.
    pub(super) fn is_between_messages(&self) -> bool {
        self.header_len == 0 && self.payload == 0 && !self.is_fragmented
    }

    fn header_size(&self) -> usize {
        let length = match self.header[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & MASKED == 0 { 0 } else { 4 }
    }

    fn payload_size(&self) -> u64 {
        let [_, second, extended @ ..] = self.header;
        match second & !MASKED {
            126 => u64::from(u16::from_be_bytes([extended[0], extended[1]])),
            127 => extended[..8].iter().fold(0, |size, byte| size << 8 | u64::from(*byte)),
            size => u64::from(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame of so many zero bytes.
    fn frame(first: u8, len: usize) -> Vec<u8> {
        let mut out = vec![first];
        match len {
            0..=125 => out.push(MASKED | len as u8),
            126..=65_535 => {
                out.push(MASKED | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                out.push(MASKED | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.resize(out.len() + 4 + len, 0);
        out
    }

    #[test]
    fn only_the_end_of_a_message_is_between_messages() {
        for message in [
            vec![frame(0x81, 0)],
            vec![frame(0x82, 125)],
            vec![frame(0x81, 126)],
            vec![frame(0x82, 70_000)],
            vec![frame(0x01, 3), frame(0x89, 2), frame(0x00, 0), frame(0x80, 5)],
        ] {
            let bytes = message.concat();
            for step in [1, 3, bytes.len()] {
                let mut boundary = Boundary::default();
                let mut passed = 0;
                for piece in bytes.chunks(step) {
                    boundary.pass(piece);
                    passed += piece.len();
                    assert_eq!(
                        boundary.is_between_messages(),
                        passed == bytes.len(),
                        "{passed} of {}",
                        bytes.len()
                    );
                }
            }
        }
    }
}
