//! What the server says in text: acks, errors and events, in the words of the dialect that asked.

use crate::ids::{Epoch, TopicId};
use crate::message::frame::REASON_BYTES_MAX;
use crate::protocol::class::Class;
use crate::protocol::operation::OpId;
use crate::protocol::outcome::{Found, Outcome, Published, Recovery, Refusal};
use crate::protocol::pattern::Pattern;
use crate::protocol::topic::TopicName;
use serde::Serialize;
use std::collections::BTreeMap;

/// How an operation's answer is to be worded; travels with the request and comes back with the answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tag {
    /// Not at all: subscriptions in the URL, publishes without an id. Only what went wrong is told.
    Silent,
    /// As Stentor's own protocol does, with what was refused before it reached the sequencer.
    Native(OpId, Vec<Rejection>),
    /// As Binance does.
    Binance(OpId),
}

impl Tag {
    /// Bytes it holds beside itself.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Silent => 0,
            Self::Native(id, rejected) => {
                id.weight()
                    + rejected.iter().map(|one| one.topic.len() + one.message.len() + 64).sum::<usize>()
            }
            Self::Binance(id) => id.weight(),
        }
    }
}

/// One topic of an operation that is not granted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rejection {
    pub(crate) topic: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Rejection {
    fn refused(topic: &impl ToString, refusal: Refusal) -> Self {
        Self { topic: topic.to_string(), code: refusal.code(), message: refusal.to_string() }
    }
}

/// A topic as acks describe it.
#[derive(Debug, Serialize)]
pub(crate) struct Subscription<'a> {
    pub(crate) topic: &'a TopicName,
    /// What its messages are marked with, where names are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<TopicId>,
    pub(crate) class: Class,
    pub(crate) epoch: String,
    pub(crate) seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovered: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
}

/// A subscription as acks describe it. What a pattern matches is not listed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Granted<'a> {
    Topic(Subscription<'a>),
    Pattern { topic: &'a Pattern },
}

#[derive(Serialize)]
struct Ack<'a, T> {
    event: &'static str,
    op: &'static str,
    #[serde(skip_serializing_if = "OpId::is_absent")]
    id: &'a OpId,
    ok: T,
    err: &'a [Rejection],
}

#[derive(Serialize)]
struct Failure<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "OpId::is_absent")]
    id: &'a OpId,
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct BinanceResult<'a, T> {
    result: T,
    id: &'a OpId,
}

#[derive(Serialize)]
struct BinanceFailure<'a> {
    code: u8,
    msg: &'a str,
    #[serde(skip_serializing_if = "OpId::is_absent")]
    id: &'a OpId,
}

/// The answer to a subscribe, if it has one: what was granted and what was not.
pub(crate) fn subscribed(
    tag: &Tag,
    outcomes: &[Outcome],
    patterns: &[&Found],
    has_aliases: bool,
) -> Option<String> {
    let refusals = || refusals(outcomes, patterns);
    match tag {
        Tag::Silent => None,
        Tag::Native(id, rejected) => {
            let patterns = patterns.iter().filter(|one| one.matched.is_ok());
            let patterns = patterns.map(|one| Granted::Pattern { topic: &one.pattern });
            let topics = outcomes.iter().filter_map(|one| granted(one, has_aliases)).map(Granted::Topic);
            let ok: Vec<_> = topics.chain(patterns).collect();
            let err: Vec<_> = rejected.iter().cloned().chain(refusals()).collect();
            Some(json(&Ack { event: "ack", op: "subscribe", id, ok, err: &err }))
        }
        Tag::Binance(id) => Some(match refusals().next() {
            None => binance_result(id, ()),
            Some(refusal) => binance_failure(id, 2, &format!("{}: {}", refusal.topic, refusal.message)),
        }),
    }
}

fn refusals(outcomes: &[Outcome], patterns: &[&Found]) -> impl Iterator<Item = Rejection> {
    let topics = outcomes.iter().filter_map(|one| Some(Rejection::refused(&one.topic, one.granted.err()?)));
    let refused = |one: &&Found| Some(Rejection::refused(&one.pattern, *one.matched.as_ref().err()?));
    topics.chain(patterns.iter().filter_map(refused))
}

