//! The stamp a message carries, and how it is found again in any envelope.
//!
//! Contract: a stamp is `@@T`, 16 lower-case hex digits of nanoseconds, 8 of the topic, 8 of the sequence: 35 bytes.
//! [`Payload`] makes JSON of an exact size around one; [`Scanner`] finds every stamp in a stream of bytes however it was cut into pieces.
//!
//! 1. A scanner keeps no bytes, only how far the current candidate matched and its value so far.
//! 2. A stamp never spans two messages: the caller resets the scanner where a message begins.

use std::io::BufRead;

const MARKER: &[u8; 3] = b"@@T";
const NS_DIGITS: usize = 16;
const TOPIC_DIGITS: usize = 8;
const SEQ_DIGITS: usize = 8;
/// Bytes of a whole stamp.
pub(crate) const STAMP_BYTES: usize = MARKER.len() + NS_DIGITS + TOPIC_DIGITS + SEQ_DIGITS;

const HEAD: &[u8] = br#"{"stamp":""#;
const MIDDLE: &[u8] = br#"","pad":""#;
const END: &[u8] = br#""}"#;
const _: () = assert!(
    HEAD.len() + STAMP_BYTES + MIDDLE.len() + END.len() <= crate::limits::PAYLOAD_BYTES_MIN,
    "the smallest payload must hold the stamp and the JSON around it"
);

/// When a message was meant to be sent, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The intended time on the run's clock, in nanoseconds.
    pub(crate) intended_ns: u64,
    /// The number of its topic in the run.
    pub(crate) topic: u32,
    /// Counted from 0 for the first message of its topic.
    pub(crate) seq: u32,
}

impl Stamp {
    /// The bytes as they travel.
    pub(crate) fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut out = [0; STAMP_BYTES];
        out[..3].copy_from_slice(MARKER);
        put_hex(&mut out[3..19], self.intended_ns);
        put_hex(&mut out[19..27], u64::from(self.topic));
        put_hex(&mut out[27..], u64::from(self.seq));
        out
    }

    fn parse(bytes: &[u8; STAMP_BYTES]) -> Option<Self> {
        if bytes[..3] != *MARKER {
            return None;
        }
        let number = |digits: &[u8]| digits.iter().try_fold(0u64, |n, &b| Some(n << 4 | digit(b)?));
        Some(Self {
            intended_ns: number(&bytes[3..19])?,
            topic: u32::try_from(number(&bytes[19..27])?).ok()?,
            seq: u32::try_from(number(&bytes[27..])?).ok()?,
        })
    }
}

/// JSON of an exact size with a place for a stamp.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: Vec<u8>,
    stamp_at: usize,
}

impl Payload {
    /// `size` bytes, at least [`crate::limits::PAYLOAD_BYTES_MIN`] (smaller sizes are taken as that).
    pub(crate) fn new(size: usize) -> Self {
        let size = size.max(crate::limits::PAYLOAD_BYTES_MIN);
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(HEAD);
        bytes.extend_from_slice(&Stamp { intended_ns: 0, topic: 0, seq: 0 }.to_bytes());
        bytes.extend_from_slice(MIDDLE);
        bytes.resize(size - END.len(), b'x');
        bytes.extend_from_slice(END);
        Self { bytes, stamp_at: HEAD.len() }
    }

    /// `json` with a stamp in front of its first member; what is no object becomes the member `data` of one.
    pub(crate) fn around(json: &str) -> Self {
        let members = json.trim().strip_prefix('{').map(str::trim_start);
        let rest = match members {
            Some(members) if members.starts_with('}') => format!("\"{members}"),
            Some(members) => format!("\",{members}"),
            None => format!("\",\"data\":{json}}}"),
        };
        let stamp = Stamp { intended_ns: 0, topic: 0, seq: 0 }.to_bytes();
        Self { bytes: [HEAD, &stamp, rest.as_bytes()].concat(), stamp_at: HEAD.len() }
    }

    /// Where the stamp stands.
    pub(crate) fn stamp_at(&self) -> usize {
        self.stamp_at
    }

    /// The JSON, with a stamp of zeros.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Finds stamps in a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Bytes of the candidate that matched so far; 0 when there is none.
    matched: u8,
    intended_ns: u64,
    topic: u32,
    seq: u32,
}

impl Scanner {
    /// Forgets a candidate: a new message begins.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Looks through the next piece and calls `found` for every stamp that ends in it.
    pub(crate) fn scan(&mut self, mut piece: &[u8], found: &mut impl FnMut(Stamp)) {
        while !piece.is_empty() {
            if self.matched == 0 {
                let Some(at) = find_at_sign(piece) else { return };
                piece = &piece[at..];
                // Nearly every stamp lies whole in one piece; stepping costs three times as much.
                if let Some(stamp) = piece.first_chunk().and_then(Stamp::parse) {
                    found(stamp);
                    piece = &piece[STAMP_BYTES..];
                    continue;
                }
            }
            if let Some(stamp) = self.step(piece[0]) {
                found(stamp);
            }
            piece = &piece[1..];
        }
    }

