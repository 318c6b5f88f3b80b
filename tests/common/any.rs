//! A client of any wire, so that a behaviour is described once: what comes is told alike, whatever it was wrapped in.
//!
//! Names for aliases are taken from the answers and `topic` events, which are not handed on; nor are signs of life.

use super::framed::{Frame, Framed as _};
use super::tcp::TcpClient;
use super::udp::UdpClient;
use super::{Client, TestServer};
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio_tungstenite::tungstenite::Message;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    WebSocket,
    Tcp,
    Udp,
}

/// What came.
#[derive(Debug, PartialEq)]
pub(crate) enum Came {
    Message {
        topic: String,
        seq: u64,
        payload: Value,
        is_snapshot: bool,
    },
    /// An answer or an event.
    Said(Value),
    /// The last, with its reason.
    Close(u16, String),
}

/// A live message.
pub(crate) fn message(topic: &str, seq: u64, payload: impl Into<Value>) -> Came {
    Came::Message { topic: topic.to_owned(), seq, payload: payload.into(), is_snapshot: false }
}

/// See the module.
pub(crate) struct AnyClient {
    line: Line,
    names: HashMap<u32, String>,
}

enum Line {
    WebSocket(Box<Client>),
    Tcp(TcpClient),
    Udp(UdpClient),
}

impl AnyClient {
    /// Nothing is subscribed.
    pub(crate) async fn connect(server: &TestServer, wire: Wire) -> Self {
        let line = match wire {
            Wire::WebSocket => Line::WebSocket(Box::new(server.connect("/stream?seq=1").await)),
            Wire::Tcp => Line::Tcp(TcpClient::connect(server).await),
            Wire::Udp => Line::Udp(UdpClient::connect(server).await),
        };
        Self { line, names: HashMap::new() }
    }

    pub(crate) async fn say(&mut self, operation: Value) {
        match &mut self.line {
            Line::WebSocket(client) => client.send_json(operation).await,
            Line::Tcp(client) => client.send_json(operation).await,
            Line::Udp(client) => client.send_json(operation).await,
        }
    }

    pub(crate) async fn next(&mut self, what: &str) -> Came {
        loop {
            let came = match &mut self.line {
                Line::WebSocket(client) => unwrapped(client.next_named(what).await, what),
                Line::Tcp(client) => {
                    let frame = client.next(what).await;
                    self.understood(frame)
                }
                Line::Udp(client) => {
                    let frame = client.next(what).await;
                    self.understood(frame)
                }
            };
            if let Some(came) = came {
                return came;
            }
        }
    }

    /// What it means; `None` where it only names a topic.
    fn understood(&mut self, frame: Frame) -> Option<Came> {
        match frame {
            Frame::Message(kind, alias, seq, bytes) => {
                let topic =
                    self.names.get(&alias).cloned().unwrap_or_else(|| panic!("alias {alias} has no name"));
                let payload = serde_json::from_slice(&bytes)
                    .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
                Some(Came::Message { topic, seq, payload, is_snapshot: kind == b'S' })
            }
            Frame::Json(mut said) => {
                self.learn(&mut said);
                match said["event"].as_str() {
                    Some("topic") => None,
                    Some("close") => {
                        let code = u16::try_from(said["code"].as_u64().unwrap()).unwrap();
                        Some(Came::Close(code, said["reason"].as_str().unwrap().to_owned()))
                    }
                    _ => Some(Came::Said(said)),
                }
            }
            Frame::Heartbeat | Frame::End => panic!("a message or an answer was awaited, not {frame:?}"),
        }
    }

    /// Takes the aliases out of what was said.
    fn learn(&mut self, said: &mut Value) {
        let is_topic = said["event"] == "topic";
        let granted = said.get_mut("ok").and_then(Value::as_array_mut).into_iter().flatten();
        let named: Vec<(Option<Value>, Value)> = if is_topic {
            vec![(Some(said["alias"].clone()), said["topic"].clone())]
        } else {
            granted
                .map(|one| (one.as_object_mut().and_then(|one| one.remove("alias")), one["topic"].clone()))
                .collect()
        };
        for (alias, topic) in named {
            if let (Some(alias), Some(topic)) = (alias.as_ref().and_then(Value::as_u64), topic.as_str()) {
                self.names.insert(alias as u32, topic.to_owned());
            }
        }
    }

    pub(crate) async fn next_said(&mut self, what: &str) -> Value {
        match self.next(what).await {
            Came::Said(said) => said,
            other => panic!("waiting for {what}, there came {other:?}"),
        }
    }

    /// Says an operation and returns its answer, which is next.
    pub(crate) async fn ask(&mut self, operation: Value) -> Value {
        let what = format!("the answer to {operation:.200}");
        self.say(operation).await;
        self.next_said(&what).await
    }

    /// Subscribes, and fails unless every topic was granted; returns the ack.
    pub(crate) async fn subscribe(&mut self, topics: &[&str]) -> Value {
        let ack = self.ask(json!({"op": "subscribe", "args": topics})).await;
        assert_eq!((&ack["event"], &ack["err"]), (&json!("ack"), &json!([])), "{ack}");
        ack
    }

    /// These must come next.
    pub(crate) async fn expect(&mut self, expected: &[Came]) {
        for one in expected {
            assert_eq!(&self.next("what is expected").await, one);
        }
    }

    /// Proves that nothing but `expected` is on its way: what is published now to a topic of its own comes behind it.
    pub(crate) async fn expect_only(&mut self, server: &TestServer, expected: &[Came]) {
        self.expect(expected).await;
        self.subscribe(&["expect.only"]).await;
        let seq = server.publish("expect.only", "\"end\"").await;
        self.expect(&[message("expect.only", seq, "end")]).await;
        let ack = self.ask(json!({"op": "unsubscribe", "args": ["expect.only"]})).await;
        assert_eq!(ack["op"], "unsubscribe", "{ack}");
    }

    /// The close, whatever comes before it.
    pub(crate) async fn until_close(&mut self) -> (u16, String) {
        loop {
            if let Came::Close(code, reason) = self.next("the close").await {
                return (code, reason);
            }
        }
    }
}

/// What a frame of the combined endpoint means; `None` where the library answers it.
fn unwrapped(frame: Option<Message>, what: &str) -> Option<Came> {
    let text = match frame {
        Some(Message::Text(text)) => text,
        Some(Message::Close(Some(close))) => {
            return Some(Came::Close(close.code.into(), close.reason.to_string()));
        }
        Some(Message::Pong(_)) => return None,
        other => panic!("waiting for {what}, there came {other:?}"),
    };
    let mut said: Value = serde_json::from_str(&text).unwrap();
    let Some(topic) = said["stream"].as_str().map(str::to_owned) else { return Some(Came::Said(said)) };
    let payload = if said.get("data").is_some() { said["data"].take() } else { said["text"].take() };
    let seq = said["seq"].as_u64().unwrap();
    Some(Came::Message { topic, seq, payload, is_snapshot: said["snap"] == true })
}
