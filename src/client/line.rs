//! The line to a server: up, down until a moment, being opened, or ended for good. And the other line, where what datagrams
//! lost is fetched.

use super::Client;
use super::address::Transport;
use super::builder::Setup;
use super::error::ClientError;
use super::event::Event;
use super::wire::{self, Heard, Purpose, Receiver, Sender};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often a sign of life goes out over TCP, where the server closes after 60 s of silence.
const LIVE_EVERY: Duration = Duration::from_secs(15);
/// How often a lease of 30 s is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long a server that pings, or sends signs of life, every 20 s may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// How long one may be that answers each renewal.
const LEASE_SILENCE_MAX: Duration = Duration::from_secs(25);

/// Held between two calls, so that a caller who stops waiting does not make it begin again.
pub(super) type Opening<T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + Send + Sync>>;

/// See the module.
pub(super) enum Line {
    Up(Box<Link>),
    /// Until then nothing is tried.
    Down(Instant),
    Opening(Opening<Link>),
    Ended(ClientError),
}

/// A connection, and what keeps it alive.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    transport: Transport,
    /// When anything was last heard, if only a sign of life.
    heard_at: Instant,
    live_at: Instant,
    /// Set when nothing can be sent any more: until then the server may say why.
    broken: Option<(Instant, ClientError)>,
}

impl Link {
    pub(super) async fn open(setup: Arc<Setup>) -> Result<Self, ClientError> {
        let purpose = Purpose::Session { identity: setup.identity.as_deref() };
        let (sender, receiver) = wire::open_at(&setup.address, purpose).await?;
        let (transport, heard_at) = (setup.address.transport, Instant::now());
        let live_at = heard_at + live_every(transport);
        Ok(Self { sender, receiver, transport, heard_at, live_at, broken: None })
    }

    /// What comes next: something heard, or nothing, when there was a sign of life, everything is sent or `deadline` has come.
    pub(super) async fn next(
        &mut self,
        deadline: Option<Instant>,
        is_subscribed: bool,
    ) -> Result<Option<Heard>, ClientError> {
        if Instant::now() >= self.live_at {
            self.sender.live();
            self.live_at = Instant::now() + live_every(self.transport);
        }
        let silent_at = self.silent_at(is_subscribed);
        let mut until = silent_at.min(self.live_at).min(deadline.unwrap_or(silent_at));
        if let Some((given_up_at, _)) = &self.broken {
            until = until.min(*given_up_at);
        }
        tokio::select! {
            biased;
            sent = self.sender.flush(), if self.broken.is_none() && self.sender.has_unsent() => {
                if let Err(error) = sent {
                    // Something that was heard before explains it.
                    self.broken = Some((Instant::now() + wire::EXPLANATION_WAIT, error));
                }
                Ok(None)
            }
            heard = self.receiver.sign() => {
                self.heard_at = Instant::now();
                heard
            }
            () = tokio::time::sleep_until(until) => {
                let now = Instant::now();
                match self.broken.take() {
                    Some((given_up_at, error)) if now >= given_up_at => return Err(error),
                    broken => self.broken = broken,
                }
                if now >= self.silent_at(is_subscribed) {
                    return Err(ClientError::Lost("the server has gone silent".to_owned()));
                }
                Ok(None)
            }
        }
    }

    fn silent_at(&self, is_subscribed: bool) -> Instant {
        let longest = match self.transport {
            Transport::Udp if is_subscribed => LEASE_SILENCE_MAX,
            // Nobody answers who has leased nothing.
            Transport::Udp => Duration::from_secs(1 << 30),
            Transport::WebSocket | Transport::Tcp => SILENCE_MAX,
        };
        self.heard_at + longest
    }
}

fn live_every(transport: Transport) -> Duration {
    if transport == Transport::Udp { RENEW_EVERY } else { LIVE_EVERY }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up(_) => "Up",
            Self::Down(_) => "Down",
            Self::Opening(_) => "Opening",
            Self::Ended(_) => "Ended",
        })
    }
}

/// Where what datagrams lost is fetched.
pub(super) enum Repairer {
    /// Nowhere, or nothing is to be fetched.
    Idle,
    Opening(Opening<Client>),
    Up(Box<Client>),
}

impl Repairer {
    /// What was fetched, or nothing where the line is only now open.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Opening(opening) => {
                let client = opening.await?;
                *self = Self::Up(Box::new(client));
                Ok(None)
            }
            Self::Up(client) => within(client).await.map(Some),
        }
    }
}

/// A client within a client: a future of a size that can be told.
fn within(client: &mut Client) -> Pin<Box<dyn Future<Output = Result<Event, ClientError>> + Send + '_>> {
    Box::pin(client.next())
}

impl fmt::Debug for Repairer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Opening(_) => "Opening",
            Self::Up(_) => "Up",
        })
    }
}
