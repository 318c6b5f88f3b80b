//! The envelope of a combined stream: a topic, a number and a payload in one JSON object. Pure.

use crate::message::Payload;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A message out of its envelope.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) topic: Cow<'a, str>,
    pub(super) seq: u64,
    pub(super) is_snapshot: bool,
    /// The publisher's bytes.
    pub(super) payload: Payload,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    snap: bool,
    // `null` is a payload like any other, so presence is what counts.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    base64: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Takes a message out of `text`, which `owner` holds; nothing if it is an answer or an event.
pub(super) fn open<'a>(owner: &Bytes, text: &'a str) -> Option<Envelope<'a>> {
    let line = serde_json::from_str::<Line<'_>>(text).ok()?;
    let payload = match (line.data, line.text, line.base64) {
        (Some(data), ..) => Payload::parsed_json(owner.slice_ref(verbatim(text, data.get()).as_bytes())),
        (None, Some(text), _) => Payload::text(unquoted(text)),
        (None, None, Some(base64)) => {
            let text = unquoted(base64);
            match BASE64_STANDARD.decode(text.as_bytes()) {
                Ok(bytes) => Payload::binary(bytes),
                Err(_) => Payload::text(text),
            }
        }
        (None, None, None) => return None,
    };
    Some(Envelope { topic: unquoted(line.stream?), seq: line.seq, is_snapshot: line.snap, payload })
}

/// `data` with the white space around it, which the publisher sent too (a file's last newline) and a JSON reader leaves out.
/// The payload is the last member of `envelope`, and the server adds no white space of its own.
fn verbatim<'a>(envelope: &'a str, data: &'a str) -> &'a str {
    let start = data.as_ptr() as usize - envelope.as_ptr() as usize;
    let before = envelope[..start].trim_end_matches([' ', '\t', '\r', '\n']).len();
    match envelope[start + data.len()..].trim_end_matches([' ', '\t', '\r', '\n']).strip_suffix('}') {
        Some(after) if after.trim().is_empty() => &envelope[before..start + data.len() + after.len()],
        _ => data,
    }
}

/// The characters of a JSON string; borrowed unless something in it is escaped.
fn unquoted(string: &RawValue) -> Cow<'_, str> {
    let inner = string.get().strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => inner.into(),
        _ => serde_json::from_str::<String>(string.get()).map_or_else(|_| string.get().into(), Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::PayloadKind;
    use proptest::prelude::*;

    #[test]
    fn a_payload_comes_out_byte_for_byte() {
        for (text, topic, kind, bytes) in [
            (
                r#"{"stream":"t\u0031","seq":7,"data":{"p":1.10, "s":"\u00e9"}}"#,
                "t1",
                PayloadKind::Json,
                &br#"{"p":1.10, "s":"\u00e9"}"#[..],
            ),
            (r#"{"stream":"b","seq":7,"data":null}"#, "b", PayloadKind::Json, b"null"),
            ("{\"stream\":\"b\",\"seq\":7,\"data\": {\n}\n}", "b", PayloadKind::Json, b" {\n}\n"),
            (r#"{"stream":"b","seq":7,"text":"two\nlines"}"#, "b", PayloadKind::Text, b"two\nlines"),
            (r#"{"stream":"b","seq":7,"base64":"aGk="}"#, "b", PayloadKind::Binary, b"hi"),
        ] {
            let owner = Bytes::from(text);
            let text = std::str::from_utf8(&owner).unwrap();
            let message = open(&owner, text).unwrap();
            assert_eq!((message.topic.as_ref(), message.seq, message.is_snapshot), (topic, 7, false));
            assert_eq!((message.payload.kind(), &message.payload.bytes()[..]), (kind, bytes));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(middle in "[\\PC\"{}:, \n]{0,40}") {
            for text in [middle.clone(), format!("{{\"stream\":\"t\",\"data\":{middle}}}")] {
                let owner = Bytes::from(text.clone());
                let _ = open(&owner, std::str::from_utf8(&owner).unwrap());
            }
        }
    }
}
