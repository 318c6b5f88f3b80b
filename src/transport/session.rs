//! A session: what one connection is for and may do, and what each of its messages means. Pure.

use super::inbound::Inbound;
use super::rate::Rate;
use crate::clock::Moment;
use crate::config::Diagnostics;
use crate::ids::ConnectionId;
use crate::limits::{Limits, NAMES_PER_TOPIC_LIMIT};
use crate::message::{Payload, frame};
use crate::protocol::close::{CloseCode, Reason};
use crate::protocol::identity::Identity;
use crate::protocol::operation::Wish;
use crate::protocol::operation::{self, Asked, Dialect, OpId, Operation};
use crate::protocol::options::PublishOptions;
use crate::protocol::pattern::Subject;
use crate::protocol::reply::{self, Rejection, Tag};
use crate::protocol::target::Endpoint;
use crate::protocol::topic::TopicName;
use crate::sequencer::request::{Receipt, Request};
use bytes::Bytes;
use std::net::IpAddr;

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    endpoint: Endpoint,
    rights: Rights,
    operations: Rate,
    dialect: Dialect,
}

/// What a peer may, until tokens are configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights {
    /// It is on loopback: it may watch the server.
    pub(crate) is_local: bool,
    pub(crate) may_publish: bool,
}

impl Rights {
    /// Of a peer whose address is beyond doubt.
    pub(crate) fn of(address: IpAddr) -> Self {
        let is_local = address.is_loopback();
        Self { is_local, may_publish: is_local }
    }
}

/// Whose session it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) identity: Option<&'a Identity>,
}

const TOO_LARGE: &str = "the operation is larger than the server takes (limits.operation_bytes)";

/// What a message asks of the shell.
#[derive(Debug)]
pub(crate) enum Action {
    /// Hand it to the sequencer, waiting for room with the message in hand.
    Publish {
        topic: TopicName,
        payload: Payload,
        options: Option<Box<PublishOptions>>,
        receipt: Receipt,
    },
    /// Post it to the sequencer; the answer comes through the FIFO.
    Post {
        request: Request,
        heartbeat_s: Option<u32>,
    },
    /// Send this text as an answer.
    Answer(Option<String>),
    /// Send this frame as an answer.
    Echo(Vec<u8>),
    /// Send this pong.
    Pong(Vec<u8>),
    /// Switch the envelope on or off, then answer.
    SetCombined(Tag, bool),
    /// Tell whether the envelope is on.
    GetCombined(Tag),
    /// Close; nothing more is read.
    Close {
        reason: Reason,
        code: CloseCode,
        text: String,
    },
    /// Fail on purpose.
    Panic,
    Nothing,
}

impl Session {
    pub(crate) fn new(endpoint: Endpoint, rights: Rights, limits: &Limits, now: Moment) -> Self {
        let operations = Rate::new(limits.operations_burst, now);
        Self { endpoint, rights, operations, dialect: Dialect::default() }
    }

    /// What to do about one thing that came in.
    pub(crate) fn interpret(
        &mut self,
        inbound: Inbound,
        who: Who<'_>,
        limits: &Limits,
        diagnostics: &Diagnostics,
        now: Moment,
    ) -> Action {
        let (bytes, is_text) = match inbound {
            Inbound::Text(bytes) => (bytes, true),
            Inbound::Binary(bytes) => (bytes, false),
            Inbound::Ping(payload) => return Action::Pong(frame::frame(frame::PONG, &payload)),
            Inbound::Pong => return Action::Nothing,
            Inbound::Publish(topic, bytes) => return self.publish(topic, bytes, who, limits, now),
            Inbound::Malformed(code, text) => {
                let answer = || Action::Answer(Some(reply::failure(&OpId::Absent, code, &text)));
                return self.limited(limits, now).unwrap_or_else(answer);
            }
            Inbound::Close(code) => {
                return Action::Close { reason: Reason::Client, code, text: String::new() };
            }
            Inbound::Violation(reason, code, text) => return Action::Close { reason, code, text },
        };
        match &mut self.endpoint {
            Endpoint::Publish(topic, options) => {
                let bytes = compact(bytes);
                let payload = if is_text { Payload::sniff(bytes) } else { Payload::binary(bytes) };
                Action::Publish {
                    topic: topic.clone(),
                    payload,
                    options: options.as_mut().map(|options| next_of(options)),
                    receipt: Receipt::Connection(who.id, Tag::Silent),
                }
            }
            Endpoint::Echo => {
                Action::Echo(frame::frame(if is_text { frame::TEXT } else { frame::BINARY }, &bytes))
            }
            Endpoint::Session if is_text => self.operate(&bytes, who, limits, diagnostics, now),
            Endpoint::Session => {
                let text = "operations are JSON in text messages; to publish binary use /publish/<topic>";
                self.limited(limits, now).unwrap_or_else(|| {
                    Action::Answer(Some(reply::failure(&OpId::Absent, "bad_request", text)))
                })
            }
        }
    }

