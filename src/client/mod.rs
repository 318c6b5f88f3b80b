//! A client of any Stentor server: subscribes and publishes over `ws://`, `tcp://` or `udp://`, comes back by itself when the
//! connection is lost, and goes on where it was.
//!
//! Contract, the same over all three:
//! 1. Each topic's messages come in order and once, over however many connections. What cannot be is an event: a gap, another
//!    epoch, a subscription that is not recovered or refused.
//! 2. Calls may be dropped while they wait (`select!`, `timeout`); no message is lost by that.
//! 3. Everything held is bounded. Who does not call [`Client::next`] is a slow consumer to the server, as any other.
//!
//! It has no task of its own: [`Client::next`] (and whatever else waits) reads, answers pings, renews leases and reconnects.
//! So keep calling it. To publish much, one message need not wait for the answer to the one before: see [`open`].
//!
//! ```
//! use stentor::client::{Client, Event};
//! # use stentor::Server;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let any = "127.0.0.1:0".parse()?;
//! # let server = Server::builder().listen(any).admin(any).tcp(any).start()?;
//! # let url = format!("tcp://{}", server.tcp_address().expect("it listens"));
//! // let url = "tcp://127.0.0.1:7401"; or ws://…, or udp://…
//! let mut client = Client::connect(&url).await?;
//! client.subscribe(["trade.BTCUSDT", "book.*"]).await?;
//! client.publish("trade.BTCUSDT", r#"{"p":"64135.3"}"#).await?;
//! loop {
//!     match client.next().await? {
//!         Event::Message(message) => {
//!             println!("{} {} {:?}", message.topic, message.seq, message.payload.bytes());
//!             # break;
//!         }
//!         Event::Gap { topic, from, to, reason } => eprintln!("{topic}: {from} to {to} will not come ({reason})"),
//!         event => eprintln!("{event:?}"), // subscribed, reconnected, …
//!     }
//! }
//! # client.close().await;
//! # server.shutdown();
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!   Client ── session (pure): what is wanted, places, holes, answers ──► events
//!     │
//!   line: up · down until … · being opened · ended      and one more line to repair what datagrams lost
//!     │
//!   wire: Sender, Receiver ── websocket · tcp · udp
//! ```

mod address;
mod backoff;
mod builder;
mod closed;
pub(crate) mod envelope;
mod error;
mod event;
mod frames;
mod holes;
mod line;
mod places;
mod said;
mod session;
mod tcp;
mod udp;
mod websocket;
mod wire;

pub use backoff::BackoffBounds;
pub use builder::ClientBuilder;
pub use closed::Closed;
pub use error::ClientError;
pub use event::{Event, Granted, Message, NotAPlace, Place, Refused, Wish};
pub use wire::{CLOSE_WAIT, EXPLANATION_WAIT, Heard, Purpose, Receiver, Sender, Text, open};

use crate::message::Payload;
use crate::protocol::options::PublishOptions;
use crate::protocol::outcome::Published;
use address::Transport;
use backoff::Backoff;
use builder::Setup;
use futures_util::FutureExt as _;
use line::{Line, Link, Repairer};
use session::{Repair, Session};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Things taken in at once, where they are at hand.
const AT_ONCE: usize = 64;
/// How long [`Client::close`] waits for the answer.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Client {
    setup: Arc<Setup>,
    session: Session,
    line: Line,
    repairer: Repairer,
    backoff: Backoff,
    words: Option<Text>,
}

impl Client {
    /// Connects to the server that `url` names, and comes back by itself whenever that is lost.
    ///
    /// # Errors
    /// The URL is wrong, or nobody answers there as expected.
    pub async fn connect(url: &str) -> Result<Self, ClientError> {
        Self::builder(url).connect().await
    }

    /// A client with more to say.
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    async fn open(setup: Setup) -> Result<Self, ClientError> {
        let setup = Arc::new(setup);
        let link = Link::open(Arc::clone(&setup)).await?;
        let (can_repair, returns) = (setup.repair.is_some(), setup.backoff.is_some());
        let mut session = Session::new(setup.address.transport, can_repair, returns, Instant::now());
        session.opened(false);
        let backoff = Backoff::new(setup.backoff.unwrap_or_default());
        let line = Line::Up(Box::new(link));
        Ok(Self { setup, session, line, repairer: Repairer::Idle, backoff, words: None })
    }

