//! Frames of TCP and UDP as a client reads and writes them. Pure.
//!
//! Contract: however the bytes are cut, the same frames come out; no bytes are a panic. Over TCP a frame that cannot be
//! is an end, over UDP it is as good as lost.

use crate::message::tcp::{DATA, HEARTBEAT, JSON, LENGTH_BYTES, PUBLISH, SNAPSHOT};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// An answer or an event.
    Json(Bytes),
    Data {
        alias: u32,
        seq: u64,
        payload: Bytes,
        is_snapshot: bool,
    },
    Life,
}

/// Takes the next whole frame off a stream.
pub(super) fn take(bytes: &mut BytesMut, length_max: usize) -> Result<Option<Frame>, String> {
    let Some(length) = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) else {
        return Ok(None);
    };
    if length > length_max {
        return Err(format!("a frame of {length} bytes, which no message has"));
    }
    if bytes.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    bytes.advance(LENGTH_BYTES);
    read(bytes.split_to(length).freeze()).map(Some)
}

/// A frame without its length, as a datagram holds it.
pub(super) fn read(mut frame: Bytes) -> Result<Frame, String> {
    let kind = frame.try_get_u8().map_err(|_| "a frame without a kind".to_owned())?;
    match kind {
        JSON => Ok(Frame::Json(frame)),
        DATA | SNAPSHOT => {
            let cut_short = |_| "a message that is cut short".to_owned();
            let alias = frame.try_get_u32().map_err(cut_short)?;
            let seq = frame.try_get_u64().map_err(cut_short)?;
            Ok(Frame::Data { alias, seq, payload: frame, is_snapshot: kind == SNAPSHOT })
        }
        HEARTBEAT => Ok(Frame::Life),
        kind => Err(format!("a frame of kind {kind:#04x}")),
    }
}

/// Appends a frame as a stream has it.
pub(super) fn put(out: &mut BytesMut, kind: u8, parts: &[&[u8]]) {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    // What is near 4 GiB the server refuses whatever its length says.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    put_datagram(out, kind, parts);
}

/// Appends a frame as a datagram has it.
pub(super) fn put_datagram(out: &mut BytesMut, kind: u8, parts: &[&[u8]]) {
    out.put_u8(kind);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends a frame with a message to be published, by `put` or `put_datagram`.
pub(super) fn put_message(
    out: &mut BytesMut,
    put: impl FnOnce(&mut BytesMut, u8, &[&[u8]]),
    topic: &str,
    payload: &[u8],
) {
    // A name too long for its length is too long for the server, which says so.
    let length = u16::try_from(topic.len()).unwrap_or(u16::MAX);
    put(out, PUBLISH, &[&length.to_be_bytes(), topic.as_bytes(), payload]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tcp::{frame, put_message as put_data};
    use proptest::prelude::*;

    fn all(bytes: &[u8], step: usize) -> Vec<Result<Frame, String>> {
        let mut held = BytesMut::new();
        let mut seen = Vec::new();
        for piece in bytes.chunks(step) {
            held.extend_from_slice(piece);
            while let Some(frame) = take(&mut held, 1_000).transpose() {
                let is_end = frame.is_err();
                seen.push(frame);
                if is_end {
                    return seen;
                }
            }
        }
        seen
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let mut bytes = frame(JSON, br#"{"event":"pong"}"#);
        put_data(&mut bytes, DATA, 7, 258, b"hi");
        bytes.extend(frame(HEARTBEAT, b""));
        put_data(&mut bytes, SNAPSHOT, 8, 1, b"");
        let data = |alias, seq, payload: &'static [u8], is_snapshot| {
            Ok(Frame::Data { alias, seq, payload: Bytes::from_static(payload), is_snapshot })
        };
        let whole = [
            Ok(Frame::Json(Bytes::from_static(br#"{"event":"pong"}"#))),
            data(7, 258, b"hi", false),
            Ok(Frame::Life),
            data(8, 1, b"", true),
        ];
        for step in [1, 2, 3, 7, 1_000] {
            assert_eq!(all(&bytes, step), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn what_is_written_is_what_the_page_says() {
        let mut out = BytesMut::new();
        put_message(&mut out, put, "a.b", b"hi");
        assert_eq!(&out[..], b"\0\0\0\x08P\0\x03a.bhi");
        out.clear();
        put_message(&mut out, put_datagram, "a.b", b"hi");
        assert_eq!(&out[..], b"P\0\x03a.bhi");
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), step in 1_usize..8) {
            all(&bytes, step);
            let _ = read(bytes.into());
        }
    }
}
