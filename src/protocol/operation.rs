//! Operations: what a client asks in JSON, in either dialect.
//!
//! Pure. A bad operation gives the text that answers it, in the words of its dialect; the connection stays open.

use super::options::{OptionFields, PublishOptions};
use super::pattern::Subject;
use super::reply::{Rejection, Tag, binance_failure, failure};
use super::topic::TopicName;
use crate::ids::Epoch;
use crate::message::Payload;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The last message received of a topic, as `since` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    /// The history it belongs to.
    pub(crate) epoch: Epoch,
    /// Its number.
    pub(crate) seq: u64,
}

impl Since {
    /// From the two parts as clients write them. An epoch that cannot be one of ours matches none.
    pub(crate) fn new(epoch: &str, seq: u64) -> Self {
        Self { epoch: epoch.parse().unwrap_or(Epoch(0)), seq }
    }

    /// From `<epoch>:<seq>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = text.split_once(':')?;
        Some(Self::new(epoch, seq.parse().ok()?))
    }
}

/// One topic or pattern of a subscribe operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) subject: Subject,
    /// Never with a pattern.
    pub(crate) since: Option<Since>,
}

/// An operation's `id`, echoed as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OpId {
    Absent,
    Null,
    Integer(serde_json::Number),
    Text(String),
}

impl OpId {
    pub(crate) fn is_absent(&self) -> bool {
        *self == Self::Absent
    }

    pub(crate) fn weight(&self) -> usize {
        if let Self::Text(text) = self { text.len() } else { 0 }
    }

    fn from_json(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(Self::Absent),
            Some(Value::Null) => Some(Self::Null),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Some(Self::Integer(number)),
            Some(Value::String(text)) => Some(Self::Text(text)),
            Some(_) => None,
        }
    }
}

impl Serialize for OpId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Integer(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Which words a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `{"op":…}`; what a connection speaks until it has said otherwise.
    #[default]
    Native,
    /// `{"method":…}`.
    Binance,
}

/// What a client asks.
#[derive(Debug)]
pub(crate) enum Operation {
    Subscribe {
        wishes: Vec<Wish>,
        heartbeat_s: Option<u32>,
    },
    Unsubscribe {
        subjects: Vec<Subject>,
    },
    List,
    Ping,
    Publish {
        topic: TopicName,
        payload: Payload,
        options: Option<Box<PublishOptions>>,
    },
    SetCombined(bool),
    GetCombined,
    /// A bug on purpose, where `diagnostics.panic` allows it.
    Panic,
}

/// An operation with the words its answer is to have.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) dialect: Dialect,
    pub(crate) tag: Tag,
    pub(crate) operation: Operation,
}

/// Each topic has a place of its own.
pub(crate) const PATTERN_SINCE: &str =
    "a pattern cannot be resumed; name its topics too, each with its own since";
const TOO_MANY_NAMES: &str = "more names than one operation may have (twice limits.topics_per_connection)";

/// Reads one text message. `names_max` bounds what one operation may name; `spoken` is the dialect for what is too broken to tell.
pub(crate) fn parse(text: &str, spoken: Dialect, names_max: usize) -> Result<Asked, String> {
    let fields: Fields<'_> = match from_object(text) {
        Ok(fields) => fields,
        Err(error) => return Err(unreadable(spoken, &error)),
    };
    if fields.method.is_some() { binance(fields, names_max) } else { native(fields, names_max) }
}

/// The fields of every operation of both dialects.
#[derive(Deserialize)]
struct Fields<'a> {
    op: Option<Value>,
    method: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
    args: Option<Value>,
    params: Option<Value>,
    topic: Option<Value>,
    #[serde(borrow, default, deserialize_with = "present_verbatim")]
    data: Option<&'a RawValue>,
    text: Option<Value>,
    base64: Option<Value>,
    heartbeat_s: Option<Value>,
    class: Option<Value>,
    image: Option<Value>,
    seq: Option<Value>,
    epoch: Option<Value>,
}

