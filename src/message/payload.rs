//! What a publisher hands over: bytes, and which of three kinds they are.

use bytes::Bytes;
use serde::de::IgnoredAny;

/// How a payload travels: JSON and text in text frames, the rest in binary ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// Parses as JSON; embedded verbatim in the combined envelope.
    Json,
    /// UTF-8 that is not JSON; escaped in the combined envelope.
    Text,
    /// Anything else; base64 in the combined envelope.
    Binary,
}

/// A payload, verbatim, with its kind found once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    kind: PayloadKind,
    bytes: Bytes,
}

/// Bytes declared to be JSON do not parse. The publisher's mistake.
#[derive(Debug, thiserror::Error)]
#[error("the payload was declared to be JSON but does not parse: {0}")]
pub struct NotJson(#[source] serde_json::Error);

/// Bytes declared to be text are not UTF-8. The publisher's mistake.
#[derive(Debug, thiserror::Error)]
#[error("the payload was declared to be text but is not UTF-8")]
pub struct NotUtf8;

impl Payload {
    /// Text, which is JSON when it parses as JSON.
    pub fn text(text: impl Into<String>) -> Self {
        Self::from_utf8(Bytes::from(text.into()))
    }

    /// Bytes that are published as binary whatever they contain.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self { kind: PayloadKind::Binary, bytes: bytes.into() }
    }

    /// Bytes of which nothing is known: UTF-8 is text, the rest binary.
    pub fn sniff(bytes: impl Into<Bytes>) -> Self {
        Self::declared_text(bytes.into()).unwrap_or_else(|(_, bytes)| Self::binary(bytes))
    }

    /// Bytes that must be UTF-8; they come back if they are not.
    pub fn declared_text(bytes: Bytes) -> Result<Self, (NotUtf8, Bytes)> {
        if std::str::from_utf8(&bytes).is_err() { Err((NotUtf8, bytes)) } else { Ok(Self::from_utf8(bytes)) }
    }

    /// Bytes that must parse as JSON.
    pub fn declared_json(bytes: Bytes) -> Result<Self, NotJson> {
        // From text: the parser that takes bytes would let through strings that are not UTF-8.
        let text = std::str::from_utf8(&bytes).map_err(|error| NotJson(serde::de::Error::custom(error)))?;
        serde_json::from_str::<IgnoredAny>(text).map_err(NotJson)?;
        Ok(Self { kind: PayloadKind::Json, bytes })
    }

    /// One valid JSON value, as a parser handed it over.
    pub(crate) fn parsed_json(text: impl Into<Bytes>) -> Self {
        Self { kind: PayloadKind::Json, bytes: text.into() }
    }

    /// Which kind it is.
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// The bytes as published.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True exactly when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn from_utf8(bytes: Bytes) -> Self {
        let json = serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
        Self { kind: if json { PayloadKind::Json } else { PayloadKind::Text }, bytes }
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::sniff(bytes)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::sniff(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_what_the_bytes_are() {
        assert_eq!(Payload::from(r#"{"a":1}"#).kind(), PayloadKind::Json);
        assert_eq!(Payload::from("42").kind(), PayloadKind::Json);
        assert_eq!(Payload::from("hello").kind(), PayloadKind::Text);
        assert_eq!(Payload::from("").kind(), PayloadKind::Text);
        assert_eq!(Payload::from(vec![0xff, 0x00]).kind(), PayloadKind::Binary);
        assert_eq!(Payload::binary("text").kind(), PayloadKind::Binary);
    }

    #[test]
    fn declarations_are_checked() {
        assert!(Payload::declared_json(Bytes::from_static(b"{")).is_err());
        assert!(Payload::declared_json(Bytes::from_static(b"\"\xff\xfe\"")).is_err(), "not UTF-8");
        assert!(Payload::declared_text(Bytes::from_static(&[0xff])).is_err());
        assert_eq!(Payload::declared_json(Bytes::from_static(b" [1]\n")).unwrap().bytes(), " [1]\n");
    }
}
