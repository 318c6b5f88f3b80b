//! Datagrams that come in: one of them is one frame, as over TCP without its length.
//!
//! Contract: whatever has come from anywhere is one of these, or nothing: who has not proved its address is not told
//! what is wrong.

use super::cookie::Cookie;
use super::inbound::Inbound;
use super::names::Names;
use super::tcp;
use crate::message::tcp::{HEARTBEAT, JSON};
use crate::protocol::topic::TopicName;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;

/// A hello has at least so many bytes, so that its answer is never larger.
pub(crate) const HELLO_BYTES_MIN: usize = 128;

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// Somebody wants a cookie.
    Hello,
    /// An operation, in its words, of whoever has that cookie.
    Operation(Cookie, Bytes),
    /// A sign of life of whoever has that cookie.
    Renewal(Cookie),
    /// A message for a topic that it names.
    Publish(TopicName, Bytes),
}

/// Reads datagrams.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    names: Names,
}

/// What an operation has beside its own fields.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    #[serde(borrow)]
    cookie: Option<Cow<'a, str>>,
}

impl Reader {
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Option<Datagram> {
        let (kind, body) = bytes.split_first()?;
        match *kind {
            JSON => {
                let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
                match envelope.cookie {
                    Some(cookie) => {
                        Some(Datagram::Operation(cookie.parse().ok()?, Bytes::copy_from_slice(body)))
                    }
                    None if envelope.op? == "hello" && bytes.len() >= HELLO_BYTES_MIN => {
                        Some(Datagram::Hello)
                    }
                    None => None,
                }
            }
            HEARTBEAT => Some(Datagram::Renewal(std::str::from_utf8(body).ok()?.parse().ok()?)),
            _ => match tcp::understand(Bytes::copy_from_slice(bytes), &mut self.names) {
                Inbound::Publish(topic, payload) => Some(Datagram::Publish(topic, payload)),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<Datagram> {
        Reader::default().read(bytes)
    }

    #[test]
    fn datagrams_are_read() {
        let cookie: Cookie = "00000000000000ff".parse().unwrap();
        let hello = format!(r#"J{{"op":"hello","pad":"{}"}}"#, "x".repeat(HELLO_BYTES_MIN));
        assert_eq!(read(hello.as_bytes()), Some(Datagram::Hello));
        let operation = br#"{"op":"list","cookie":"00000000000000ff"}"#;
        assert_eq!(
            read(&[b"J", &operation[..]].concat()),
            Some(Datagram::Operation(cookie, Bytes::from_static(operation)))
        );
        assert_eq!(read(b"H00000000000000ff"), Some(Datagram::Renewal(cookie)));
        let topic = TopicName::try_from("a").unwrap();
        assert_eq!(read(b"P\0\x01a!"), Some(Datagram::Publish(topic, "!".into())));
    }

    #[test]
    fn what_proves_nothing_and_asks_for_nothing_is_nothing() {
        let wrong: [&[u8]; 11] = [
            b"",
            b"J",
            b"J{",
            br#"J{"op":"hello","pad":""}"#,
            br#"J{"op":"list"}"#,
            br#"J{"op":"list","cookie":"1"}"#,
            br#"J{"op":1,"cookie":"00000000000000ff"}"#,
            b"H",
            b"H\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            b"P\0\x09a",
            b"D\0\0\0\x01\0\0\0\0\0\0\0\x01!",
        ];
        for datagram in wrong {
            assert_eq!(read(datagram), None, "{datagram:?}");
        }
    }
}