/// A null that is there: a missing id is not the null one, and null may be published.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

pub(crate) fn present_verbatim<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads an object; serde alone would take an array for one.
pub(crate) fn from_object<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    if text.trim_start().starts_with(['[', '"']) {
        serde_json::from_str::<serde::de::IgnoredAny>(text)?;
        return Err(serde::de::Error::custom("expected an object"));
    }
    serde_json::from_str(text)
}

fn unreadable(spoken: Dialect, error: &serde_json::Error) -> String {
    let is_json = error.is_data();
    match spoken {
        Dialect::Native if is_json => {
            failure(&OpId::Absent, "bad_request", &format!("not an operation: {error}"))
        }
        Dialect::Native => failure(&OpId::Absent, "bad_request", &format!("not JSON: {error}")),
        Dialect::Binance if is_json => {
            binance_failure(&OpId::Absent, 2, &format!("Invalid request: {error}"))
        }
        Dialect::Binance => binance_failure(&OpId::Absent, 3, &format!("Invalid JSON: {error}")),
    }
}

fn native(fields: Fields<'_>, names_max: usize) -> Result<Asked, String> {
    let Some(id) = OpId::from_json(fields.id) else {
        return Err(failure(&OpId::Absent, "bad_request", "id is an integer, a string or null"));
    };
    let bad = |message: &str| failure(&id, "bad_request", message);
    let Some(Value::String(op)) = fields.op else {
        return Err(bad("op is missing or not a string"));
    };
    if fields.args.as_ref().and_then(Value::as_array).is_some_and(|args| args.len() > names_max) {
        return Err(failure(&id, "limit", TOO_MANY_NAMES));
    }
    let mut rejected = Vec::new();
    let operation = match op.as_str() {
        "subscribe" => {
            let heartbeat_s = match fields.heartbeat_s {
                None | Some(Value::Null) => None,
                Some(value) => match value.as_u64().and_then(|secs| u32::try_from(secs).ok()) {
                    Some(secs) if secs > 0 => Some(secs),
                    _ => return Err(bad("heartbeat_s is a whole number of seconds above 0")),
                },
            };
            let wishes = wishes(fields.args, &mut rejected).map_err(bad)?;
            Operation::Subscribe { wishes, heartbeat_s }
        }
        "unsubscribe" => {
            let wishes = wishes(fields.args, &mut rejected).map_err(bad)?;
            Operation::Unsubscribe { subjects: wishes.into_iter().map(|wish| wish.subject).collect() }
        }
        "list" => Operation::List,
        "ping" => Operation::Ping,
        "publish" => {
            let Some(Value::String(topic)) = fields.topic else {
                return Err(bad("topic is missing or not a string"));
            };
            let payload = payload(fields.data, fields.text, fields.base64).map_err(bad)?;
            let (class, image, seq, epoch) = (fields.class, fields.image, fields.seq, fields.epoch);
            let options = PublishOptions::from_fields(OptionFields { class, image, seq, epoch })
                .map_err(|error| bad(&error.to_string()))?
                .boxed();
            match TopicName::try_from(topic) {
                Ok(topic) => Operation::Publish { topic, payload, options },
                Err(error) => return Err(failure(&id, "bad_topic", &error.to_string())),
            }
        }
        "auth" => {
            return Err(failure(
                &id,
                "not_configured",
                "this server has no tokens configured; none is needed",
            ));
        }
        "panic" => Operation::Panic,
        other => {
            return Err(failure(
                &id,
                "unknown_op",
                &format!("{other:.40}: subscribe, unsubscribe, list, ping, auth, publish are known"),
            ));
        }
    };
    Ok(Asked { dialect: Dialect::Native, tag: Tag::Native(id, rejected), operation })
}

