//! What a request's path and query ask for.
//!
//! | path | connection |
//! |---|---|
//! | `/ws`, `/ws/<topic>` | raw payloads |
//! | `/stream?streams=a/b,c` | the combined envelope |
//! | `/publish/<topic>` | every message in goes to the topic; `class`, `image`, `seq`, `epoch` are said of it |
//! | `/echo` | every message in comes back, where configured |

use super::identity::Identity;
use super::operation::{PATTERN_SINCE, Since};
use super::options::{OptionError, PublishOptions};
use super::pattern::Subject;
use super::topic::{TopicError, TopicName};
use crate::message::Encoding;
use crate::protocol::operation::Wish;
use percent_encoding::percent_decode_str;

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Operations in, data out.
    Session,
    /// Messages in, to one topic. A `seq` is the first one's; those after it count on from there.
    Publish(TopicName, Option<Box<PublishOptions>>),
    /// Messages in and out again.
    Echo,
}

/// A request understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) wishes: Vec<Wish>,
    /// Who comes, where that is known.
    pub(crate) identity: Option<Identity>,
    pub(crate) encoding: Encoding,
    /// The encoding that `SET_PROPERTY combined` switches to.
    pub(crate) combined: Encoding,
}

impl Target {
    /// What who connects over TCP asks for before it has said anything.
    pub(crate) fn tcp() -> Self {
        let encoding = Encoding::Tcp;
        Self { endpoint: Endpoint::Session, wishes: Vec::new(), identity: None, encoding, combined: encoding }
    }
}

/// A request not understood. The client's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("not found; try /ws, /ws/<topic>, /stream?streams=<topic>/<topic> or /publish/<topic>")]
    NotFound,
    #[error("{0}")]
    Topic(#[from] TopicError),
    #[error("since is <epoch>:<seq> for each stream, in their order, separated by commas")]
    Since,
    #[error("{PATTERN_SINCE}")]
    PatternSince,
    #[error("{0}")]
    Option(#[from] OptionError),
    #[error("more topics than one connection may have (limits.topics_per_connection)")]
    TooManyTopics,
}

/// Reads a path and its query.
pub(crate) fn parse(path: &str, query: &str, topics_max: usize, echo: bool) -> Result<Target, TargetError> {
    let parameter = |name: &str| parameter(query, name);
    let flag = |name: &str| parameter(name).is_some_and(|value| value != "0" && value != "false");
    let combined = Encoding::combined(flag("seq"), flag("ts"));
    let target = |endpoint, encoding, wishes| Target { endpoint, wishes, identity: None, encoding, combined };
    let since = parameter("since").unwrap_or_default();
    if path == "/ws" || path == "/ws/" {
        return Ok(target(Endpoint::Session, Encoding::Raw, Vec::new()));
    }
    if path == "/stream" {
        let names = parameter("streams").unwrap_or_default();
        let wishes = wishes(names.split(['/', ',']).filter(|name| !name.is_empty()), since, topics_max)?;
        return Ok(target(Endpoint::Session, combined, wishes));
    }
    if let Some(name) = path.strip_prefix("/ws/") {
        return Ok(target(Endpoint::Session, Encoding::Raw, wishes([name].into_iter(), since, topics_max)?));
    }
    if let Some(name) = path.strip_prefix("/publish/") {
        let options = PublishOptions::from_query(parameter)?.boxed();
        return Ok(target(Endpoint::Publish(topic(name)?, options), Encoding::Raw, Vec::new()));
    }
    if path == "/echo" && echo {
        return Ok(target(Endpoint::Echo, Encoding::Raw, Vec::new()));
    }
    Err(TargetError::NotFound)
}

/// What a query says under that name, as it stands there.
pub(crate) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A percent-encoded topic.
pub(crate) fn topic(encoded: &str) -> Result<TopicName, TopicError> {
    decoded(encoded)
}

fn decoded<T: for<'a> TryFrom<&'a str, Error = TopicError>>(encoded: &str) -> Result<T, TopicError> {
    let name = percent_decode_str(encoded).decode_utf8().map_err(|_| TopicError::NotUtf8)?;
    T::try_from(&*name)
}

fn wishes<'a>(
    names: impl Iterator<Item = &'a str>,
    since: &str,
    max: usize,
) -> Result<Vec<Wish>, TargetError> {
    let since = percent_decode_str(since).decode_utf8().map_err(|_| TargetError::Since)?;
    let mut places = since.split(',');
    let mut wishes = Vec::new();
    for name in names {
        if wishes.len() == max {
            return Err(TargetError::TooManyTopics);
        }
        let since = match places.next().unwrap_or_default() {
            "" => None,
            place => Some(Since::parse(place).ok_or(TargetError::Since)?),
        };
        let subject = decoded(name)?;
        if since.is_some() && matches!(subject, Subject::Pattern(_)) {
            return Err(TargetError::PatternSince);
        }
        wishes.push(Wish { subject, since });
    }
    if places.any(|place| !place.is_empty()) {
        return Err(TargetError::Since);
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str, query: &str) -> Result<Target, TargetError> {
        parse(path, query, 3, false)
    }

    fn topics(target: &Target) -> Vec<String> {
        target.wishes.iter().map(|wish| wish.subject.to_string()).collect()
    }

    #[test]
    fn streams_split_first_and_decode_after() {
        let target = parsed("/stream", "streams=a@b/c%2Fd,e&seq=1").unwrap();
        assert_eq!(topics(&target), ["a@b", "c/d", "e"]);
        assert_eq!(target.encoding, Encoding::CombinedSeq);
    }

    #[test]
    fn a_path_is_one_topic() {
        let target = parsed("/ws/a/b%20", "").unwrap_err();
        assert_eq!(target, TargetError::Topic(TopicError::Character));
        assert_eq!(topics(&parsed("/ws/a/b", "").unwrap()), ["a/b"]);
        let pattern = parsed("/ws/a%2A", "").unwrap().wishes.remove(0).subject;
        assert!(matches!(pattern, Subject::Pattern(pattern) if pattern.prefix() == "a"));
        assert_eq!(parsed("/publish/a*", ""), Err(TargetError::Topic(TopicError::Pattern)));
        assert!(matches!(parsed("/publish/x", "").unwrap().endpoint, Endpoint::Publish(_, None)));
        let marked = parsed("/publish/x", "image=1").unwrap().endpoint;
        assert!(matches!(marked, Endpoint::Publish(_, Some(options)) if options.image));
        assert!(matches!(parsed("/publish/x", "class=1"), Err(TargetError::Option(_))));
    }

    #[test]
    fn since_goes_with_the_streams_in_their_order() {
        let target = parsed("/stream", "streams=a/b/c&since=k3:1,,k4:2").unwrap();
        let since: Vec<_> = target.wishes.iter().map(|wish| wish.since).collect();
        assert_eq!(since, [Some(Since::new("k3", 1)), None, Some(Since::new("k4", 2))]);
        assert_eq!(parsed("/stream", "streams=a&since=x"), Err(TargetError::Since));
        assert_eq!(parsed("/stream", "streams=a&since=k:1,k:2"), Err(TargetError::Since));
        assert_eq!(parsed("/stream", "streams=a*&since=k:1"), Err(TargetError::PatternSince));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert_eq!(parsed("/", ""), Err(TargetError::NotFound));
        assert_eq!(parsed("/echo", ""), Err(TargetError::NotFound));
        assert_eq!(parsed("/stream", "streams=a/b/c/d"), Err(TargetError::TooManyTopics));
        assert_eq!(parsed("/ws/%ff", ""), Err(TargetError::Topic(TopicError::NotUtf8)));
    }
}
