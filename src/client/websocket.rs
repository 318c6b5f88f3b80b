//! A client's connection over WebSocket.

use super::address::Address;
use super::closed::Closed;
use super::error::ClientError;
use super::said;
use super::wire::{self, CONNECT_WAIT, EXPLANATION_WAIT, Heard, MESSAGE_BYTES_MAX, Purpose, Text};
use crate::message::{Payload, PayloadKind};
use crate::protocol::options::PublishOptions;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::VecDeque;
use std::future::poll_fn;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

pub(super) async fn open(address: &Address, purpose: Purpose<'_>) -> Result<(Sender, Receiver), ClientError> {
    let path = purpose.path();
    let stream = wire::connect(address).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let server = address.to_string();
    let handshake = client_async_with_config(address.request(&path), stream, Some(config));
    match timeout(CONNECT_WAIT, handshake).await {
        Ok(Ok((socket, _))) => {
            let (sink, stream) = socket.split();
            let is_raw = matches!(purpose, Purpose::PublishTo { .. });
            let sender = Sender { sink, is_raw, gathered: VecDeque::new(), is_flushed: true };
            Ok((sender, Receiver { stream, closed: None }))
        }
        Ok(Err(Error::Http(response))) => {
            let text = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let (status, text) = (response.status().to_string(), text.trim().to_owned());
            Err(ClientError::Refused { server, path, status, text })
        }
        Ok(Err(error)) => Err(ClientError::Foreign { server, why: error.to_string() }),
        Err(_) => Err(ClientError::Silent { server }),
    }
}

/// The half that sends.
#[derive(Debug)]
pub(super) struct Sender {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    /// True exactly when each message is published as it is.
    is_raw: bool,
    gathered: VecDeque<Message>,
    is_flushed: bool,
}

impl Sender {
    pub(super) fn publish(&mut self, topic: &str, payload: &Payload, options: &PublishOptions) {
        let text = || Utf8Bytes::try_from(payload.bytes().clone()).ok();
        let message = match (self.is_raw, payload.kind()) {
            (false, _) => Message::text(said::publish(None, topic, payload, options)),
            (true, PayloadKind::Binary) => Message::Binary(payload.bytes().clone()),
            (true, _) => text().map_or_else(|| Message::Binary(payload.bytes().clone()), Message::Text),
        };
        self.gathered.push_back(message);
    }

    pub(super) fn operation(&mut self, text: &str) {
        self.gathered.push_back(Message::text(text));
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.is_flushed || !self.gathered.is_empty()
    }

    /// The library gathers 128 KiB by itself.
    pub(super) async fn drain(&mut self) -> Result<(), ClientError> {
        while !self.gathered.is_empty() {
            poll_fn(|context| self.sink.poll_ready_unpin(context)).await.map_err(|error| lost(&error))?;
            if let Some(message) = self.gathered.pop_front() {
                self.is_flushed = false;
                self.sink.start_send_unpin(message).map_err(|error| lost(&error))?;
            }
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), ClientError> {
        self.drain().await?;
        self.sink.flush().await.map_err(|error| lost(&error))?;
        self.is_flushed = true;
        Ok(())
    }

    pub(super) async fn close(&mut self) -> Result<(), ClientError> {
        self.drain().await?;
        self.sink.close().await.map_err(|error| lost(&error))
    }
}

/// The half that receives.
#[derive(Debug)]
pub(super) struct Receiver {
    stream: SplitStream<WebSocketStream<TcpStream>>,
    /// The server's close, from when it was read until our answer to it is out.
    closed: Option<Closed>,
}

impl Receiver {
    /// Pings are answered underneath. None of the paths that are opened sends binary messages.
    pub(super) async fn next(&mut self) -> Result<Option<Heard>, ClientError> {
        if self.closed.is_none() {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Some(Heard::Text(Text(text)))),
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    self.closed = Some(Closed { code, reason });
                }
                Some(Ok(_)) => return Ok(None),
                Some(Err(error)) => return Err(lost(&error)),
                None => return Err(ClientError::ended()),
            }
        }
        // Reading on sends our answer, and ends when the server hangs up.
        let _ = timeout(EXPLANATION_WAIT, async { while self.stream.next().await.is_some() {} }).await;
        let closed = self.closed.take().unwrap_or(Closed { code: 1005, reason: String::new() });
        Ok(Some(Heard::Closed(closed)))
    }
}

fn lost(error: &Error) -> ClientError {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ClientError::ended(),
        Error::Io(error) => ClientError::Lost(error.to_string()),
        error => ClientError::Lost(error.to_string()),
    }
}