/// `args`: topics, or objects with a topic and where to resume. Bad names are set aside, not fatal.
fn wishes(args: Option<Value>, rejected: &mut Vec<Rejection>) -> Result<Vec<Wish>, &'static str> {
    const SHAPE: &str = r#"args is a list of topics, or of {"topic":…,"since":{"epoch":…,"seq":…}}"#;
    let Some(Value::Array(args)) = args else { return Err(SHAPE) };
    if args.is_empty() {
        return Err("args is empty: name at least one topic");
    }
    let mut wishes = Vec::with_capacity(args.len());
    for arg in args {
        let (topic, since) = match arg {
            Value::String(topic) => (topic, None),
            Value::Object(mut object) => {
                let Some(Value::String(topic)) = object.remove("topic") else { return Err(SHAPE) };
                let since = match object.get("since") {
                    None | Some(Value::Null) => None,
                    Some(since) => {
                        let epoch = since.get("epoch").and_then(Value::as_str).ok_or(SHAPE)?;
                        let seq = since.get("seq").and_then(Value::as_u64).ok_or(SHAPE)?;
                        Some(Since::new(epoch, seq))
                    }
                };
                (topic, since)
            }
            _ => return Err(SHAPE),
        };
        match Subject::try_from(topic.as_str()) {
            Ok(Subject::Pattern(_)) if since.is_some() => {
                rejected.push(Rejection { topic, code: "bad_request", message: PATTERN_SINCE.to_owned() });
            }
            Ok(subject) => wishes.push(Wish { subject, since }),
            Err(error) => rejected.push(Rejection { topic, code: "bad_topic", message: error.to_string() }),
        }
    }
    Ok(wishes)
}

/// What to publish: exactly one of `data` (verbatim), `text` and `base64`.
pub(crate) fn payload(
    data: Option<&RawValue>,
    text: Option<Value>,
    base64: Option<Value>,
) -> Result<Payload, &'static str> {
    match (data, text, base64) {
        (Some(data), None, None) => Ok(Payload::parsed_json(data.get().to_owned())),
        (None, Some(Value::String(text)), None) => Ok(Payload::text(text)),
        (None, None, Some(Value::String(base64))) => {
            STANDARD.decode(base64).map(Payload::binary).map_err(|_| "base64 does not decode")
        }
        _ => Err("a message has exactly one of data (any JSON), text (a string) and base64 (a string)"),
    }
}

