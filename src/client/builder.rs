//! What a client is to be like.

use super::Client;
use super::address::{Address, Transport};
use super::backoff::BackoffBounds;
use super::error::ClientError;

/// A [`Client`] to be.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    url: String,
    identity: Option<String>,
    backoff: Option<BackoffBounds>,
    repair: Option<String>,
}

/// The same, with its URLs read.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) address: Address,
    pub(super) identity: Option<String>,
    /// Nothing: a lost connection is the end.
    pub(super) backoff: Option<BackoffBounds>,
    /// Where to fetch what datagrams lose.
    pub(super) repair: Option<String>,
}

impl ClientBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), identity: None, backoff: Some(BackoffBounds::default()), repair: None }
    }

    /// Who this client is, for a server that believes it: it is also sent what is published to `$client.ID`. WebSocket only.
    pub fn identity(mut self, id: impl Into<String>) -> Self {
        self.identity = Some(id.into());
        self
    }

    /// Whether a lost connection is followed by another; it is, unless this says otherwise.
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.backoff = reconnect.then(BackoffBounds::default);
        self
    }

    /// Reconnects, with waits within these bounds.
    pub fn backoff(mut self, bounds: BackoffBounds) -> Self {
        self.backoff = Some(bounds);
        self
    }

    /// Where messages are fetched that were lost as datagrams: the same server's `tcp://` or `ws://`. Without it each loss is
    /// a gap with the reason `datagram`.
    pub fn repair(mut self, url: impl Into<String>) -> Self {
        self.repair = Some(url.into());
        self
    }

    /// Connects once: who cannot connect at all learns it at once.
    ///
    /// # Errors
    /// A URL is wrong, or nobody answers there as expected.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let address = Address::parse(&self.url)?;
        let usage = |why: &str| Err(ClientError::Usage(why.to_owned()));
        if let Some(repair) = &self.repair {
            if address.transport != Transport::Udp {
                return usage("only what udp:// loses is fetched elsewhere; leave the repair address out");
            }
            if Address::parse(repair)?.transport == Transport::Udp {
                return usage(
                    "what datagrams lose is fetched over tcp:// or ws://; give one of these to repair from",
                );
            }
        }
        let (identity, backoff, repair) = (self.identity, self.backoff, self.repair);
        Client::open(Setup { address, identity, backoff, repair }).await
    }
}
