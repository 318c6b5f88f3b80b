//! Length-prefixed TCP, the reading side. Frames that go out are made in `message`.
//!
//! Contract: however the bytes are cut, the same frames come out. What is wrong within a frame is told and the next is
//! read; a length over the limit ends it, since nothing tells where the next frame begins.

use super::inbound::Inbound;
use super::names::Names;
use crate::message::tcp::{HEARTBEAT, JSON, LENGTH_BYTES, PUBLISH};
use crate::protocol::close::Reason;
use bytes::{Buf, Bytes, BytesMut};

/// Whether it is known where the next frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Kept,
    /// No; that has been told.
    Lost,
    /// No; and nothing more will come out.
    Finished,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Decoder {
    bytes: BytesMut,
    length_max: usize,
    framing: Framing,
    names: Names,
}

impl Decoder {
    pub(crate) fn new(length_max: usize) -> Self {
        Self { bytes: BytesMut::new(), length_max, framing: Framing::Kept, names: Names::default() }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.framing == Framing::Kept {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.framing == Framing::Kept
    }

    pub(crate) fn next(&mut self) -> Option<Inbound> {
        if self.framing == Framing::Lost {
            self.framing = Framing::Finished;
            let (reason, text) = (Reason::TooBig, "frame too large".to_owned());
            return Some(Inbound::Violation(reason, reason.code(), text));
        }
        let length = u32::from_be_bytes(*self.bytes.first_chunk()?) as usize;
        if length > self.length_max {
            self.framing = Framing::Lost;
            self.bytes.clear();
            let text =
                format!("a frame of {length} bytes is over {} (limits.message_bytes)", self.length_max);
            return Some(Inbound::Malformed("too_large", text));
        }
        if self.bytes.len() < LENGTH_BYTES + length {
            return None;
        }
        self.bytes.advance(LENGTH_BYTES);
        Some(understand(self.bytes.split_to(length).freeze(), &mut self.names))
    }
}

/// What a frame says that came whole, without its length.
pub(super) fn understand(mut frame: Bytes, names: &mut Names) -> Inbound {
    let malformed = |text: &str| Inbound::Malformed("bad_request", text.to_owned());
    if frame.is_empty() {
        return malformed("a frame of no bytes has no kind");
    }
    match frame.get_u8() {
        JSON if std::str::from_utf8(&frame).is_err() => malformed("J: the operation is not UTF-8"),
        JSON => Inbound::Text(frame),
        PUBLISH => publish(frame, names),
        HEARTBEAT => Inbound::Pong,
        kind => malformed(&format!("kind {kind:#04x} is none of J, P and H")),
    }
}

fn publish(mut body: Bytes, names: &mut Names) -> Inbound {
    let cut_short = || Inbound::Malformed("bad_request", "P: the topic is cut short".to_owned());
    let Ok(length) = body.try_get_u16() else { return cut_short() };
    if body.len() < usize::from(length) {
        return cut_short();
    }
    let name = body.split_to(usize::from(length));
    let name = std::str::from_utf8(&name).map_err(|_| "P: the topic is not UTF-8".to_owned());
    match name.and_then(|name| names.name(name).map_err(|error| error.to_string())) {
        Ok(topic) => Inbound::Publish(topic, body),
        Err(text) => Inbound::Malformed("bad_topic", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tcp::frame;
    use crate::message::wire::Wire;
    use crate::properties::frames::decoded;
    use crate::protocol::topic::TopicName;

    fn all(bytes: &[u8], step: usize) -> Vec<Inbound> {
        decoded(Wire::Tcp, bytes, &[step])
    }

    fn is_told(inbound: &Inbound, what: &str) -> bool {
        matches!(inbound, Inbound::Malformed(_, text) if text.contains(what))
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let bytes = [
            frame(JSON, br#"{"op":"ping"}"#),
            frame(PUBLISH, b"\0\x03a.b payload"),
            frame(HEARTBEAT, b""),
            frame(PUBLISH, b"\0\x01a"),
            frame(JSON, &[b'x'; 999]),
        ]
        .concat();
        let topic = |name| TopicName::try_from(name).unwrap();
        let whole = all(&bytes, bytes.len());
        assert_eq!(
            whole,
            [
                Inbound::Text(r#"{"op":"ping"}"#.into()),
                Inbound::Publish(topic("a.b"), " payload".into()),
                Inbound::Pong,
                Inbound::Publish(topic("a"), Bytes::new()),
                Inbound::Text(vec![b'x'; 999].into()),
            ]
        );
        for step in [1, 2, 3, 7, 100] {
            assert_eq!(all(&bytes, step), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_frame_is_told_and_the_next_is_read() {
        let wrong: [(&[u8], &str); 7] = [
            (b"", "no kind"),
            (b"X", "0x58"),
            (b"D\0\0\0\x01", "0x44"),
            (b"J\xFF", "UTF-8"),
            (b"P\0", "cut short"),
            (b"P\0\x05abc", "cut short"),
            (b"P\0\x02a payload", "space"),
        ];
        for (frame_bytes, what) in wrong {
            let mut bytes = (frame_bytes.len() as u32).to_be_bytes().to_vec();
            bytes.extend_from_slice(frame_bytes);
            bytes.extend(frame(HEARTBEAT, b""));
            let seen = all(&bytes, bytes.len());
            assert!(matches!(&seen[..], [wrong, Inbound::Pong] if is_told(wrong, what)), "{what}: {seen:?}");
        }
    }

    #[test]
    fn a_length_over_the_limit_ends_it_at_once() {
        for length in [1_001, 1 << 24, u32::MAX] {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.extend(frame(HEARTBEAT, b""));
            let seen = all(&bytes, 4);
            let [told, Inbound::Violation(Reason::TooBig, _, _)] = &seen[..] else { panic!("{seen:?}") };
            assert!(is_told(told, "limits.message_bytes"), "{seen:?}");
        }
    }
}
