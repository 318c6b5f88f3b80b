//! A client of any wire, so that a behaviour is described once: what comes is told alike, whatever it was wrapped in.
//!
//! Names for aliases are taken from the answers and `topic` events, which are not handed on; nor are signs of life,
//! which are answered.

use super::framed::{Frame, Framed as _};
use super::tcp::{self, TcpClient};
use super::udp::{self, UdpClient};
use super::{Addresses, Client, HOME, TestServer, stream_from, within};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use stentor::Settings;
use stentor::config::Networks;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::{Error, Message};

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

/// The topics an ack grants, sorted.
pub(crate) fn topics(ack: &Value) -> Vec<&str> {
    let ok = ack["ok"].as_array().unwrap();
    let mut topics: Vec<_> = ok.iter().map(|one| one["topic"].as_str().unwrap()).collect();
    topics.sort_unstable();
    topics
}

/// Lets anybody on loopback publish, by datagram too.
pub(crate) fn open(settings: &mut Settings) {
    settings.udp_publish_from = Networks::try_from("127.0.0.0/8".to_owned()).unwrap();
}

/// A live message.
pub(crate) fn message(topic: &str, seq: u64, payload: impl Into<Value>) -> Came {
    Came::Message { topic: topic.to_owned(), seq, payload: payload.into(), is_snapshot: false }
}

/// See the module.
pub(crate) struct AnyClient {
    line: Line,
    names: HashMap<u32, String>,
    /// Of the last message that came, as they were published.
    pub(crate) bytes: Vec<u8>,
}

/// Where a WebSocket says as much as the other wires do.
const COMBINED: &str = "/stream?seq=1";

enum Line {
    WebSocket(Box<Client>),
    Tcp(TcpClient),
    Udp(UdpClient),
}

impl AnyClient {
    /// On nothing yet.
    pub(crate) async fn connect(to: impl Into<Addresses>, wire: Wire) -> Self {
        Self::connect_from(HOME, to, wire).await
    }

    /// The same from another address of this machine.
    pub(crate) async fn connect_from(address: [u8; 4], to: impl Into<Addresses>, wire: Wire) -> Self {
        let to = to.into();
        let line = match wire {
            Wire::WebSocket => {
                let stream = stream_from(address, to.websocket).await;
                Line::WebSocket(Box::new(Client::shake(stream, COMBINED, &[]).await.unwrap()))
            }
            Wire::Tcp => Line::Tcp(TcpClient::connect_from(address, to).await),
            Wire::Udp => Line::Udp(UdpClient::over(udp::socket_from(address, to.udp).await).await),
        };
        Self::over(line)
    }

    /// Subscribed to these.
    pub(crate) async fn on(to: impl Into<Addresses>, wire: Wire, topics: &[&str]) -> Self {
        let mut client = Self::connect(to, wire).await;
        client.subscribe(topics).await;
        client
    }

    fn over(line: Line) -> Self {
        Self { line, names: HashMap::new(), bytes: Vec::new() }
    }