fn binance(fields: Fields<'_>, names_max: usize) -> Result<Asked, String> {
    let Some(id) = OpId::from_json(fields.id) else {
        return Err(binance_failure(&OpId::Absent, 2, "Invalid request: id is an integer, a string or null"));
    };
    let bad = |code, msg: &str| Err(binance_failure(&id, code, msg));
    let Some(Value::String(method)) = fields.method else {
        return bad(2, "Invalid request: method must be a string");
    };
    let params = match fields.params {
        None => Vec::new(),
        Some(Value::Array(params)) if params.len() > names_max => {
            return bad(2, &format!("Invalid request: {TOO_MANY_NAMES}"));
        }
        Some(Value::Array(params)) => params,
        Some(_) => return bad(2, "Invalid request: params must be a list"),
    };
    let subjects = |params: &[Value]| -> Result<Vec<Subject>, String> {
        if params.is_empty() {
            return Err("Invalid request: params must name at least one stream".into());
        }
        let one = |param: &Value| {
            let name = param.as_str().ok_or("Invalid request: a stream is a string")?;
            Subject::try_from(name).map_err(|error| format!("Invalid request: {error}"))
        };
        params.iter().map(one).collect()
    };
    let operation = match method.as_str() {
        "SUBSCRIBE" => match subjects(&params) {
            Ok(subjects) => {
                let wishes = subjects.into_iter().map(|subject| Wish { subject, since: None }).collect();
                Operation::Subscribe { wishes, heartbeat_s: None }
            }
            Err(msg) => return bad(2, &msg),
        },
        "UNSUBSCRIBE" => match subjects(&params) {
            Ok(subjects) => Operation::Unsubscribe { subjects },
            Err(msg) => return bad(2, &msg),
        },
        "LIST_SUBSCRIPTIONS" => Operation::List,
        "SET_PROPERTY" => match &params[..] {
            [Value::String(name), Value::Bool(on)] if name == "combined" => Operation::SetCombined(*on),
            [Value::String(name), _] if name == "combined" => {
                return bad(1, "Invalid value type: expected Boolean");
            }
            [Value::String(_), _] => return bad(0, "Unknown property"),
            _ => return bad(2, "Invalid request: params are a property and its value"),
        },
        "GET_PROPERTY" => match &params[..] {
            [Value::String(name)] if name == "combined" => Operation::GetCombined,
            [Value::String(_)] => return bad(0, "Unknown property"),
            _ => return bad(2, "Invalid request: params are one property"),
        },
        _ => return bad(2, "Invalid request: unknown method"),
    };
    Ok(Asked { dialect: Dialect::Binance, tag: Tag::Binance(id), operation })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text, Dialect::Native, 9).expect_err(text)
    }

    #[test]
    fn a_subscribe_keeps_good_topics_and_sets_bad_ones_aside() {
        let text =
            r#"{"op":"subscribe","id":7,"args":["a","",{"topic":"b","since":{"epoch":"k3f9","seq":8}}]}"#;
        let asked = parse(text, Dialect::Native, 9).unwrap();
        let Operation::Subscribe { wishes, .. } = asked.operation else { panic!("not a subscribe") };
        assert_eq!(wishes.len(), 2);
        assert_eq!(wishes[1].since, Some(Since::new("k3f9", 8)));
        let Tag::Native(OpId::Integer(_), rejected) = asked.tag else { panic!("not native") };
        assert_eq!((rejected.len(), rejected[0].code), (1, "bad_topic"));
    }

    #[test]
    fn published_data_is_kept_byte_for_byte() {
        let asked =
            parse(r#"{"op":"publish","topic":"t","data":{ "a" : 1.0 }}"#, Dialect::Native, 9).unwrap();
        let Operation::Publish { payload, .. } = asked.operation else { panic!("not a publish") };
        assert_eq!(payload.bytes(), r#"{ "a" : 1.0 }"#);
        let asked = parse(r#"{"op":"publish","topic":"t","base64":"AP8="}"#, Dialect::Native, 9).unwrap();
        let Operation::Publish { payload, .. } = asked.operation else { panic!("not a publish") };
        assert_eq!(payload.bytes().as_ref(), [0, 255]);
        assert!(parse(r#"{"op":"publish","topic":"t","data":null}"#, Dialect::Native, 9).is_ok());
    }

    #[test]
    fn bad_operations_are_answered_in_their_own_words() {
        assert!(refused("{").contains("not JSON"));
        assert!(refused("[1]").contains("expected an object"));
        assert!(refused(r#"["ping",null,1]"#).contains("expected an object"));
        assert!(refused(r#"{"op":"list","op":"ping"}"#).contains("duplicate field"));
        assert!(
            refused(r#"{"op":"fly","id":"x"}"#)
                .starts_with(r#"{"event":"error","id":"x","code":"unknown_op""#)
        );
        assert!(refused(r#"{"op":"subscribe","args":[1]}"#).contains("bad_request"));
        assert!(refused(r#"{"op":"subscribe","args":[]}"#).contains("bad_request"));
        assert!(refused(r#"{"op":"list","id":1.5}"#).contains("id is an integer"));
        assert!(refused(r#"{"op":"publish","topic":"t"}"#).contains("exactly one"));
        assert_eq!(
            refused(r#"{"method":"SET_PROPERTY","params":["combined",1],"id":5}"#),
            r#"{"code":1,"msg":"Invalid value type: expected Boolean","id":5}"#
        );
        assert!(refused(r#"{"method":"GET_PROPERTY","params":["x"],"id":5}"#).starts_with(r#"{"code":0"#));
        assert!(refused(r#"{"method":"NO","id":null}"#).ends_with(r#""id":null}"#));
        assert!(parse("{", Dialect::Binance, 9).unwrap_err().starts_with(r#"{"code":3"#));
    }
}