    /// Subscribes to topics and patterns, and waits until the server has said what it grants, which [`next`](Self::next) tells
    /// in its place among the messages.
    ///
    /// # Errors
    /// Nothing was granted, or the connection ended for good.
    pub async fn subscribe<W: Into<Wish>>(
        &mut self,
        wishes: impl IntoIterator<Item = W>,
    ) -> Result<(), ClientError> {
        let wishes: Vec<Wish> = wishes.into_iter().map(Into::into).collect();
        let names: Vec<String> = wishes.iter().map(|wish| wish.topic.clone()).collect();
        self.stamp()?;
        self.session.subscribe(wishes);
        loop {
            if let Some(outcome) = self.session.subscribed(&names) {
                return outcome;
            }
            self.wait().await?;
        }
    }

    /// Leaves topics and patterns. What was on its way still comes.
    ///
    /// # Errors
    /// The connection ended for good.
    pub async fn unsubscribe<T: Into<String>>(
        &mut self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), ClientError> {
        self.stamp()?;
        let asked = self.session.unsubscribe(topics.into_iter().map(Into::into).collect());
        while self.session.is_asked(asked) {
            self.wait().await?;
        }
        Ok(())
    }

    /// Publishes a message, and returns its place in the topic once the server has taken it. Over UDP nothing is ever
    /// answered, and there is none.
    ///
    /// # Errors
    /// The server refused it, or the connection was lost before it answered: published again, it may then come twice.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Payload>,
    ) -> Result<Option<Published>, ClientError> {
        self.publish_with(topic, payload, &PublishOptions::default()).await
    }

    /// The same with what a publisher may say of a message.
    ///
    /// # Errors
    /// As of [`publish`](Self::publish); and a datagram has no place for options.
    pub async fn publish_with(
        &mut self,
        topic: &str,
        payload: impl Into<Payload>,
        options: &PublishOptions,
    ) -> Result<Option<Published>, ClientError> {
        let payload = payload.into();
        while !matches!(self.line, Line::Up(_)) {
            self.wait().await?;
        }
        self.stamp()?;
        if let (Line::Up(link), Transport::Udp) = (&mut self.line, self.setup.address.transport) {
            link.sender.publish(topic, &payload, options).await?;
            return Ok(None);
        }
        let id = self.session.publish(topic, &payload, options);
        loop {
            if let Some(receipt) = self.session.receipt(id) {
                return receipt.map(Some);
            }
            let waited = self.wait().await;
            if let Some(receipt) = self.session.receipt(id) {
                return receipt.map(Some);
            }
            waited?;
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// The connection ended for good: it may not reconnect, or the server does not want it to.
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = self.received() {
                return Ok(event);
            }
            self.step().await?;
        }
    }

    /// What has come already and was not taken by [`next`](Self::next).
    pub fn received(&mut self) -> Option<Event> {
        let (event, words) = self.session.take_event()?;
        self.words = words;
        Some(event)
    }

    /// The server's own words for the last event; none for a message, and for what the client tells by itself.
    pub fn words(&self) -> Option<&str> {
        self.words.as_deref()
    }

    /// The last message received of a topic, to resume it after this client's life.
    pub fn place(&self, topic: &str) -> Option<Place> {
        self.session.place(topic)
    }

    /// Closes in order, as far as the server is there for it; what still comes is not wanted.
    pub async fn close(mut self) {
        if let Line::Up(link) = &mut self.line {
            let farewell = async {
                let closed = async { link.sender.close().await };
                let heard = async {
                    while let Ok(Heard::Text(_) | Heard::Data { .. }) = link.receiver.next().await {}
                };
                let _ = tokio::join!(closed, heard);
            };
            // The outcome changes nothing.
            let _ = timeout(FAREWELL_WAIT, farewell).await;
        }
    }

    /// Takes in what comes while something else is waited for.
    async fn wait(&mut self) -> Result<(), ClientError> {
        if self.session.is_full() {
            return Err(ClientError::Behind);
        }
        self.step().await
    }

    /// Tells the session how late it is.
    fn stamp(&mut self) -> Result<(), ClientError> {
        match self.session.tick(Instant::now()) {
            Ok(()) => Ok(()),
            Err(error) => self.lose(error),
        }
    }

    /// One step of whatever there is to do. All that is under way is kept in `self`, so this may be dropped while it waits.
    async fn step(&mut self) -> Result<(), ClientError> {
        match &mut self.line {
            Line::Ended(error) => return Err(error.clone()),
            Line::Down(until) => {
                sleep_until(*until).await;
                self.line = Line::Opening(Box::pin(Link::open(Arc::clone(&self.setup))));
                return Ok(());
            }
            Line::Opening(opening) => {
                return match opening.await {
                    Ok(link) => {
                        self.line = Line::Up(Box::new(link));
                        self.session.tick(Instant::now())?;
                        self.session.opened(true);
                        Ok(())
                    }
                    Err(error) => self.lose(error),
                };
            }
            Line::Up(_) => {}
        }
        self.stamp()?;
        self.repair();
        let Line::Up(link) = &mut self.line else { return Ok(()) };
        while let Some(operation) = self.session.outbox.pop_front() {
            link.sender.operation(&operation);
        }
        let (deadline, is_subscribed) = (self.session.deadline(), self.session.is_subscribed());
        let is_repairing = !matches!(self.repairer, Repairer::Idle);
        let heard = tokio::select! {
            biased;
            fetched = self.repairer.next(), if is_repairing => {
                match fetched {
                    Ok(Some(event)) => self.session.mended(event),
                    Ok(None) => {}
                    Err(_) => {
                        self.repairer = Repairer::Idle;
                        self.session.unmendable();
                    }
                }
                return Ok(());
            }
            heard = link.next(deadline, is_subscribed) => heard,
        };
        let mut heard = Some(heard);
        let mut room = AT_ONCE;
        while let Some(one) = heard {
            if let Err(error) = one.and_then(|heard| heard.map_or(Ok(()), |heard| self.session.hear(heard))) {
                return self.lose(error);
            }
            room -= 1;
            // What is at hand needs no look at the clock.
            heard = if room > 0 { link.receiver.sign().now_or_never() } else { None };
        }
        if self.session.is_served() {
            self.backoff.reset();
        }
        Ok(())
    }

    /// Passes on what the session wants fetched elsewhere.
    fn repair(&mut self) {
        if self.session.repairs.is_empty() {
            return;
        }
        match (&mut self.repairer, &self.setup.repair) {
            (Repairer::Up(client), _) => {
                while let Some(repair) = self.session.repairs.pop_front() {
                    match repair {
                        // What still comes of a topic that is being left is not what is asked for now.
                        Repair::Begin(wish) if client.session.is_leaving(&wish.topic) => {
                            self.session.repairs.push_front(Repair::Begin(wish));
                            return;
                        }
                        Repair::Begin(wish) => client.session.subscribe(vec![wish]),
                        Repair::End(topic) => {
                            client.session.unsubscribe(vec![topic]);
                        }
                    }
                }
            }
            (Repairer::Idle, Some(url)) => {
                let opening = Self::builder(url).reconnect(false).connect();
                self.repairer = Repairer::Opening(Box::pin(opening));
            }
            _ => {}
        }
    }

    /// The connection, or an attempt to have one, has failed.
    fn lose(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.session.lost(&error);
        let is_final = error.is_final() || self.setup.backoff.is_none();
        if is_final {
            self.line = Line::Ended(error.clone());
            return if self.session.has_events() { Ok(()) } else { Err(error) };
        }
        let retry_in = self.backoff.next(self.session.retry_after.take(), fastrand::f64());
        self.line = Line::Down(Instant::now() + retry_in);
        self.session.tell(Event::Disconnected { why: error, retry_in }, None);
        Ok(())
    }
}
