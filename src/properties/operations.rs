//! Operations: every text is one that is known, or is refused in words that a client of its dialect can read.

use crate::protocol::operation::{Asked, Dialect, Operation, parse};
use crate::protocol::pattern::Subject;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use serde::Deserialize;
use serde_json::Value;

/// Names that one operation may have here.
const NAMES_MAX: usize = 4;

/// An error in Stentor's own words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeError {
    event: String,
    #[serde(default)]
    id: Value,
    code: String,
    message: String,
}

/// An error in Binance's words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BinanceError {
    code: u8,
    msg: String,
    #[serde(default)]
    id: Value,
}

/// Holds of any text message.
///
/// # Panics
/// Where it does not hold.
pub fn hold(text: &str) {
    for spoken in [Dialect::Native, Dialect::Binance] {
        match parse(text, spoken, NAMES_MAX) {
            Ok(asked) => accepted(&asked),
            Err(words) => refused(text, spoken, &words),
        }
    }
}

fn accepted(asked: &Asked) {
    let is_native = matches!(asked.tag, Tag::Native(..));
    assert_eq!(asked.dialect == Dialect::Native, is_native, "answered in the words it was asked in");
    let is_a_name = |topic: &TopicName| TopicName::try_from(topic.as_str()).as_ref() == Ok(topic);
    let is_a_subject =
        |subject: &Subject| Subject::try_from(subject.to_string().as_str()).as_ref() == Ok(subject);
    match &asked.operation {
        Operation::Subscribe { wishes, heartbeat_s } => {
            assert!(wishes.len() <= NAMES_MAX && wishes.iter().all(|wish| is_a_subject(&wish.subject)));
            assert_ne!(*heartbeat_s, Some(0));
        }
        Operation::Unsubscribe { subjects } => {
            assert!(subjects.len() <= NAMES_MAX && subjects.iter().all(is_a_subject))
        }
        Operation::Publish { topic, payload, .. } => {
            assert!(is_native && is_a_name(topic));
            assert!(
                payload.kind() == crate::PayloadKind::Binary || std::str::from_utf8(payload.bytes()).is_ok()
            );
        }
        Operation::Ping | Operation::Panic => assert!(is_native),
        Operation::SetCombined(_) | Operation::GetCombined => assert!(!is_native),
        Operation::List => {}
    }
}

