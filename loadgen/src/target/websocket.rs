//! WebSocket servers: Stentor as its protocol says, any other by templates.
//!
//! Contract: pure. `{topic}` in a template is the topic, percent-encoded in a path and verbatim in a text; `{payload}` is the
//! payload verbatim.

use serde_json::json;

use super::address::{Address, encode};
use super::wire::Wire;
use super::{Answer, Call};
use crate::frame::{PublishFrame, push_text};
use crate::stamp::Payload;

/// How a server is spoken to that is not Stentor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Templates {
    /// Where subscribers connect.
    pub(crate) subscribe_path: String,
    /// What each of them says, once for each topic.
    pub(crate) subscribe_text: Option<String>,
    /// What the server's answer to the last of these contains.
    pub(crate) subscribed_text: Option<String>,
    /// Where the publisher connects.
    pub(crate) publish_path: String,
    /// What it says for each message.
    pub(crate) publish_text: String,
}

const TOPIC: &str = "{topic}";
const PAYLOAD: &str = "{payload}";

impl Templates {
    /// Why they cannot be used for more than one topic, where they cannot.
    pub(crate) fn one_topic_only(&self) -> Option<&'static str> {
        let names_topic = |text: &str| text.contains(TOPIC);
        if !self.subscribe_text.as_deref().is_some_and(names_topic) {
            Some("several topics need {topic} in --subscribe-text")
        } else if !names_topic(&self.publish_text) {
            Some("several topics need {topic} in --publish-text")
        } else {
            None
        }
    }

    pub(super) fn subscriber(&self, address: &Address, topics: &[String]) -> Call {
        let mut hello = Vec::new();
        for topic in topics {
            if let Some(text) = &self.subscribe_text {
                push_text(&mut hello, text.replace(TOPIC, topic).as_bytes());
            }
        }
        let first = topics.first().map_or("", String::as_str);
        let granted = self.subscribed_text.as_ref();
        let answer = granted.map(|text| Answer { granted: text.clone(), refused: Vec::new() });
        Call { hello, answer, ..upgrade(address, &self.subscribe_path, first) }
    }

    pub(super) fn publisher(&self, address: &Address, only: Option<&str>) -> Call {
        upgrade(address, &self.publish_path, only.unwrap_or_default())
    }

    pub(super) fn message(&self, topic: &str, payload: &Payload) -> PublishFrame {
        let (before, after) = self.publish_text.split_once(PAYLOAD).unwrap_or_default();
        wrapped(&before.replace(TOPIC, topic), payload, &after.replace(TOPIC, topic))
    }
}

/// One topic stands in the URL, and is subscribed with the 101; several are subscribed by an operation, as is one that is
/// to be confirmed.
pub(super) fn stentor_subscriber(address: &Address, topics: &[String], confirmed: bool) -> Call {
    if let ([topic], false) = (topics, confirmed) {
        return upgrade(address, "/ws/{topic}", topic);
    }
    let mut hello = Vec::new();
    push_text(&mut hello, json!({ "op": "subscribe", "args": topics }).to_string().as_bytes());
    Call { hello, answer: Some(Answer::to_operations()), ..upgrade(address, "/ws", "") }
}

pub(super) fn stentor_publisher(address: &Address, only: Option<&str>) -> Call {
    match only {
        Some(topic) => upgrade(address, "/publish/{topic}", topic),
        None => upgrade(address, "/ws", ""),
    }
}

pub(super) fn stentor_message(topic: &str, payload: &Payload, only: bool) -> PublishFrame {
    if only {
        return wrapped("", payload, "");
    }
    wrapped(&format!(r#"{{"op":"publish","topic":{},"data":"#, json!(topic)), payload, "}")
}

fn upgrade(address: &Address, path: &str, topic: &str) -> Call {
    let path = address.path(&path.replace(TOPIC, &encode(topic)));
    let url = format!("ws://{}{path}", address.authority);
    Call { upgrade: Some(url), ..Call::plain(Wire::WebSocket) }
}

fn wrapped(before: &str, payload: &Payload, after: &str) -> PublishFrame {
    let text = [before.as_bytes(), payload.as_bytes(), after.as_bytes()].concat();
    PublishFrame::text(&text, before.len() + payload.stamp_at())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Address {
        Address::server(url).unwrap()
    }

    /// The text in a masked frame of less than 126 bytes.
    fn unmasked(frame: &[u8]) -> String {
        let (mask, text) = frame[2..].split_at(4);
        let bytes = text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn stentors_one_topic_is_in_the_url_and_several_are_an_operation() {
        let address = at("ws://h:1/edge");
        let call = stentor_subscriber(&address, &["a/b".into()], false);
        assert_eq!(call.upgrade.as_deref(), Some("ws://h:1/edge/ws/a%2Fb"));
        assert!(call.hello.is_empty() && call.answer.is_none());
        let call = stentor_subscriber(&address, &["a".into(), "b\"".into()], false);
        assert_eq!(call.upgrade.as_deref(), Some("ws://h:1/edge/ws"));
        assert_eq!(unmasked(&call.hello), r#"{"args":["a","b\""],"op":"subscribe"}"#);
        assert!(call.answer.is_some());
        assert_eq!(stentor_subscriber(&address, &["a".into()], true).upgrade, call.upgrade);
        let publisher = stentor_publisher(&address, Some("a b"));
        assert_eq!(publisher.upgrade.as_deref(), Some("ws://h:1/edge/publish/a%20b"));
        assert_eq!(stentor_publisher(&address, None).upgrade, call.upgrade);
    }

    #[test]
    fn templates_are_filled_in() {
        let templates = Templates {
            subscribe_path: "/s?t={topic}".into(),
            subscribe_text: Some("SUB {topic}".into()),
            subscribed_text: Some("OK".into()),
            publish_path: "/p".into(),
            publish_text: "PUB {topic} {payload} END {topic}".into(),
        };
        let address = at("ws://h:1");
        let call = templates.subscriber(&address, &["a b".into()]);
        assert_eq!(call.upgrade.as_deref(), Some("ws://h:1/s?t=a%20b"));
        assert_eq!((unmasked(&call.hello), call.answer.unwrap().granted), ("SUB a b".into(), "OK".into()));
        let mut out = Vec::new();
        let payload = Payload::new(64);
        templates.message("a b", &payload).push(&mut out, crate::stamp::tests::STAMP);
        let text = unmasked(&out);
        assert!(text.starts_with("PUB a b {\"stamp\":\"@@T0123") && text.ends_with("\"} END a b"), "{text}");
        assert_eq!(templates.one_topic_only(), None);
        let plain = Templates { publish_text: PAYLOAD.into(), ..templates };
        assert!(plain.one_topic_only().unwrap().contains("--publish-text"));
    }
}
