//! A client of length-prefixed TCP that knows no more than the wire.

use super::{TestServer, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// See the module.
pub(crate) struct TcpClient {
    pub(crate) stream: TcpStream,
}

/// A frame that came.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Json(Value),
    /// Kind, alias, sequence, payload.
    Message(u8, u32, u64, Vec<u8>),
    Heartbeat,
    End,
}

impl Frame {
    /// From its kind and body.
    pub(crate) fn read(frame: &[u8], what: &str) -> Self {
        match frame[0] {
            b'J' => Self::Json(serde_json::from_slice(&frame[1..]).unwrap()),
            b'H' if frame.len() == 1 => Self::Heartbeat,
            kind @ (b'D' | b'S') => {
                let alias = u32::from_be_bytes(frame[1..5].try_into().unwrap());
                let seq = u64::from_be_bytes(frame[5..13].try_into().unwrap());
                Self::Message(kind, alias, seq, frame[13..].to_vec())
            }
            kind => panic!("waiting for {what} there came a frame of kind {kind:#04x}"),
        }
    }
}

pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 1).to_be_bytes().to_vec();
    out.push(kind);
    out.extend_from_slice(body);
    out
}

pub(crate) fn publish_frame(topic: &str, payload: &[u8]) -> Vec<u8> {
    frame(b'P', &[&(topic.len() as u16).to_be_bytes(), topic.as_bytes(), payload].concat())
}

impl TcpClient {
    pub(crate) async fn connect(server: &TestServer) -> Self {
        Self { stream: within("a connection", TcpStream::connect(server.tcp)).await.unwrap() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("bytes to be sent", self.stream.write_all(bytes)).await.unwrap();
    }

    pub(crate) async fn send_json(&mut self, operation: Value) {
        self.send(&frame(b'J', operation.to_string().as_bytes())).await;
    }

    /// The next frame that is not only a sign of life.
    pub(crate) async fn next(&mut self, what: &str) -> Frame {
        loop {
            let frame = self.next_of_any(what).await;
            if frame != Frame::Heartbeat {
                return frame;
            }
        }
    }

    pub(crate) async fn next_of_any(&mut self, what: &str) -> Frame {
        let mut length = [0; 4];
        if within(what, self.stream.read_exact(&mut length)).await.is_err() {
            return Frame::End;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        within(what, self.stream.read_exact(&mut frame)).await.unwrap();
        Frame::read(&frame, what)
    }

    pub(crate) async fn next_json(&mut self, what: &str) -> Value {
        match self.next(what).await {
            Frame::Json(json) => json,
            other => panic!("waiting for {what}, there came {other:?}"),
        }
    }

    pub(crate) async fn ask(&mut self, operation: Value) -> Value {
        self.send_json(operation).await;
        self.next_json("an answer").await
    }

    /// Subscribes; returns the aliases.
    pub(crate) async fn subscribe(&mut self, topics: &[&str]) -> Vec<u32> {
        let ack = self.ask(json!({"op": "subscribe", "args": topics})).await;
        assert_eq!(ack["err"], json!([]), "{ack}");
        ack["ok"].as_array().unwrap().iter().map(|one| one["alias"].as_u64().unwrap() as u32).collect()
    }

    /// The next must be this message.
    pub(crate) async fn expect(&mut self, alias: u32, seq: u64, payload: &[u8]) {
        assert_eq!(self.next("a message").await, Frame::Message(b'D', alias, seq, payload.to_vec()));
    }
}
