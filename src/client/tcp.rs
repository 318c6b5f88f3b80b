//! A client's connection over length-prefixed TCP.
//!
//! A close is an event here, and ours is a question: once it is answered, everything before it has been read, and what was
//! refused has been said, as answers come in the order of what they answer.

use super::address::Address;
use super::closed::Closed;
use super::error::ClientError;
use super::frames::{self, Frame};
use super::said::{self, Said};
use super::wire::{self, GATHERED_BYTES, Heard, MESSAGE_BYTES_MAX, Text};
use crate::message::tcp::{HEARTBEAT, JSON};
use crate::message::{Payload, PayloadKind};
use crate::protocol::options::PublishOptions;
use bytes::{Buf as _, BytesMut};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Leaves a topic that nobody can have joined: an operation that goes the way of what is published.
const LAST: &str = r#"{"op":"unsubscribe","id":"last","args":["$last"]}"#;
/// What only its answer has.
const LAST_ANSWER: &str = r#""id":"last""#;
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

pub(super) async fn open(address: &Address) -> Result<(Sender, Receiver), ClientError> {
    // Not split by the library, whose sending half would end the connection when it goes: an answer may be owed.
    let stream = Arc::new(wire::connect(address).await?);
    let sender = Sender { stream: Arc::clone(&stream), gathered: BytesMut::new() };
    Ok((sender, Receiver { stream, bytes: BytesMut::new() }))
}

/// The half that sends.
#[derive(Debug)]
pub(super) struct Sender {
    stream: Arc<TcpStream>,
    gathered: BytesMut,
}

impl Sender {
    pub(super) fn publish(&mut self, topic: &str, payload: &Payload, options: &PublishOptions) {
        let is_plain = *options == PublishOptions::default();
        // A frame has no kind: what is UTF-8 would be taken for text.
        let is_disguised =
            payload.kind() == PayloadKind::Binary && std::str::from_utf8(payload.bytes()).is_ok();
        if is_plain && !is_disguised {
            frames::put_message(&mut self.gathered, frames::put, topic, payload.bytes());
        } else {
            self.operation(&said::publish(None, topic, payload, options));
        }
    }

    pub(super) fn operation(&mut self, text: &str) {
        frames::put(&mut self.gathered, JSON, &[text.as_bytes()]);
    }

    pub(super) fn live(&mut self) {
        frames::put(&mut self.gathered, HEARTBEAT, &[]);
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.gathered.is_empty()
    }

    pub(super) async fn drain(&mut self) -> Result<(), ClientError> {
        if self.gathered.len() < GATHERED_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    pub(super) async fn flush(&mut self) -> Result<(), ClientError> {
        let lost = |error: io::Error| ClientError::Lost(error.to_string());
        while !self.gathered.is_empty() {
            match self.stream.try_write(&self.gathered) {
                Ok(taken) => self.gathered.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await.map_err(lost)?;
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    pub(super) async fn close(&mut self) -> Result<(), ClientError> {
        self.operation(LAST);
        self.flush().await
    }
}

/// The half that receives.
#[derive(Debug)]
pub(super) struct Receiver {
    stream: Arc<TcpStream>,
    bytes: BytesMut,
}

impl Receiver {
    /// Nothing also for a part of a frame.
    pub(super) async fn next(&mut self) -> Result<Option<Heard>, ClientError> {
        let mut has_read = false;
        loop {
            match frames::take(&mut self.bytes, MESSAGE_BYTES_MAX).map_err(ClientError::Lost)? {
                Some(Frame::Data { alias, seq, payload, is_snapshot }) => {
                    return Ok(Some(Heard::Data { alias, seq, payload, is_snapshot }));
                }
                Some(Frame::Json(json)) => {
                    let text = Text::from_bytes(json);
                    let text = text.ok_or_else(|| ClientError::Lost("JSON that is not UTF-8".to_owned()))?;
                    return Ok(Some(understood(text)));
                }
                Some(Frame::Life) => return Ok(None),
                None if has_read => return Ok(None),
                None => {
                    // A server that is always ahead must not keep this thread from its other tasks.
                    tokio::task::coop::consume_budget().await;
                    self.bytes.reserve(READ_BYTES);
                    let lost = |error: io::Error| ClientError::Lost(error.to_string());
                    match self.stream.try_read_buf(&mut self.bytes) {
                        Ok(0) => return Err(ClientError::ended()),
                        Ok(_) => has_read = true,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.stream.readable().await.map_err(lost)?;
                        }
                        Err(error) => return Err(lost(error)),
                    }
                }
            }
        }
    }
}

/// A close, or what else the server says.
pub(super) fn understood(text: Text) -> Heard {
    if text.contains(LAST_ANSWER) {
        return Heard::Closed(Closed { code: 1000, reason: String::new() });
    }
    if text.contains(r#""event":"close""#)
        && let Ok(Said::Close { code, reason }) = serde_json::from_str(&text)
    {
        return Heard::Closed(Closed { code, reason });
    }
    Heard::Text(text)
}