    fn step(&mut self, byte: u8) -> Option<Stamp> {
        let matched = usize::from(self.matched);
        if let Some(&wanted) = MARKER.get(matched) {
            self.matched = match byte {
                b if b == wanted => self.matched + 1,
                // `@@@T`: the last two still begin a marker.
                b'@' => self.matched.clamp(1, 2),
                _ => 0,
            };
            return None;
        }
        let Some(value) = digit(byte) else {
            self.reset();
            self.matched = u8::from(byte == b'@');
            return None;
        };
        if matched < MARKER.len() + NS_DIGITS {
            self.intended_ns = self.intended_ns << 4 | value;
        } else if matched < MARKER.len() + NS_DIGITS + TOPIC_DIGITS {
            // A digit is below 16: nothing is cut off.
            self.topic = self.topic << 4 | value as u32;
        } else {
            self.seq = self.seq << 4 | value as u32;
        }
        self.matched += 1;
        if usize::from(self.matched) < STAMP_BYTES {
            return None;
        }
        let stamp = Stamp { intended_ns: self.intended_ns, topic: self.topic, seq: self.seq };
        self.reset();
        Some(stamp)
    }
}

fn find_at_sign(bytes: &[u8]) -> Option<usize> {
    // The standard library's own memchr, which it offers only this way: a plain `position` looks at single bytes, and
    // with large payloads the padding would cost more than the socket.
    let mut rest = bytes;
    let skipped = rest.skip_until(b'@').ok()?;
    (skipped > 0 && bytes[skipped - 1] == b'@').then(|| skipped - 1)
}

fn digit(byte: u8) -> Option<u64> {
    match byte {
        b'0'..=b'9' => Some(u64::from(byte - b'0')),
        b'a'..=b'f' => Some(u64::from(byte - b'a' + 10)),
        _ => None,
    }
}

fn put_hex(out: &mut [u8], mut value: u64) {
    for place in out.iter_mut().rev() {
        *place = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const STAMP: Stamp =
        Stamp { intended_ns: 0x0123_4567_89ab_cdef, topic: 0x1a2b, seq: 0xfeed_0042 };

    fn scan_in_pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Stamp> {
        let mut scanner = Scanner::default();
        let mut stamps = Vec::new();
        let mut from = 0;
        for &to in cuts.iter().chain([&bytes.len()]) {
            scanner.scan(&bytes[from..to], &mut |stamp| stamps.push(stamp));
            from = to;
        }
        stamps
    }

    #[test]
    fn a_payload_is_json_of_the_exact_size_with_the_stamp_in_its_place() {
        for size in [64, 65, 128, 1_000, 70_000] {
            let payload = Payload::new(size);
            assert_eq!(payload.as_bytes().len(), size);
            let mut bytes = payload.as_bytes().to_vec();
            bytes[payload.stamp_at()..][..STAMP_BYTES].copy_from_slice(&STAMP.to_bytes());
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(json["stamp"], "@@T0123456789abcdef00001a2bfeed0042");
            assert_eq!(scan_in_pieces(&bytes, &[]), [STAMP]);
        }
    }

    #[test]
    fn any_json_takes_a_stamp_and_stays_json() {
        for (json, member) in
            [("{}", None), ("{ \"a\":1}", Some("a")), ("[1]", Some("data")), ("null", Some("data"))]
        {
            let payload = Payload::around(json);
            let parsed: serde_json::Value = serde_json::from_slice(payload.as_bytes()).unwrap();
            assert!(member.is_none_or(|member| parsed.get(member).is_some()), "{parsed}");
            assert_eq!(payload.as_bytes()[payload.stamp_at()..][..3], *MARKER);
            assert!(parsed["stamp"].is_string());
        }
    }

    #[test]
    fn a_stamp_is_found_wherever_the_stream_is_cut() {
        let mut bytes = b"{\"data\":\"mail@@home @@@T@@@".to_vec();
        bytes.extend_from_slice(&STAMP.to_bytes());
        bytes.extend_from_slice(b"@@T0123@");
        bytes.extend_from_slice(&STAMP.to_bytes());
        bytes.extend_from_slice(b"@@T");
        for a in 0..=bytes.len() {
            for b in a..=bytes.len() {
                assert_eq!(scan_in_pieces(&bytes, &[a, b]), [STAMP, STAMP], "cut at {a} and {b}");
            }
        }
        let every_byte: Vec<usize> = (1..bytes.len()).collect();
        assert_eq!(scan_in_pieces(&bytes, &every_byte), [STAMP, STAMP]);
    }

    #[test]
    fn what_only_resembles_a_stamp_is_not_one() {
        for text in [
            "@@T0123456789ABCDEF00001A2BFEED0042",
            "@@T0123456789abcdef00001a2bfeed004",
            "@T0123456789abcdef00001a2bfeed0042",
            "",
        ] {
            assert_eq!(scan_in_pieces(text.as_bytes(), &[]), [], "{text}");
        }
    }

    #[test]
    fn a_reset_forgets_half_a_stamp() {
        let bytes = STAMP.to_bytes();
        let mut scanner = Scanner::default();
        scanner.scan(&bytes[..20], &mut |_| unreachable!("not whole yet"));
        scanner.reset();
        scanner.scan(&bytes[20..], &mut |_| unreachable!("a message ended between"));
    }
}