/// What the subscriptions of a URL, which are not acked, are told: refusals, and what `since` could not give.
pub(crate) fn url_subscribed(outcomes: &[Outcome], patterns: &[&Found]) -> impl Iterator<Item = String> {
    let refused = refusals(outcomes, patterns).map(|refusal| {
        failure(&OpId::Absent, refusal.code, &format!("{}: {}", refusal.topic, refusal.message))
    });
    refused.chain(outcomes.iter().filter_map(|Outcome { topic, granted }| match granted {
        Err(_) => None,
        Ok(grant) => match grant.recovered? {
            Recovery::Complete => None,
            Recovery::Evicted { last } => Some(gap(topic, last + 1, grant.seq, "evicted")),
            Recovery::NoHistory { last } => Some(gap(topic, last + 1, grant.seq, "none")),
            Recovery::Epoch => Some(new_epoch(topic, grant.epoch, grant.seq)),
        },
    }))
}

/// A topic that a pattern matches, and what its messages are marked with.
pub(crate) fn topic(topic: &TopicName, alias: TopicId, epoch: Epoch, seq: u64) -> String {
    #[derive(Serialize)]
    struct Topic<'a> {
        event: &'static str,
        topic: &'a TopicName,
        alias: TopicId,
        epoch: String,
        seq: u64,
    }
    json(&Topic { event: "topic", topic, alias, epoch: epoch.to_string(), seq })
}

/// What somebody who comes by datagram has to show from now on.
pub(crate) fn cookie(cookie: &str) -> String {
    #[derive(Serialize)]
    struct Told<'a> {
        event: &'static str,
        cookie: &'a str,
    }
    json(&Told { event: "cookie", cookie })
}

/// Another history of a topic begins after that number.
pub(crate) fn new_epoch(topic: &TopicName, epoch: Epoch, seq: u64) -> String {
    #[derive(Serialize)]
    struct NewEpoch<'a> {
        event: &'static str,
        topic: &'a TopicName,
        epoch: String,
        seq: u64,
    }
    json(&NewEpoch { event: "epoch", topic, epoch: epoch.to_string(), seq })
}

fn granted(outcome: &Outcome, has_aliases: bool) -> Option<Subscription<'_>> {
    let grant = outcome.granted.ok()?;
    let (recovered, reason) = match grant.recovered {
        None => (None, None),
        Some(Recovery::Complete) => (Some(true), None),
        Some(Recovery::Epoch) => (Some(false), Some("epoch")),
        Some(Recovery::Evicted { .. }) => (Some(false), Some("evicted")),
        Some(Recovery::NoHistory { .. }) => (Some(false), Some("none")),
    };
    let (class, epoch, seq) = (grant.terms.class, grant.epoch.to_string(), grant.seq);
    let alias = has_aliases.then_some(grant.id);
    Some(Subscription { topic: &outcome.topic, alias, class, epoch, seq, recovered, reason })
}

/// The answer to an unsubscribe: the topics that are left, whether or not they were subscribed.
pub(crate) fn unsubscribed(tag: &Tag, topics: impl Iterator<Item = String>) -> Option<String> {
    #[derive(Serialize)]
    struct Left {
        topic: String,
    }
    match tag {
        Tag::Silent => None,
        Tag::Native(id, rejected) => {
            let ok: Vec<_> = topics.map(|topic| Left { topic }).collect();
            Some(json(&Ack { event: "ack", op: "unsubscribe", id, ok, err: rejected }))
        }
        Tag::Binance(id) => Some(binance_result(id, ())),
    }
}

/// The answer to a list.
pub(crate) fn listed(tag: &Tag, subscriptions: &[Granted<'_>]) -> Option<String> {
    match tag {
        Tag::Silent => None,
        Tag::Native(id, rejected) => {
            Some(json(&Ack { event: "ack", op: "list", id, ok: subscriptions, err: rejected }))
        }
        Tag::Binance(id) => {
            let names = subscriptions.iter().map(|one| match one {
                Granted::Topic(one) => one.topic.to_string(),
                Granted::Pattern { topic } => topic.to_string(),
            });
            let names: Vec<_> = names.collect();
            Some(binance_result(id, names))
        }
    }
}

/// The receipt of a published message; who asked for none is told of a refusal only.
pub(crate) fn published(tag: &Tag, topic: &TopicName, outcome: Result<Published, Refusal>) -> Option<String> {
    #[derive(Serialize)]
    struct Place<'a> {
        topic: &'a TopicName,
        epoch: String,
        seq: u64,
    }
    match (tag, outcome) {
        (Tag::Native(id, _), Ok(at)) => {
            let ok = [Place { topic, epoch: at.epoch.to_string(), seq: at.seq }];
            Some(json(&Ack { event: "ack", op: "publish", id, ok, err: &[] }))
        }
        (Tag::Native(id, _), Err(refusal)) => Some(failure(id, refusal.code(), &refusal.to_string())),
        (_, Ok(_)) => None,
        (_, Err(refusal)) => Some(failure(&OpId::Absent, refusal.code(), &refusal.to_string())),
    }
}

