//! What the server says beside messages, read; and what it is asked, written. Pure.

use super::event::{Granted, Place, Refused};
use crate::message::{Payload, PayloadKind};
use crate::protocol::class::Class;
use crate::protocol::options::PublishOptions;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An answer or an event.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Said {
    Ack {
        id: Option<Value>,
        #[serde(default)]
        ok: Vec<Entry>,
        #[serde(default)]
        err: Vec<Rejected>,
    },
    Error {
        id: Option<Value>,
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    },
    Gap {
        topic: String,
        from: u64,
        to: u64,
        reason: String,
    },
    Epoch {
        topic: String,
        epoch: String,
        seq: u64,
    },
    Topic {
        topic: String,
        alias: u32,
        epoch: String,
        seq: u64,
    },
    Slow {
        behind: u64,
    },
    CaughtUp {
        #[serde(default)]
        conflated: BTreeMap<String, u64>,
    },
    Notice {
        code: String,
        retry_after_ms: Option<u64>,
    },
    Heartbeat {
        seq: BTreeMap<String, u64>,
    },
    Cookie {
        cookie: String,
    },
    Close {
        code: u16,
        #[serde(default)]
        reason: String,
    },
}

/// One of an ack's `ok`.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) topic: String,
    pub(super) alias: Option<u32>,
    class: Option<Class>,
    epoch: Option<String>,
    seq: Option<u64>,
    recovered: Option<bool>,
    reason: Option<String>,
}

impl Entry {
    pub(super) fn granted(self) -> Granted {
        let head = self.epoch.zip(self.seq).map(|(epoch, seq)| Place { epoch, seq });
        let (class, recovered, reason) = (self.class, self.recovered, self.reason);
        Granted { topic: self.topic, class, head, recovered, reason }
    }
}

/// One of an ack's `err`.
#[derive(Debug, Deserialize)]
pub(super) struct Rejected {
    #[serde(default)]
    topic: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl From<Rejected> for Refused {
    fn from(one: Rejected) -> Self {
        Self { topic: one.topic, code: one.code, message: one.message }
    }
}

/// The number of the operation that an answer is to.
pub(super) fn number(id: Option<&Value>) -> Option<u64> {
    id.and_then(Value::as_u64)
}

/// A topic or pattern as a subscribe operation names it.
pub(super) fn wish(topic: &str, since: Option<&Place>) -> Value {
    match since {
        None => json!(topic),
        Some(since) => json!({"topic": topic, "since": {"epoch": since.epoch, "seq": since.seq}}),
    }
}

pub(super) fn subscribe(id: u64, args: &[Value], heartbeat_s: Option<u32>) -> String {
    let mut operation = json!({"op": "subscribe", "id": id, "args": args});
    if let Some(every_s) = heartbeat_s {
        operation["heartbeat_s"] = every_s.into();
    }
    operation.to_string()
}

pub(super) fn unsubscribe(id: u64, topics: &[String]) -> String {
    json!({"op": "unsubscribe", "id": id, "args": topics}).to_string()
}

/// Without an `id`, only a refusal is answered.
pub(super) fn publish(id: Option<u64>, topic: &str, payload: &Payload, options: &PublishOptions) -> String {
    let text = String::from_utf8_lossy(payload.bytes());
    let (key, value) = match payload.kind() {
        // White space around a value is no part of it to who reads the operation; as text it is, and JSON all the same.
        PayloadKind::Json if text.len() == text.trim().len() => ("data", text.into_owned()),
        PayloadKind::Json | PayloadKind::Text => ("text", Value::from(text.into_owned()).to_string()),
        PayloadKind::Binary => ("base64", Value::from(BASE64_STANDARD.encode(payload.bytes())).to_string()),
    };
    let mut out = format!("{{\"op\":\"publish\",\"topic\":{},\"{key}\":{value}", Value::from(topic));
    let mut more = Map::new();
    more.extend(id.map(|id| ("id".to_owned(), id.into())));
    more.extend(options.class.map(|class| ("class".to_owned(), class.as_str().into())));
    more.extend(options.image.then(|| ("image".to_owned(), true.into())));
    more.extend(options.seq.map(|seq| ("seq".to_owned(), seq.into())));
    more.extend(options.epoch.map(|epoch| ("epoch".to_owned(), epoch.to_string().into())));
    for (key, value) in more {
        // Writing to a string cannot fail.
        let _ = write!(out, ",\"{key}\":{value}");
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;

    #[test]
    fn a_payload_goes_into_an_operation_byte_for_byte() {
        let plain = PublishOptions::default();
        let operation = |payload: Payload, options: &PublishOptions| publish(None, "a\"b", &payload, options);
        assert_eq!(
            operation(Payload::text("{\"p\":1.10, \"q\":[ ]}"), &plain),
            r#"{"op":"publish","topic":"a\"b","data":{"p":1.10, "q":[ ]}}"#
        );
        assert_eq!(
            operation(Payload::text("l\n2"), &plain),
            r#"{"op":"publish","topic":"a\"b","text":"l\n2"}"#
        );
        assert_eq!(
            operation(Payload::text("1\n"), &plain),
            r#"{"op":"publish","topic":"a\"b","text":"1\n"}"#
        );
        assert_eq!(
            operation(Payload::binary(vec![0, 255]), &plain),
            r#"{"op":"publish","topic":"a\"b","base64":"AP8="}"#
        );
        let options =
            PublishOptions { class: Some(Class::Delta), image: true, seq: Some(7), epoch: Some(Epoch(36)) };
        assert!(
            publish(Some(3), "t", &Payload::text("1"), &options)
                .ends_with(r#""data":1,"class":"delta","epoch":"10","id":3,"image":true,"seq":7}"#)
        );
    }

    #[test]
    fn what_the_server_says_is_read() {
        let read = |text: &str| serde_json::from_str::<Said>(text).unwrap();
        let Said::Ack { id, ok, .. } = read(
            r#"{"event":"ack","op":"subscribe","id":7,"ok":[{"topic":"a*"},{"topic":"t","alias":3,"class":"best-effort","epoch":"k","seq":9,"recovered":false,"reason":"evicted"}],"err":[]}"#,
        ) else {
            panic!("no ack")
        };
        assert_eq!(number(id.as_ref()), Some(7));
        let granted: Vec<_> = ok.into_iter().map(Entry::granted).collect();
        assert_eq!((granted[0].class, granted[0].head.clone()), (None, None));
        assert_eq!((granted[1].class, granted[1].recovered), (Some(Class::BestEffort), Some(false)));
        assert_eq!(granted[1].head.as_ref().unwrap().to_string(), "k:9");
        assert!(matches!(
            read(r#"{"event":"caught_up","conflated":{"t":3}}"#),
            Said::CaughtUp { conflated } if conflated["t"] == 3
        ));
        assert!(serde_json::from_str::<Said>(r#"{"event":"unheard_of"}"#).is_err());
    }
}