    fn operate(
        &mut self,
        bytes: &Bytes,
        who: Who<'_>,
        limits: &Limits,
        diagnostics: &Diagnostics,
        now: Moment,
    ) -> Action {
        // tungstenite has checked that text is UTF-8.
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let too_large = bytes.len() > limits.operation_bytes;
        if too_large && !self.rights.may_publish {
            // What may be larger is a publish, which this connection may not; it is not even parsed.
            return self.limited(limits, now).unwrap_or_else(|| {
                Action::Answer(refuse(&Tag::Native(OpId::Absent, Vec::new()), "too_large", TOO_LARGE))
            });
        }
        let names_max = limits.topics_per_connection * NAMES_PER_TOPIC_LIMIT;
        let Asked { dialect, tag, operation } = match operation::parse(text, self.dialect, names_max) {
            Ok(asked) => asked,
            Err(answer) => return self.limited(limits, now).unwrap_or(Action::Answer(Some(answer))),
        };
        self.dialect = dialect;
        if let Operation::Publish { topic, payload, options } = operation {
            return match self.may_publish(&topic) {
                Ok(()) => {
                    let is_silent = matches!(&tag, Tag::Native(OpId::Absent, _));
                    let tag = if is_silent { Tag::Silent } else { tag };
                    Action::Publish { topic, payload, options, receipt: Receipt::Connection(who.id, tag) }
                }
                Err((code, message)) => {
                    self.limited(limits, now).unwrap_or_else(|| Action::Answer(refuse(&tag, code, message)))
                }
            };
        }
        if let Some(close) = self.limited(limits, now) {
            return close;
        }
        if too_large {
            return Action::Answer(refuse(&tag, "too_large", TOO_LARGE));
        }
        match operation {
            Operation::Subscribe { wishes, heartbeat_s } => self.subscribe(wishes, heartbeat_s, who, tag),
            Operation::Unsubscribe { subjects } => Action::Post {
                request: Request::Unsubscribe { connection: who.id, tag, subjects },
                heartbeat_s: None,
            },
            Operation::List => {
                Action::Post { request: Request::List { connection: who.id, tag }, heartbeat_s: None }
            }
            Operation::Ping => match &tag {
                Tag::Native(id, _) => Action::Answer(Some(reply::pong(id))),
                Tag::Binance(_) | Tag::Silent => Action::Nothing,
            },
            Operation::SetCombined(on) => Action::SetCombined(tag, on),
            Operation::GetCombined => Action::GetCombined(tag),
            Operation::Panic if diagnostics.panic => Action::Panic,
            Operation::Panic | Operation::Publish { .. } => {
                Action::Answer(refuse(&tag, "unknown_op", "panic: only with diagnostics.panic = true"))
            }
        }
    }

    /// A message that names its topic, and asks for no receipt.
    fn publish(
        &mut self,
        topic: TopicName,
        bytes: Bytes,
        who: Who<'_>,
        limits: &Limits,
        now: Moment,
    ) -> Action {
        match self.may_publish(&topic) {
            Ok(()) => {
                let payload = Payload::sniff(compact(bytes));
                Action::Publish {
                    topic,
                    payload,
                    options: None,
                    receipt: Receipt::Connection(who.id, Tag::Silent),
                }
            }
            Err((code, message)) => {
                let answer = || Action::Answer(refuse(&Tag::Silent, code, message));
                self.limited(limits, now).unwrap_or_else(answer)
            }
        }
    }

    fn may_publish(&self, topic: &TopicName) -> Result<(), (&'static str, &'static str)> {
        if !self.rights.may_publish {
            Err((
                "not_entitled",
                "only peers on loopback may publish, by datagram only those of udp_publish_from",
            ))
        } else if topic.is_reserved() {
            Err(("bad_topic", "topics that begin with $sys. belong to the server"))
        } else {
            Ok(())
        }
    }