/// The answer to a change of a property.
pub(crate) fn done(tag: &Tag) -> Option<String> {
    told(tag, ())
}

/// The answer to a question about a property; only Binance's dialect has them.
pub(crate) fn told(tag: &Tag, value: impl Serialize) -> Option<String> {
    let Tag::Binance(id) = tag else { return None };
    Some(binance_result(id, value))
}

/// The answer to a ping operation.
pub(crate) fn pong(id: &OpId) -> String {
    #[derive(Serialize)]
    struct Pong<'a> {
        event: &'static str,
        #[serde(skip_serializing_if = "OpId::is_absent")]
        id: &'a OpId,
    }
    json(&Pong { event: "pong", id })
}

/// A failed operation, in Stentor's own words; the connection stays open.
pub(crate) fn failure(id: &OpId, code: &'static str, message: &str) -> String {
    json(&Failure { event: "error", id, code, message })
}

/// A failed operation, in Binance's words.
pub(crate) fn binance_failure(id: &OpId, code: u8, msg: &str) -> String {
    json(&BinanceFailure { code, msg, id })
}

/// A done operation, in Binance's words.
pub(crate) fn binance_result(id: &OpId, result: impl Serialize) -> String {
    json(&BinanceResult { result, id })
}

/// The notice of an orderly shutdown; `retry_after_ms` differs from connection to connection.
pub(crate) fn shutdown_notice(retry_after_ms: u64) -> String {
    format!(r#"{{"event":"notice","code":"shutdown","retry_after_ms":{retry_after_ms}}}"#)
}

/// The heads of a connection's topics.
pub(crate) fn heartbeat<'a>(heads: impl Iterator<Item = (&'a TopicName, u64)>) -> String {
    #[derive(Serialize)]
    struct Heartbeat<'a> {
        event: &'static str,
        seq: BTreeMap<&'a str, u64>,
    }
    json(&Heartbeat { event: "heartbeat", seq: heads.map(|(topic, seq)| (topic.as_str(), seq)).collect() })
}

/// Messages of a topic that will not come, for good.
pub(crate) fn gap(topic: &TopicName, from: u64, to: u64, reason: &'static str) -> String {
    #[derive(Serialize)]
    struct Gap<'a> {
        event: &'static str,
        topic: &'a TopicName,
        from: u64,
        to: u64,
        reason: &'static str,
    }
    json(&Gap { event: "gap", topic, from, to, reason })
}

/// The connection does not take what it is sent as fast as it comes: so many frames wait.
pub(crate) fn slow(behind: usize) -> String {
    format!(r#"{{"event":"slow","behind":{behind}}}"#)
}

/// Nothing waits any more; of each topic so many messages were replaced by a newer one since this was last said.
pub(crate) fn caught_up<'a>(conflated: impl Iterator<Item = (&'a TopicName, u64)>) -> String {
    #[derive(Serialize)]
    struct CaughtUp<'a> {
        event: &'static str,
        conflated: BTreeMap<&'a str, u64>,
    }
    let conflated = conflated.map(|(topic, count)| (topic.as_str(), count)).collect();
    json(&CaughtUp { event: "caught_up", conflated })
}

/// The reason of a 4002: of which topic there is neither what is missing nor a snapshot.
pub(crate) fn cannot_resume(topic: &TopicName) -> String {
    let whole = format!("cannot resume topic={topic}");
    if whole.len() <= REASON_BYTES_MAX { whole } else { "cannot resume".to_owned() }
}

/// The reason of a 4001: where to resume, as `since` takes it.
///
/// A topic that does not fit a close frame with it is left out: half a name would be another.
pub(crate) fn slow_consumer(topic: &TopicName, epoch: impl std::fmt::Display, seq: u64) -> String {
    let place = format!("slow consumer last={epoch}:{seq}");
    let whole = format!("{place} topic={topic}");
    if whole.len() <= REASON_BYTES_MAX { whole } else { place }
}

fn json(value: &impl Serialize) -> String {
    // Nothing here has keys that are not strings, so it always serialises.
    serde_json::to_string(value).unwrap_or_default()
}
