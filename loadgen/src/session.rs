//! A connection on which operations are said and everything is heard, whatever is spoken on it.
//!
//! Contract: [`Session::hear`] gives one message or answer after the other, and loses none when it is given up meanwhile; signs of
//! life are answered on the way. What a message is wrapped in is left away: payloads and answers come as they are.

use std::io;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::handshake::Opened;
use crate::target::tcp::{self, HEARTBEAT, JSON};
use crate::target::wire::Wire;
use crate::walker::Event;

/// Why there is no more to be heard or said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the connection failed: {0}")]
    Socket(#[from] io::Error),
    #[error("the server closed the connection: {0}")]
    Closed(String),
}

/// The connection.
#[derive(Debug)]
pub(crate) enum Session {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Tcp {
        stream: TcpStream,
        /// What came and has not been heard yet.
        bytes: Vec<u8>,
    },
}

/// Length and kind.
const HEADER_BYTES: usize = 5;
/// In front of a payload: alias and sequence.
const PLACE_BYTES: usize = 12;

impl Session {
    /// On an open connection.
    pub(crate) async fn new(opened: Opened) -> Self {
        let Opened { stream, early, wire } = opened;
        if wire == Wire::Tcp {
            return Self::Tcp { stream, bytes: early };
        }
        let config = WebSocketConfig::default().read_buffer_size(4_096);
        let socket = WebSocketStream::from_partially_read(stream, early, Role::Client, Some(config)).await;
        Self::WebSocket(Box::new(socket))
    }

    /// Says an operation.
    pub(crate) async fn say(&mut self, operation: &Value) -> Result<(), Ended> {
        let text = operation.to_string();
        match self {
            Self::WebSocket(socket) => Ok(socket.send(Message::text(text)).await?),
            Self::Tcp { stream, .. } => {
                let mut frame = Vec::new();
                tcp::push_frame(&mut frame, JSON, &[text.as_bytes()]);
                Ok(stream.write_all(&frame).await?)
            }
        }
    }

    /// What the server says next.
    pub(crate) async fn hear(&mut self) -> Result<Vec<u8>, Ended> {
        let end = || Ended::Closed("without a word".to_owned());
        match self {
            Self::WebSocket(socket) => loop {
                match socket.next().await.ok_or_else(end)?? {
                    Message::Text(text) => return Ok(text.as_bytes().to_vec()),
                    Message::Binary(bytes) => return Ok(bytes.to_vec()),
                    Message::Close(frame) => {
                        return Err(Ended::Closed(frame.map_or_else(String::new, |frame| frame.to_string())));
                    }
                    _ => {}
                }
            },
            Self::Tcp { stream, bytes } => loop {
                match first_frame(bytes) {
                    None if stream.read_buf(bytes).await? == 0 => return Err(end()),
                    None => {}
                    Some((HEARTBEAT, _)) => {
                        let mut life = Vec::new();
                        tcp::push_frame(&mut life, HEARTBEAT, &[]);
                        stream.write_all(&life).await?;
                    }
                    Some((JSON, said)) => {
                        let mut closed = None;
                        tcp::tell(&said, &mut |event| {
                            if let Event::Close { code, reason } = event {
                                closed = Some(format!("{} {reason}", code.unwrap_or(1005)));
                            }
                        });
                        return closed.map_or(Ok(said), |why| Err(Ended::Closed(why)));
                    }
                    Some((_, body)) => return Ok(body.get(PLACE_BYTES..).unwrap_or_default().to_vec()),
                }
            },
        }
    }
}

/// Takes the first frame away, once it is whole: its kind and its body.
fn first_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let end = HEADER_BYTES - 1 + length;
    let frame = bytes.get(HEADER_BYTES - 1..end.max(HEADER_BYTES))?;
    let (kind, body) = (frame[0], frame[1..].to_vec());
    bytes.drain(..end);
    Some((kind, body))
}

impl From<tungstenite::Error> for Ended {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(io::Error::other(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn frames_are_heard_whole_and_signs_of_life_are_answered() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut session = Session::new(Opened { stream, early: b"\0\0".to_vec(), wire: Wire::Tcp }).await;
        peer.write_all(b"\0\x10D\0\0\0\x07\0\0\0\0\0\0\x01\x02pay").await.unwrap();
        assert_eq!(session.hear().await.unwrap(), b"pay");
        peer.write_all(b"\0\0\0\x01H\0\0\0\x03J{").await.unwrap();
        let nothing = tokio::time::timeout(Duration::from_millis(20), session.hear()).await;
        assert!(nothing.is_err(), "half a frame is none");
        peer.write_all(b"}\0\0\0\x2cJ{\"event\":\"close\",\"code\":1012,\"reason\":\"so\"}").await.unwrap();
        assert_eq!(session.hear().await.unwrap(), b"{}");
        let Err(ended) = session.hear().await else { panic!("a close is no answer") };
        assert!(ended.to_string().contains("1012 so"), "{ended}");
        session.say(&serde_json::json!({})).await.unwrap();
        let mut heard = [0; 12];
        peer.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"\0\0\0\x01H\0\0\0\x03J{}");
    }
}