fn refused(text: &str, spoken: Dialect, words: &str) {
    let id = if let Ok(error) = serde_json::from_str::<BinanceError>(words) {
        assert!(error.code <= 3 && !error.msg.is_empty(), "{words}");
        assert!(spoken == Dialect::Binance || text.contains("method") || text.contains("\\u"), "{words}");
        error.id
    } else {
        let error: NativeError = serde_json::from_str(words).expect(words);
        assert!(error.event == "error" && !error.code.is_empty() && !error.message.is_empty(), "{words}");
        error.id
    };
    assert!(id.is_null() || id.is_i64() || id.is_u64() || id.is_string(), "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::generated::{cases, topic};
    use crate::protocol::operation::OpId;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    const OPS: [&str; 7] = ["subscribe", "unsubscribe", "list", "ping", "auth", "publish", "fly"];
    const METHODS: [&str; 5] =
        ["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"];
    const WORDS: [&str; 7] = ["combined", "t", "", "a b", "x*", "delta", "k3f9"];
    const KEYS: [&str; 13] = [
        "id",
        "args",
        "params",
        "topic",
        "data",
        "text",
        "base64",
        "heartbeat_s",
        "class",
        "image",
        "seq",
        "epoch",
        "x",
    ];
    const INNER_KEYS: [&str; 5] = ["topic", "since", "epoch", "seq", "x"];

    /// Values such as fields have, and such as they should not have.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            select(&WORDS[..]).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        let key = select(&INNER_KEYS[..]);
        leaf.prop_recursive(3, 24, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// An object with fields of operations, now and then with a byte of its text changed.
    fn nearly_an_operation() -> impl Strategy<Value = String> {
        let op = select(&OPS[..]).prop_map(|op| ("op", op));
        let kind = prop_oneof![op, select(&METHODS[..]).prop_map(|method| ("method", method))];
        let fields = prop::collection::vec((select(&KEYS[..]), value()), 0..6);
        let slip = proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<char>()));
        (kind, fields, slip).prop_map(|((key, kind), fields, slip)| {
            let fields = fields.iter().map(|(key, value)| format!(r#""{key}":{value}"#));
            let all: Vec<_> = std::iter::once(format!(r#""{key}":"{kind}""#)).chain(fields).collect();
            let mut text: Vec<char> = format!("{{{}}}", all.join(",")).chars().collect();
            if let Some((at, character)) = slip {
                let at = at.index(text.len());
                text[at] = character;
            }
            text.into_iter().collect()
        })
    }

    /// An id, as JSON and as it is understood.
    fn id() -> impl Strategy<Value = (Value, OpId)> {
        prop_oneof![
            Just((Value::Null, OpId::Null)),
            any::<i64>().prop_map(|id| (id.into(), OpId::Integer(id.into()))),
            any::<u64>().prop_map(|id| (id.into(), OpId::Integer(id.into()))),
            any::<String>().prop_map(|id| (id.clone().into(), OpId::Text(id))),
        ]
    }

    proptest! {
        #![proptest_config(cases(384))]

        #[test]
        fn any_text_is_an_operation_or_an_error_in_its_dialect(text in any::<String>()) {
            hold(&text);
        }

        #[test]
        fn whatever_is_nearly_an_operation_is_one_or_an_error(text in nearly_an_operation()) {
            hold(&text);
        }
    }

    proptest! {
        #![proptest_config(cases(96))]

        #[test]
        fn good_names_are_kept_in_order_and_bad_ones_set_aside(
            names in prop::collection::vec(prop_oneof![topic().prop_map(|name| name.to_string()), any::<String>()], 1..8),
            (id, understood) in id(),
        ) {
            let text = json!({ "op": "unsubscribe", "id": id, "args": names }).to_string();
            let asked = parse(&text, Dialect::Native, 8).unwrap();
            let (good, bad): (Vec<_>, Vec<_>) =
                names.into_iter().partition(|name| Subject::try_from(name.as_str()).is_ok());
            let Operation::Unsubscribe { subjects } = asked.operation else { panic!("not what was asked") };
            prop_assert_eq!(subjects.iter().map(ToString::to_string).collect::<Vec<_>>(), good);
            let Tag::Native(id, rejected) = asked.tag else { panic!("not native") };
            prop_assert_eq!(id, understood);
            prop_assert_eq!(rejected.into_iter().map(|one| one.topic).collect::<Vec<_>>(), bad);
        }

        #[test]
        fn what_cannot_be_read_is_answered_in_the_words_spoken_so_far(
            whole in nearly_an_operation(),
            other in value().prop_filter("could be read", |value| !value.is_object()),
        ) {
            let cut: String = whole.chars().skip(1).collect();
            let twice = r#"{"id":1,"id":2}"#.to_owned();
            for text in [cut, other.to_string(), twice] {
                let words = parse(&text, Dialect::Native, 8).unwrap_err();
                prop_assert!(serde_json::from_str::<NativeError>(&words).is_ok(), "{} to {}", words, text);
                let words = parse(&text, Dialect::Binance, 8).unwrap_err();
                prop_assert!(serde_json::from_str::<BinanceError>(&words).is_ok(), "{} to {}", words, text);
            }
        }

        #[test]
        fn an_id_comes_back_as_it_came((id, _) in id(), method in any::<bool>()) {
            let key = if method { "method" } else { "op" };
            let words = parse(&json!({ key: "no such thing", "id": id }).to_string(), Dialect::Native, 8).unwrap_err();
            let words: Value = serde_json::from_str(&words).unwrap();
            prop_assert_eq!(words.get("id"), Some(&id));
        }

        #[test]
        fn what_is_published_is_kept_byte_for_byte(
            name in topic(),
            data in value(),
            space in "[ \n\t]{0,3}",
            text in any::<String>(),
        ) {
            let name = Value::from(name.as_str());
            let published = |field: &str, written: &str| {
                let text = format!(r#"{{"op":"publish","topic":{name},"{field}":{space}{written}{space}}}"#);
                match parse(&text, Dialect::Native, 8).unwrap().operation {
                    Operation::Publish { payload, .. } => payload,
                    other => panic!("not a publish: {other:?}"),
                }
            };
            let data = format!("{data:#}");
            let payload = published("data", &data);
            prop_assert_eq!(payload.bytes(), data.as_bytes());
            prop_assert_eq!(payload.kind(), crate::PayloadKind::Json);
            let payload = published("text", &Value::from(text.as_str()).to_string());
            prop_assert_eq!(payload.bytes(), text.as_bytes());
        }
    }
}
