//! Encodings: whatever is published, a client reads back what it was, from a frame of its own.

use super::generated::{cases, topic};
use crate::client::envelope;
use crate::message::{Encoding, Message, Payload, PayloadKind};
use crate::protocol::operation::present_verbatim;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::Cursor;
use tokio_tungstenite::tungstenite;
use tungstenite::protocol::{Role, WebSocket};

/// The envelope as a client would declare it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    stream: String,
    seq: Option<u64>,
    ts: Option<u64>,
    snap: Option<bool>,
    #[serde(borrow, default, deserialize_with = "present_verbatim")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

/// JSON as serialisers write it, and with the spaces, escapes and numbers that only people do.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_filter("not in JSON", |value| value.is_finite())
            .prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\"(\\\\u[0-9a-f]{4}|\\\\[\"\\\\/bfnrt]){0,5}\"",
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let pair = ("\"[a-z]{0,3}\"[ \n]?:\t?", inner.clone()).prop_map(|(key, value)| key + &value);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
            prop::collection::vec(pair, 0..5).prop_map(|items| format!("{{{}\r\n}}", items.join(", "))),
        ]
    })
}

/// A payload, and what it was made of.
fn payload() -> impl Strategy<Value = Payload> {
    let bytes = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), prop_oneof![Just(65_535), Just(65_536), Just(70_000)]).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop_oneof![
        ("[ \n]?", json(), "[ \t]?").prop_map(|(before, json, after)| Payload::text(before + &json + &after)),
        any::<String>().prop_map(Payload::text),
        bytes.clone().prop_map(Payload::sniff),
        bytes.prop_map(Payload::binary),
    ]
}

/// The one message in these bytes, as a client decodes it.
fn received(bytes: Vec<u8>) -> tungstenite::Message {
    let len = bytes.len() as u64;
    let mut socket = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Client, None);
    let message = socket.read().unwrap();
    assert_eq!(socket.get_ref().position(), len, "nothing behind it");
    assert!(!socket.can_read() || socket.read().is_err(), "one message");
    message
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn what_was_published_is_what_a_client_reads(
        name in topic(),
        (seq, time_us) in any::<(u64, u64)>(),
        payload in payload(),
    ) {
        let message = Message { topic: 0, name, seq, time_us, is_image: false, payload };
        let (kind, bytes) = (message.payload.kind(), message.payload.bytes());
        for (encoding, is_snapshot) in Encoding::ALL.into_iter().flat_map(|encoding| [(encoding, false), (encoding, true)]) {
            let mut out = Vec::new();
            if is_snapshot {
                encoding.encode_snapshot(&message, &mut out);
            } else {
                encoding.encode(&message, &mut out);
            }
            if encoding == Encoding::Tcp {
                let (head, payload) = out.split_at(17);
                let length = (13 + payload.len() as u32).to_be_bytes();
                let kind = if is_snapshot { b'S' } else { b'D' };
                prop_assert_eq!(head, [&length[..], &[kind], &message.topic.to_be_bytes(), &seq.to_be_bytes()].concat());
                prop_assert_eq!(payload, bytes);
                continue;
            }
            let read = received(out);
            if encoding == Encoding::Raw {
                prop_assert_eq!(read.is_binary(), kind == PayloadKind::Binary);
                prop_assert_eq!(&read.into_data(), bytes);
                continue;
            }
            let text = read.into_text().unwrap();
            let envelope: Envelope<'_> = serde_json::from_str(&text).unwrap();
            let owner = Bytes::copy_from_slice(text.as_str().as_bytes());
            let opened = envelope::open(&owner, std::str::from_utf8(&owner).unwrap());
            prop_assert_eq!(opened, Some(envelope::Envelope {
                topic: message.name.as_str().into(),
                seq: envelope.seq.unwrap_or(0),
                is_snapshot,
                payload: message.payload.clone(),
            }));
            prop_assert_eq!(&envelope.stream, message.name.as_str());
            prop_assert_eq!(envelope.snap, is_snapshot.then_some(true));
            let (has_seq, has_ts) = (envelope.seq.is_some(), envelope.ts.is_some());
            prop_assert_eq!(Encoding::combined(has_seq, has_ts), encoding);
            prop_assert!(envelope.seq.is_none_or(|read| read == seq) && envelope.ts.is_none_or(|read| read == time_us));
            match (kind, envelope.data, envelope.text, envelope.base64) {
                (PayloadKind::Json, Some(data), None, None) => {
                    let verbatim = std::str::from_utf8(bytes).unwrap();
                    let is_last = text.strip_suffix('}').is_some_and(|text| text.ends_with(verbatim));
                    prop_assert!(is_last, "not verbatim");
                    prop_assert_eq!(data.get(), verbatim.trim());
                }
                (PayloadKind::Text, None, Some(read), None) => prop_assert_eq!(read.as_bytes(), bytes),
                (PayloadKind::Binary, None, None, Some(read)) => prop_assert_eq!(&STANDARD.decode(read).unwrap(), bytes),
                _ => prop_assert!(false, "not as a {:?} travels: {}", kind, text),
            }
        }
    }

    #[test]
    fn valid_json_is_json_however_it_is_written(text in json()) {
        prop_assert_eq!(Payload::text(text).kind(), PayloadKind::Json);
    }
}
