//! The envelope of a combined stream: a topic, a number and a payload in one JSON object. Pure.

use crate::message::Payload;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// A message out of its envelope.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) topic: Cow<'a, str>,
    pub(crate) seq: u64,
    pub(crate) is_snapshot: bool,
    /// The publisher's bytes.
    pub(crate) payload: Payload,
}

/// Takes a message out of `text`, which `owner` holds; nothing if it is an answer or an event. The server adds no white
/// space of its own.
pub(crate) fn open<'a>(owner: &Bytes, text: &'a str) -> Option<Envelope<'a>> {
    let (mut topic, mut seq, mut is_snapshot, mut payload) = (None, 0, false, None);
    let mut members = text.strip_prefix('{')?;
    loop {
        let after = members.strip_prefix('"')?;
        // Names are a few bytes: what searches faster takes longer to begin.
        let (key, rest) = after.split_at(after.bytes().position(|byte| byte == b'"')?);
        let rest = rest.strip_prefix("\":")?;
        let is_payload = matches!(key, "data" | "text" | "base64");
        let (value, rest) = if is_payload { last_value(rest) } else { None }.or_else(|| first_value(rest))?;
        match key {
            "stream" => topic = Some(unquoted(value)?),
            "seq" => seq = value.parse().ok()?,
            "snap" => is_snapshot = value == "true",
            "data" => payload = Some(Payload::parsed_json(owner.slice_ref(value.as_bytes()))),
            "text" => payload = Some(Payload::text(unquoted(value)?)),
            "base64" => {
                let text = unquoted(value)?;
                let bytes = BASE64_STANDARD.decode(text.as_bytes());
                payload = Some(bytes.map_or_else(|_| Payload::text(text), Payload::binary));
            }
            _ => {}
        }
        if rest == "}" {
            break;
        }
        members = rest.strip_prefix(',')?;
    }
    Some(Envelope { topic: topic?, seq, is_snapshot, payload: payload? })
}

/// The JSON value that `members` begins with, and the rest.
fn first_value(members: &str) -> Option<(&str, &str)> {
    let mut values = serde_json::Deserializer::from_str(members).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    members.split_at_checked(values.byte_offset())
}

/// The same of the last member, with the white space around it, which the publisher sent too (a file's last newline).
fn last_value(members: &str) -> Option<(&str, &str)> {
    let value = members.strip_suffix('}')?;
    serde_json::from_str::<IgnoredAny>(value).ok()?;
    Some((value, "}"))
}

/// The characters of a JSON string; borrowed unless something in it is escaped.
fn unquoted(string: &str) -> Option<Cow<'_, str>> {
    match string.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Some(inner.into()),
        _ => serde_json::from_str::<String>(string).ok().map(Cow::Owned),
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
            (r#"{"data":[1],"new":{"a":[2]},"seq":7,"stream":"b"}"#, "b", PayloadKind::Json, b"[1]"),
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
