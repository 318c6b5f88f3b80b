//! The frames of one client connection: collected, unmasked, handed on as a server sends them.
//!
//! Contract: pure. [`Inbox::take`] gives each data frame once it is whole, with its own first byte (so that fragments stay
//! fragments) and without a mask; of control frames only the close is told.

/// What a client must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unmasked;

/// What was in the bytes taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Data frames, or nothing whole.
    Frames,
    /// A close; nothing behind it was looked at.
    Close,
}

/// What came and is not yet whole.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
}

const CLOSE: u8 = 0x8;
const MASKED: u8 = 0x80;

impl Inbox {
    /// Takes the next bytes and appends every data frame that is whole now to `out`; `each` is called after each of them
    /// and may empty it.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut each: impl FnMut(&mut Vec<u8>),
    ) -> Result<Heard, Unmasked> {
        self.bytes.extend_from_slice(bytes);
        let mut at = 0;
        let mut heard = Heard::Frames;
        while let Some(frame) = Frame::first(&self.bytes[at..])? {
            at += frame.length;
            match frame.first & 0x0f {
                0..=2 => {
                    frame.push(out);
                    each(out);
                }
                CLOSE => {
                    heard = Heard::Close;
                    break;
                }
                _ => {}
            }
        }
        self.bytes.drain(..at);
        Ok(heard)
    }
}

/// The payload of a frame as [`Inbox::take`] gives it.
pub(super) fn payload(frame: &[u8]) -> &[u8] {
    let header_bytes = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header_bytes..).unwrap_or_default()
}

/// One whole frame.
struct Frame<'a> {
    first: u8,
    mask: [u8; 4],
    payload: &'a [u8],
    /// Header and payload.
    length: usize,
}

impl<'a> Frame<'a> {
    /// The frame these bytes begin with; none as long as something of it is missing.
    fn first(bytes: &'a [u8]) -> Result<Option<Self>, Unmasked> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Unmasked);
        }
        let (payload_bytes, rest) = match (second & 0x7f, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                // What no memory holds never becomes whole.
                (usize::try_from(length).unwrap_or(usize::MAX), rest)
            }
            (126 | 127, _) => return Ok(None),
            (short, rest) => (usize::from(short), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let Some(payload) = rest.get(..payload_bytes) else { return Ok(None) };
        let length = bytes.len() - rest.len() + payload_bytes;
        Ok(Some(Self { first, mask: *mask, payload, length }))
    }

    fn push(&self, out: &mut Vec<u8>) {
        out.push(self.first);
        match self.payload.len() {
            // Each arm's range fits the cast.
            short @ 0..=125 => out.push(short as u8),
            medium @ 126..=0xffff => {
                out.push(126);
                out.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                out.push(127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend(self.payload.iter().zip(self.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{PublishFrame, push_close, push_pong};
    use crate::stamp::{Payload, Stamp};
    use crate::walker::{Event, Walker};

    /// What a subscriber makes of the frames.
    fn stamps(bytes: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        let each = &mut |event: Event<'_>| match event {
            Event::Stamp(stamp) => found.push(stamp.seq),
            other => panic!("{other:?}"),
        };
        Walker::default().feed(bytes, each).unwrap();
        found
    }

    #[test]
    fn frames_of_any_length_cut_anywhere_are_sent_on_as_they_were() {
        for size in [64, 125, 126, 65_535, 65_536] {
            let payload = Payload::new(size);
            let mut frame = PublishFrame::text(payload.as_bytes(), payload.stamp_at());
            let mut wire = Vec::new();
            for seq in 0..3 {
                frame.push(&mut wire, Stamp { intended_ns: 1, topic: 0, seq });
                push_pong(&mut wire, b"between");
            }
            for piece in [1, 7, 1_000, wire.len()] {
                let (mut inbox, mut out, mut frames) = (Inbox::default(), Vec::new(), 0);
                for bytes in wire.chunks(piece) {
                    assert_eq!(inbox.take(bytes, &mut out, |_| frames += 1), Ok(Heard::Frames));
                }
                assert_eq!((frames, stamps(&out), inbox.bytes.len()), (3, vec![0, 1, 2], 0));
                let header = [2, 4, 10][usize::from(size > 125) + usize::from(size > 65_535)];
                assert_eq!(out.len(), 3 * (size + header));
                assert!(super::payload(&out).starts_with(b"{\"stamp\":"));
            }
        }
    }

    #[test]
    fn a_close_is_told_and_a_frame_without_a_mask_refused() {
        let mut wire = Vec::new();
        push_close(&mut wire, Some(1000));
        assert_eq!(Inbox::default().take(&wire, &mut Vec::new(), |_| ()), Ok(Heard::Close));
        assert_eq!(Inbox::default().take(&[0x81, 1, b'x'], &mut Vec::new(), |_| ()), Err(Unmasked));
    }
}