    /// In a seat, or told why there is none; a datagram takes one when it first subscribes.
    pub(crate) async fn seated(address: [u8; 4], server: &TestServer, wire: Wire) -> Result<Self, String> {
        let mut client = if wire == Wire::WebSocket {
            let stream = stream_from(address, server.at.websocket).await;
            match Client::shake(stream, COMBINED, &[]).await {
                Ok(client) => Self::over(Line::WebSocket(Box::new(client))),
                Err(Error::Http(answer)) => {
                    assert_eq!(answer.status(), 503, "{answer:?}");
                    let retry_after = answer.headers()["retry-after"].to_str().unwrap();
                    assert!(retry_after.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{retry_after}");
                    return Err(String::from_utf8(answer.into_body().unwrap()).unwrap());
                }
                Err(error) => panic!("neither a seat nor a refusal: {error}"),
            }
        } else {
            Self::connect_from(address, server, wire).await
        };
        client.say(json!({"op": "subscribe", "args": ["seat"]})).await;
        match client.next("a seat, or why there is none").await {
            Came::Close(1013, reason) => Err(reason),
            Came::Said(said) if said["event"] == "ack" => Ok(client),
            other => panic!("neither a seat nor a refusal: {other:?}"),
        }
    }

    /// As the server sees it.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.line {
            Line::WebSocket(client) => client.address(),
            Line::Tcp(client) => client.stream.local_addr().unwrap(),
            Line::Udp(client) => client.socket.local_addr().unwrap(),
        }
    }

    pub(crate) async fn say(&mut self, operation: Value) {
        match &mut self.line {
            Line::WebSocket(client) => client.send_json(operation).await,
            Line::Tcp(client) => client.send_json(operation).await,
            Line::Udp(client) => client.send_json(operation).await,
        }
    }

    /// The same of what may be no operation; false where this wire would ignore it: a datagram says who it is from.
    pub(crate) async fn say_text(&mut self, text: &str) -> bool {
        match &mut self.line {
            Line::WebSocket(client) => client.send_text(text).await,
            Line::Tcp(client) => client.send(&tcp::frame(b'J', text.as_bytes())).await,
            Line::Udp(client) => {
                let Ok(operation) = serde_json::from_str::<Map<String, Value>>(text) else { return false };
                let comma = if operation.is_empty() { "" } else { "," };
                let rest = text.trim_start().strip_prefix('{').unwrap();
                let datagram = format!("J{{\"cookie\":\"{}\"{comma}{rest}", client.cookie);
                client.socket.send(datagram.as_bytes()).await.unwrap();
            }
        }
        true
    }

    /// Says no more, and still listens.
    pub(crate) async fn shut_sending(&mut self) {
        let stream = match &mut self.line {
            Line::WebSocket(client) => client.stream(),
            Line::Tcp(client) => &mut client.stream,
            Line::Udp(_) => panic!("datagrams have no half"),
        };
        within("the sending half to be shut", stream.shutdown()).await.unwrap();
    }

    pub(crate) async fn next(&mut self, what: &str) -> Came {
        loop {
            let came = match &mut self.line {
                Line::WebSocket(client) => {
                    let frame = client.next_named(what).await;
                    self.unwrapped(frame, what)
                }
                Line::Tcp(client) => {
                    let frame = client.next_of_any(what).await;
                    if frame == Frame::Heartbeat {
                        // One that has been closed meanwhile is told by what comes next.
                        let _ = client.stream.write_all(&tcp::frame(b'H', b"")).await;
                        continue;
                    }
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

    fn message(&mut self, topic: String, seq: u64, bytes: Vec<u8>, is_snapshot: bool) -> Came {
        let payload = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        self.bytes = bytes;
        Came::Message { topic, seq, payload, is_snapshot }
    }

    /// What a frame of the combined endpoint means; `None` where the library answers it.
    fn unwrapped(&mut self, frame: Option<Message>, what: &str) -> Option<Came> {
        let text = match frame {
            Some(Message::Text(text)) => text,
            Some(Message::Close(Some(close))) => {
                return Some(Came::Close(close.code.into(), close.reason.to_string()));
            }
            Some(Message::Pong(_)) => return None,
            other => panic!("waiting for {what}, there came {other:?}"),
        };
        let Ok(envelope) = serde_json::from_str::<Envelope>(&text) else {
            return Some(Came::Said(serde_json::from_str(&text).unwrap()));
        };
        let bytes = match (envelope.data, envelope.text, envelope.base64) {
            (Some(data), None, None) => data.get().into(),
            (None, Some(text), None) => text.into_bytes(),
            (None, None, Some(base64)) => BASE64_STANDARD.decode(base64).unwrap(),
            _ => panic!("not one payload: {text}"),
        };
        Some(self.message(envelope.stream, envelope.seq, bytes, envelope.snap))
    }

    /// What it means; `None` where it only names a topic.
    fn understood(&mut self, frame: Frame) -> Option<Came> {
        match frame {
            Frame::Message(kind, alias, seq, bytes) => {
                let topic =
                    self.names.get(&alias).cloned().unwrap_or_else(|| panic!("alias {alias} has no name"));
                Some(self.message(topic, seq, bytes, kind == b'S'))
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

    /// Subscribes `t` with a place to resume from; returns what the ack says of it.
    pub(crate) async fn resume(&mut self, epoch: &str, seq: u64) -> Value {
        let since = json!({"topic": "t", "since": {"epoch": epoch, "seq": seq}});
        let ack = self.ask(json!({"op": "subscribe", "args": [since]})).await;
        assert_eq!((&ack["event"], &ack["err"]), (&json!("ack"), &json!([])), "{ack}");
        ack["ok"][0].clone()
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

/// A message in the envelope that this client asks for.
#[derive(Deserialize)]
struct Envelope<'a> {
    stream: String,
    seq: u64,
    #[serde(default)]
    snap: bool,
    // A null is data too.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

// Not every test binary has a matrix.
#[allow(unused_macros)]
macro_rules! play {
    ($($on:ident, $wire:ident: $($behaviour:ident)*;)*) => {$(
        mod $on {
            use crate::common::any::Wire;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour(Wire::$wire).await;
                }
            )*
        }
    )*};
}

/// Plays each behaviour on every wire, or on those that lose nothing and fill.
#[allow(unused_macros)]
macro_rules! matrix {
    (streams: $($stream:ident)*;) => {
        $crate::common::any::play! {
            on_websocket, WebSocket: $($stream)*;
            on_tcp, Tcp: $($stream)*;
        }
    };
    (everywhere: $($every:ident)*; streams: $($stream:ident)*;) => {
        $crate::common::any::play! {
            on_websocket, WebSocket: $($every)* $($stream)*;
            on_tcp, Tcp: $($every)* $($stream)*;
            on_udp, Udp: $($every)*;
        }
    };
}

#[allow(unused_imports)]
pub(crate) use {matrix, play};
