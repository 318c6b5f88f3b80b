//! The server to drive: how one subscribes there, how one publishes, and how its answers are read.
//!
//! Contract: pure. A [`Target`] makes [`Call`]s, which the handshake carries out, and [`PublishFrame`]s, which the publisher
//! sends; all that differs between servers is in here, one file for each way of speaking.

pub(crate) mod address;
pub(crate) mod http;
pub(crate) mod nats;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod websocket;
pub(crate) mod wire;

use std::fmt;

use crate::frame::PublishFrame;
use crate::stamp::Payload;
use address::{Address, AddressError, Scheme};
use websocket::Templates;
use wire::Wire;

/// How to speak to a server, as far as its address does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Paths and texts of a WebSocket server that is not Stentor.
    pub(crate) templates: Option<Templates>,
    pub(crate) publishing: Publishing,
    /// The operator port.
    pub(crate) operator: Option<Address>,
}

/// Where messages are published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Publishing {
    /// Where subscribers connect, as they speak.
    #[default]
    Own,
    /// At the operator port.
    Http,
    /// At the WebSocket port of a Stentor whose subscribers speak something else.
    WebSocket(Address),
}

/// A server and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: Address,
    manner: Manner,
}

/// How one connection is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The URL of a WebSocket handshake; none where nothing is to be upgraded.
    pub(crate) upgrade: Option<String>,
    /// To be said first; may be empty.
    pub(crate) hello: Vec<u8>,
    /// To be waited for.
    pub(crate) answer: Option<Answer>,
    /// How everything that comes is read.
    pub(crate) wire: Wire,
}

/// Words that a server answers a hello with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// All is well from here on.
    pub(crate) granted: String,
    /// It is not.
    pub(crate) refused: Vec<&'static str>,
}

impl Target {
    /// The server at `url`.
    pub(crate) fn new(url: &str, manner: Manner) -> Result<Self, AddressError> {
        Ok(Self { address: Address::server(url)?, manner })
    }

    /// How to subscribe to all of `topics`, so that whatever is published once the call has been answered arrives. With
    /// `confirmed` the server says so itself, where it can.
    pub(crate) fn subscriber(&self, topics: &[String], confirmed: bool) -> Call {
        match (self.address.scheme, &self.manner.templates) {
            (Scheme::Nats, _) => nats::subscriber(topics),
            (Scheme::Tcp, _) => tcp::subscriber(topics),
            (_, Some(templates)) => templates.subscriber(&self.address, topics),
            (_, None) => websocket::stentor_subscriber(&self.address, topics, confirmed),
        }
    }

    /// How to connect without subscribing to anything; for Stentor only.
    pub(crate) fn session(&self) -> Call {
        match self.address.scheme {
            Scheme::Tcp => Call::plain(Wire::Tcp),
            _ => websocket::stentor_publisher(&self.address, None),
        }
    }

    /// True exactly when subscribers are sent datagrams, which may be lost on the way.
    pub(crate) fn may_lose(&self) -> bool {
        self.address.scheme == Scheme::Udp
    }

    /// True exactly when it has the operations and the acks of Stentor, on connections that lose nothing.
    pub(crate) fn is_stentor(&self) -> bool {
        matches!(self.address.scheme, Scheme::Ws | Scheme::Tcp) && self.manner.templates.is_none()
    }

    /// Where a publisher connects.
    pub(crate) fn publisher_address(&self) -> &Address {
        match (&self.manner.publishing, &self.manner.operator) {
            (Publishing::Http, Some(operator)) => operator,
            (Publishing::WebSocket(address), _) => address,
            _ => &self.address,
        }
    }

    /// How to connect a publisher: of this topic only, or of any.
    pub(crate) fn publisher(&self, only: Option<&str>) -> Call {
        match (self.publisher_address().scheme, &self.manner.templates) {
            (Scheme::Http, _) => Call::plain(Wire::Http),
            (Scheme::Nats, _) => nats::publisher(),
            (Scheme::Tcp, _) => Call::plain(Wire::Tcp),
            (_, Some(templates)) => templates.publisher(&self.address, only),
            (_, None) => websocket::stentor_publisher(self.publisher_address(), only),
        }
    }

    /// What that publisher has to send; `only` must be as it was there.
    pub(crate) fn message(&self, topic: &str, payload: &Payload, only: bool) -> PublishFrame {
        match (self.publisher_address().scheme, &self.manner.templates) {
            (Scheme::Http, _) => http::post(self.publisher_address(), topic, payload),
            (Scheme::Nats, _) => nats::message(topic, payload),
            (Scheme::Tcp, _) => tcp::message(topic, payload),
            (_, Some(templates)) => templates.message(topic, payload),
            (_, None) => websocket::stentor_message(topic, payload, only),
        }
    }

    /// The same, publishing by HTTP, which a server can take that is full; where the operator port is known.
    pub(crate) fn by_http(&self) -> Option<Self> {
        let manner = Manner { publishing: Publishing::Http, ..self.manner.clone() };
        self.manner.operator.is_some().then(|| Self { manner, address: self.address.clone() })
    }

    /// Where its operator's counters can be read.
    pub(crate) fn operator(&self) -> Option<&Address> {
        self.manner.operator.as_ref()
    }

    /// Why several topics cannot be subscribed or published there, where they cannot.
    pub(crate) fn one_topic_only(&self) -> Option<&'static str> {
        self.manner.templates.as_ref()?.one_topic_only()
    }
}

impl Answer {
    /// To one of Stentor's operations.
    fn to_operations() -> Self {
        let refused = vec![r#""err":[{"#, r#""event":"error""#, r#""event":"close""#];
        Self { granted: r#""err":[]}"#.to_owned(), refused }
    }
}

impl Call {
    /// A connection on which the server does not speak first.
    fn plain(wire: Wire) -> Self {
        Self { upgrade: None, hello: Vec::new(), answer: None, wire }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Stentor at `url`.
    pub(crate) fn stentor(url: &str) -> Target {
        Target::new(url, Manner::default()).unwrap()
    }

    #[test]
    fn http_publishes_at_the_operator_port_and_everything_else_at_the_server() {
        let operator = Some(Address::operator("http://h:2").unwrap());
        let via = Manner { publishing: Publishing::Http, operator: operator.clone(), ..Manner::default() };
        let target = Target::new("ws://h:1", via).unwrap();
        assert_eq!(target.publisher_address().port, 2);
        assert_eq!(target.publisher(Some("t")), Call::plain(Wire::Http));
        assert!(target.subscriber(&["t".into()], false).upgrade.unwrap().starts_with("ws://h:1/"));
        let target = Target::new("ws://h:1", Manner { operator, ..Manner::default() }).unwrap();
        assert_eq!((target.publisher_address().port, target.is_stentor()), (1, true));
        assert_eq!(target.by_http().unwrap().publisher_address().port, 2);
        let nats = Target::new("nats://h:1", Manner::default()).unwrap();
        assert_eq!((nats.publisher(None).wire, nats.is_stentor(), nats.by_http()), (Wire::Nats, false, None));
    }
}
