//! The encodings of a message, each made once per message and shard, never per subscriber.
//!
//! | encoding | on the wire |
//! |---|---|
//! | raw | the payload, verbatim |
//! | tcp | alias, sequence and the payload verbatim, length-prefixed |
//! | combined | `{"stream":"<topic>","seq":N,"ts":N,"snap":true,"data":<payload>}`; `seq` and `ts` only when asked for, `snap` only in a snapshot |
//!
//! In the envelope JSON travels verbatim as `data`, other text escaped as `text`, binary as `base64`.

use super::frame::{BINARY, TEXT, put_header};
use super::{Message, PayloadKind, tcp};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::io::Write as _;

/// How one connection wants its data framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Payloads verbatim, each in a WebSocket frame of its own.
    Raw = 0,
    /// The envelope without `seq` and `ts`.
    Combined = 1,
    /// The envelope with `seq`.
    CombinedSeq = 2,
    /// The envelope with `ts`.
    CombinedTs = 3,
    /// The envelope with `seq` and `ts`.
    CombinedSeqTs = 4,
    /// Length-prefixed: alias, sequence, and the payload verbatim.
    Tcp = 5,
}

impl Encoding {
    /// How many encodings there are.
    pub const COUNT: usize = 6;

    /// Every encoding, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Raw, Self::Combined, Self::CombinedSeq, Self::CombinedTs, Self::CombinedSeqTs, Self::Tcp];

    /// The envelope with what was asked for.
    pub fn combined(seq: bool, ts: bool) -> Self {
        match (seq, ts) {
            (false, false) => Self::Combined,
            (true, false) => Self::CombinedSeq,
            (false, true) => Self::CombinedTs,
            (true, true) => Self::CombinedSeqTs,
        }
    }

    /// Appends the message's frame to `out`.
    pub fn encode(self, message: &Message, out: &mut Vec<u8>) {
        self.put(message, false, out);
    }

    /// The same for a message that a snapshot begins with.
    pub(crate) fn encode_snapshot(self, message: &Message, out: &mut Vec<u8>) {
        self.put(message, true, out);
    }

    fn put(self, message: &Message, is_snapshot: bool, out: &mut Vec<u8>) {
        let payload = &message.payload;
        match self {
            Self::Raw => {
                let opcode = if payload.kind() == PayloadKind::Binary { BINARY } else { TEXT };
                put_header(out, opcode, payload.len());
                out.extend_from_slice(payload.bytes());
            }
            Self::Tcp => {
                let kind = if is_snapshot { tcp::SNAPSHOT } else { tcp::DATA };
                tcp::put_message(out, kind, message.topic, message.seq, payload.bytes());
            }
            _ => {
                let body = self.envelope(message, is_snapshot);
                put_header(out, TEXT, body.len());
                out.extend_from_slice(&body);
            }
        }
    }

    fn envelope(self, message: &Message, is_snapshot: bool) -> Vec<u8> {
        let payload = message.payload.bytes();
        let mut body = Vec::with_capacity(payload.len() + message.name.as_str().len() + 64);
        body.extend_from_slice(br#"{"stream":"#);
        put_json_string(&mut body, message.name.as_str());
        // Writing to a `Vec` cannot fail.
        if matches!(self, Self::CombinedSeq | Self::CombinedSeqTs) {
            let _ = write!(body, r#","seq":{}"#, message.seq);
        }
        if matches!(self, Self::CombinedTs | Self::CombinedSeqTs) {
            let _ = write!(body, r#","ts":{}"#, message.time_us);
        }
        if is_snapshot {
            body.extend_from_slice(br#","snap":true"#);
        }
        match message.payload.kind() {
            PayloadKind::Json => {
                body.extend_from_slice(br#","data":"#);
                body.extend_from_slice(payload);
            }
            PayloadKind::Text => {
                body.extend_from_slice(br#","text":"#);
                put_json_string(&mut body, &String::from_utf8_lossy(payload));
            }
            PayloadKind::Binary => {
                body.extend_from_slice(br#","base64":""#);
                body.extend_from_slice(BASE64_STANDARD.encode(payload).as_bytes());
                body.push(b'"');
            }
        }
        body.push(b'}');
        body
    }
}

fn put_json_string(out: &mut Vec<u8>, text: &str) {
    // A string always serialises, and writing to a `Vec` cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Payload;

    fn encoded(encoding: Encoding, name: &str, payload: Payload) -> String {
        let name = name.try_into().unwrap();
        let message = Message { topic: 0, name, seq: 7, time_us: 99, is_image: false, payload };
        let mut out = Vec::new();
        encoding.encode(&message, &mut out);
        assert_eq!(out[0], 0x81);
        assert_eq!(usize::from(out[1]), out.len() - 2);
        String::from_utf8(out.split_off(2)).unwrap()
    }

    #[test]
    fn json_is_embedded_byte_for_byte() {
        let odd = r#"{ "p" : 1.50, "u":"\u00e9" }"#;
        assert_eq!(
            encoded(Encoding::Combined, "a@b", odd.into()),
            format!(r#"{{"stream":"a@b","data":{odd}}}"#)
        );
        assert_eq!(
            encoded(Encoding::CombinedSeqTs, "t", "1".into()),
            r#"{"stream":"t","seq":7,"ts":99,"data":1}"#
        );
        assert_eq!(encoded(Encoding::CombinedSeq, "t", "1".into()), r#"{"stream":"t","seq":7,"data":1}"#);
        assert_eq!(encoded(Encoding::CombinedTs, "t", "1".into()), r#"{"stream":"t","ts":99,"data":1}"#);
    }

    #[test]
    fn text_is_escaped_and_binary_is_base64() {
        assert_eq!(
            encoded(Encoding::Combined, "q\"", "say \"hi\"".into()),
            r#"{"stream":"q\"","text":"say \"hi\""}"#
        );
        assert_eq!(
            encoded(Encoding::Combined, "t", Payload::binary(vec![0, 255])),
            r#"{"stream":"t","base64":"AP8="}"#
        );
    }

    #[test]
    fn raw_binary_goes_in_a_binary_frame() {
        let message = Message {
            topic: 0,
            name: "t".try_into().unwrap(),
            seq: 1,
            time_us: 0,
            is_image: false,
            payload: Payload::binary(vec![1, 2]),
        };
        let mut out = Vec::new();
        Encoding::Raw.encode(&message, &mut out);
        assert_eq!(out, [0x82, 2, 1, 2]);
    }
}
