//! A client of length-prefixed TCP that knows no more than the wire.

use super::framed::{Frame, Framed};
use super::{Addresses, HOME, stream_from, within};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// See the module.
pub(crate) struct TcpClient {
    pub(crate) stream: TcpStream,
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
    pub(crate) async fn connect(to: impl Into<Addresses>) -> Self {
        Self::connect_from(HOME, to).await
    }

    pub(crate) async fn connect_from(address: [u8; 4], to: impl Into<Addresses>) -> Self {
        Self { stream: stream_from(address, to.into().tcp).await }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("bytes to be sent", self.stream.write_all(bytes)).await.unwrap();
    }
}

impl Framed for TcpClient {
    async fn send_json(&mut self, operation: Value) {
        self.send(&frame(b'J', operation.to_string().as_bytes())).await;
    }

    async fn next_of_any(&mut self, what: &str) -> Frame {
        let mut length = [0; 4];
        if within(what, self.stream.read_exact(&mut length)).await.is_err() {
            return Frame::End;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        within(what, self.stream.read_exact(&mut frame)).await.unwrap();
        Frame::read(&frame, what)
    }
}
