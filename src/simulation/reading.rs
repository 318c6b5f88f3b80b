//! What a client makes of the bytes its socket took: frames, and in them messages and events.

use crate::message::frame;
use crate::protocol::close::CloseCode;
use serde_json::Value;

/// One frame as a client understands it.
#[derive(Debug)]
pub(super) enum Read {
    /// Message `number` of a topic, with what was behind the number.
    Message { topic: String, number: u64, pad: String },
    /// An event, an ack or an answer.
    Event(Value),
    /// A pong.
    Pong,
    /// The close frame.
    Close(CloseCode, String),
}

/// The first whole frame, its opcode and payload, and what follows it; `None` when there is none.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (len, header) = match (*bytes.get(1)?, bytes.get(2..10)) {
        (126, _) => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        (127, length) => (u64::from_be_bytes(length?.try_into().ok()?) as usize, 10),
        (len, _) => (usize::from(len), 2),
    };
    let (payload, rest) = bytes.get(header..)?.split_at_checked(len)?;
    Some((bytes[0] & 0x0F, payload, rest))
}

/// The texts that came whole, and the code of the close frame, which must be the last.
pub(crate) fn texts(mut bytes: &[u8]) -> (Vec<String>, Option<u16>) {
    let (mut texts, mut close) = (Vec::new(), None);
    while let Some((opcode, payload, rest)) = split_frame(bytes) {
        assert_eq!(close, None, "something follows the close frame");
        match opcode {
            frame::TEXT => texts.push(String::from_utf8(payload.to_vec()).expect("text is UTF-8")),
            frame::CLOSE => close = Some(u16::from_be_bytes([payload[0], payload[1]])),
            frame::PONG => {}
            other => panic!("no frame of ours has opcode {other}"),
        }
        bytes = rest;
    }
    (texts, close)
}

/// Takes the first whole frame off; `None` when there is none.
pub(super) fn next(bytes: &mut Vec<u8>) -> Option<Read> {
    let (opcode, payload, rest) = split_frame(bytes)?;
    let (payload, rest) = (payload.to_vec(), rest.len());
    bytes.drain(..bytes.len() - rest);
    Some(match opcode {
        frame::TEXT => text(String::from_utf8(payload).expect("text is UTF-8")),
        frame::CLOSE => {
            let code = CloseCode(u16::from_be_bytes([payload[0], payload[1]]));
            Read::Close(code, String::from_utf8_lossy(&payload[2..]).into_owned())
        }
        frame::PONG => Read::Pong,
        other => panic!("no frame of ours has opcode {other}"),
    })
}

fn text(text: String) -> Read {
    let Ok(mut value) = serde_json::from_str::<Value>(&text) else { return message(&text) };
    match (value["stream"].take(), value["text"].take()) {
        (Value::String(stream), Value::String(text)) => {
            assert!(text.starts_with(&format!("{stream} ")), "{text} came as of {stream}");
            message(&text)
        }
        _ => Read::Event(serde_json::from_str(&text).unwrap_or_default()),
    }
}

fn message(text: &str) -> Read {
    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("not a message: {text:.40}")).to_owned();
    Read::Message { topic: word(), number: word().parse().expect("a number"), pad: word() }
}

/// The number in a payload.
pub(super) fn number(payload: &[u8]) -> u64 {
    match message(std::str::from_utf8(payload).expect("text is UTF-8")) {
        Read::Message { number, .. } => number,
        other => panic!("not a message: {other:?}"),
    }
}

/// The payload of a message that [`next`] reads.
pub(super) fn payload(topic: &str, number: u64, size: usize) -> String {
    format!("{topic} {number} {}", "x".repeat(size))
}