    /// Sets aside what the connection may not read.
    fn subscribe(&self, wishes: Vec<Wish>, heartbeat_s: Option<u32>, who: Who<'_>, mut tag: Tag) -> Action {
        const MESSAGE: &str = "this topic is not for this connection";
        let (wishes, refused): (Vec<_>, Vec<_>) =
            wishes.into_iter().partition(|wish| may_read(&wish.subject, self.rights.is_local, who.identity));
        match &mut tag {
            Tag::Native(_, rejected) => rejected.extend(refused.into_iter().map(|wish| Rejection {
                topic: wish.subject.to_string(),
                code: "not_entitled",
                message: MESSAGE.to_owned(),
            })),
            Tag::Binance(id) => {
                if let Some(wish) = refused.first() {
                    let msg = format!("Invalid request: {}: {MESSAGE}", wish.subject);
                    return Action::Answer(Some(reply::binance_failure(id, 2, &msg)));
                }
            }
            Tag::Silent => {}
        }
        if wishes.is_empty() {
            return Action::Answer(reply::subscribed(&tag, &[], &[], false));
        }
        Action::Post { request: Request::Subscribe { connection: who.id, tag, wishes }, heartbeat_s }
    }

    /// The close of a session that operates too fast.
    fn limited(&mut self, limits: &Limits, now: Moment) -> Option<Action> {
        let reason = Reason::RateLimited;
        let text = "too many operations a second (limits.operations_per_s)".to_owned();
        (!self.operations.take(limits.operations_per_s, limits.operations_burst, now))
            .then(|| Action::Close { reason, code: reason.code(), text })
    }
}

/// A payload by itself: a history keeps it for long, and a slice would keep all of the buffer it was read into.
pub(crate) fn compact(bytes: Bytes) -> Bytes {
    const COPIED_BYTES_MAX: usize = 64 << 10;
    if bytes.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// What is said of the next message; numbers count on.
fn next_of(options: &mut PublishOptions) -> Box<PublishOptions> {
    let next = Box::new(*options);
    options.seq = options.seq.map(|seq| seq.saturating_add(1).min(i64::MAX as u64));
    next
}

/// Until tokens are configured: `$sys.` from loopback only, `$client.<ID>` for that client only. Patterns match none
/// of either.
pub(crate) fn may_read(subject: &Subject, is_local: bool, identity: Option<&Identity>) -> bool {
    match subject {
        Subject::Topic(topic) if topic.client().is_some() => identity.map(Identity::topic) == Some(topic),
        Subject::Topic(topic) => is_local || !topic.is_reserved(),
        Subject::Pattern(_) => true,
    }
}

fn refuse(tag: &Tag, code: &'static str, message: &str) -> Option<String> {
    Some(match tag {
        Tag::Silent => reply::failure(&OpId::Absent, code, message),
        Tag::Native(id, _) => reply::failure(id, code, message),
        Tag::Binance(id) => reply::binance_failure(id, 2, &format!("Invalid request: {message}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnectionId = ConnectionId { shard: 0, slot: 0, generation: 0 };

    fn act(session: &mut Session, text: &str) -> Action {
        let inbound = Inbound::Text(Bytes::copy_from_slice(text.as_bytes()));
        let identity = Identity::parse("8").unwrap();
        let who = Who { id: ID, identity: Some(&identity) };
        session.interpret(inbound, who, &Limits::default(), &Diagnostics::default(), Moment::default())
    }

    fn session(is_local: bool) -> Session {
        let rights = Rights { is_local, may_publish: is_local };
        Session::new(Endpoint::Session, rights, &Limits::default(), Moment::default())
    }

    #[test]
    fn only_loopback_publishes_and_watches_the_server() {
        let publish = r#"{"op":"publish","topic":"t","data":1}"#;
        assert!(matches!(act(&mut session(true), publish), Action::Publish { .. }));
        assert!(
            matches!(act(&mut session(false), publish), Action::Answer(Some(text)) if text.contains("not_entitled"))
        );
        let watch = r#"{"op":"subscribe","args":["$sys.stats"]}"#;
        assert!(matches!(act(&mut session(true), watch), Action::Post { .. }));
        assert!(
            matches!(act(&mut session(false), watch), Action::Answer(Some(text)) if text.contains("not_entitled"))
        );
        let own = r#"{"op":"subscribe","args":["$client.8"]}"#;
        assert!(matches!(act(&mut session(false), own), Action::Post { .. }));
        let other = r#"{"op":"subscribe","args":["$client.7"]}"#;
        assert!(
            matches!(act(&mut session(true), other), Action::Answer(Some(text)) if text.contains("not_entitled"))
        );
    }

    /// Proves: operations are limited at 200 at once, publishing is not.
    #[test]
    fn operating_too_fast_closes_and_publishing_does_not_count() {
        let mut session = session(true);
        for _ in 0..1_000 {
            assert!(matches!(
                act(&mut session, r#"{"op":"publish","topic":"t","data":1}"#),
                Action::Publish { .. }
            ));
        }
        for _ in 0..200 {
            assert!(matches!(act(&mut session, r#"{"op":"ping"}"#), Action::Answer(_)));
        }
        assert!(matches!(act(&mut session, "{"), Action::Close { reason: Reason::RateLimited, .. }));
    }
}
