//! The WebSocket handshake: tungstenite reads and checks the request; what it would answer is kept back, so that
//! the shard can write it once the subscriptions in the URL are on their way.

use super::admission::Admitted;
use super::{Knocking, refusal};
use crate::config::Settings;
use crate::limits::NOTSENT_LOWAT_BYTES;
use crate::protocol::identity::{Identity, IdentityError};
use crate::protocol::target::{self, Endpoint, Target, TargetError};
use crate::transport::session::may_read;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;

/// The subprotocol that is echoed when offered; none is required.
const SUBPROTOCOL: &str = "stentor.v1";

/// Why a handshake ended badly; the client has been told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Request(&'static str),
    #[error("{0}")]
    Target(#[from] TargetError),
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Entitlement(&'static str),
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// Reads a request and checks all of it; answers it only if it is refused.
pub(super) async fn perform(knocking: Knocking, settings: &Settings) -> Result<Admitted, Refused> {
    let Knocking { stream, peer, seat, .. } = knocking;
    set_options(&stream)?;
    let mut held_back = HeldBack { stream, answer: Vec::new() };
    let mut asked = None;
    // The callback's type is tungstenite's.
    #[allow(clippy::result_large_err)]
    let callback = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        asked = Some(understand(request, peer, settings));
        if offers_subprotocol(request) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok(response)
    };
    let shaken = tokio_tungstenite::accept_hdr_async(&mut held_back, callback).await.map(drop);
    let HeldBack { stream, answer } = held_back;
    let refused = match (shaken, asked) {
        (Ok(()), Some(Ok((target, path)))) => {
            let stream = stream.into_std()?;
            return Ok(Admitted { stream, peer, path, target, answer, seat });
        }
        (_, Some(Err(refused))) => refused,
        (Err(error), _) => Refused::Request(told(error)?),
        (Ok(()), None) => Refused::Request("no request"),
    };
    refusal::send(stream, &answer_to(&refused)).await;
    Err(refused)
}

/// Lets a client in that says what it wants afterwards.
pub(super) fn omit(knocking: Knocking) -> Result<Admitted, Refused> {
    let Knocking { stream, peer, seat, .. } = knocking;
    set_options(&stream)?;
    let stream = stream.into_std()?;
    Ok(Admitted { stream, peer, path: String::new(), target: Target::tcp(), answer: Vec::new(), seat })
}

/// Batching is ours, not Nagle's; and a backlog waits where it is counted, not in the kernel.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
    Ok(())
}

fn understand(request: &Request, peer: SocketAddr, settings: &Settings) -> Result<(Target, String), Refused> {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    let limits = &settings.limits;
    let mut target =
        target::parse(uri.path(), query, limits.topics_per_connection, settings.diagnostics.echo)?;
    let is_local = peer.ip().is_loopback();
    if let Endpoint::Publish(topic, _) = &target.endpoint {
        if !is_local {
            return Err(Refused::Entitlement("only peers on loopback may publish"));
        }
        if topic.is_reserved() {
            return Err(Refused::Entitlement("topics that begin with $sys. belong to the server"));
        }
    }
    if settings.identity.trust_client && target.endpoint == Endpoint::Session {
        target.identity = target::parameter(query, "client").map(Identity::parse).transpose()?;
    }
    let identity = target.identity.as_ref();
    if !target.wishes.iter().all(|wish| may_read(&wish.subject, is_local, identity)) {
        return Err(Refused::Entitlement("one of these topics is not for this connection"));
    }
    Ok((target, uri.path().to_owned()))
}

fn offers_subprotocol(request: &Request) -> bool {
    let offered =
        request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|list| list.split(',')).any(|one| one.trim() == SUBPROTOCOL)
}

/// What a client is told whose request is not a handshake; an error of the socket leaves nobody to tell.
fn told(error: Error) -> io::Result<&'static str> {
    match error {
        Error::Io(error) => Err(error),
        Error::AttackAttempt | Error::Capacity(CapacityError::TooManyHeaders) => Ok(HEAD_TOO_LARGE),
        Error::Protocol(ProtocolError::JunkAfterRequest) => Ok(TOO_EARLY),
        _ => Ok(NOT_A_HANDSHAKE),
    }
}

const TOO_EARLY: &str = "more than a request came before it was answered; wait for the 101";
const HEAD_TOO_LARGE: &str = "the request's head is too large";
const NOT_A_HANDSHAKE: &str = "this port speaks WebSocket (RFC 6455); the operator's HTTP is on --admin";

fn answer_to(refused: &Refused) -> Vec<u8> {
    let text = refused.to_string();
    match refused {
        Refused::Target(TargetError::NotFound) => refusal::response("404 Not Found", "", &text),
        Refused::Target(_) | Refused::Identity(_) => refusal::response("400 Bad Request", "", &text),
        Refused::Entitlement(_) => refusal::response("403 Forbidden", "", &text),
        Refused::Request(TOO_EARLY) => refusal::response("400 Bad Request", "", &text),
        Refused::Request(HEAD_TOO_LARGE) => {
            refusal::response("431 Request Header Fields Too Large", "", &text)
        }
        Refused::Request(_) | Refused::Socket(_) => {
            refusal::response("426 Upgrade Required", "Upgrade: websocket\r\n", &text)
        }
    }
}

/// A socket that is read from, and keeps back what would be written to it.
struct HeldBack {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl AsyncRead for HeldBack {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for HeldBack {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
