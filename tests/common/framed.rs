//! Frames of the length-prefixed protocol, and what clients of streams and of datagrams do alike.

use serde_json::{Value, json};

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

/// A client whose messages are frames.
pub(crate) trait Framed {
    async fn send_json(&mut self, operation: Value);

    async fn next_of_any(&mut self, what: &str) -> Frame;

    /// The next frame that is not only a sign of life.
    async fn next(&mut self, what: &str) -> Frame {
        loop {
            let frame = self.next_of_any(what).await;
            if frame != Frame::Heartbeat {
                return frame;
            }
        }
    }

    async fn next_json(&mut self, what: &str) -> Value {
        match self.next(what).await {
            Frame::Json(json) => json,
            other => panic!("waiting for {what}, there came {other:?}"),
        }
    }

    async fn ask(&mut self, operation: Value) -> Value {
        self.send_json(operation).await;
        self.next_json("an answer").await
    }

    /// Subscribes; returns the aliases.
    async fn subscribe(&mut self, topics: &[&str]) -> Vec<u32> {
        let ack = self.ask(json!({"op": "subscribe", "args": topics})).await;
        assert_eq!(ack["err"], json!([]), "{ack}");
        ack["ok"].as_array().unwrap().iter().map(|one| one["alias"].as_u64().unwrap() as u32).collect()
    }

    /// The next must be this message.
    async fn expect(&mut self, alias: u32, seq: u64, payload: &[u8]) {
        assert_eq!(self.next("a message").await, Frame::Message(b'D', alias, seq, payload.to_vec()));
    }
}
