//! Topic rules, `[[topic]]` in the configuration file.
//!
//! Contract: the first rule whose pattern matches a topic's name applies to it, alone; what that rule leaves out is
//! as if there were no rule. A pattern is a name, or the beginning of one and `*`; names that begin with `$` belong
//! to the server and match none. A rule that another in front of it hides is an error.

use super::{ConfigError, Multicast};
use crate::limits::Limits;
use crate::protocol::class::Class;
use crate::protocol::topic::{TopicError, TopicName};
use serde::{Deserialize, Serialize};

/// One `[[topic]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A topic's name, or the beginning of names and `*`.
    pub pattern: String,
    /// Its class; without it the class is what the first publisher asks for, else `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Messages its history keeps. 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_messages: Option<usize>,
    /// Bytes its history keeps, each message charged 128 beside its payload. 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_bytes: Option<usize>,
    /// Seconds a message stays in its history. 0: until others need its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_age_s: Option<u64>,
    /// What a new subscriber is sent first; without it `latest` for the class `state`, else `image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Frames of the topic that one connection may hold unsent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_frames: Option<usize>,
    /// The same in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<usize>,
    /// Seconds a frame of the topic may wait unsent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_age_s: Option<u64>,
    /// Where its messages go beside their subscribers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multicast: Option<Multicast>,
}

/// What a new subscriber of a topic is sent before what is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Snapshot {
    /// Nothing.
    None,
    /// The newest message.
    Latest,
    /// The newest message that a publisher marked as image, and every message after it.
    #[default]
    Image,
}

impl Rule {
    /// True exactly when the rule is about topics of that name.
    pub fn matches(&self, name: &str) -> bool {
        if name.starts_with('$') {
            return false;
        }
        self.pattern.strip_suffix('*').map_or(self.pattern == name, |beginning| name.starts_with(beginning))
    }

    /// True exactly when every name that `other` matches is matched by this one too.
    fn hides(&self, other: &Self) -> bool {
        match (self.pattern.strip_suffix('*'), other.pattern.strip_suffix('*')) {
            (Some(ours), Some(theirs)) => theirs.starts_with(ours),
            (Some(ours), None) => other.pattern.starts_with(ours),
            (None, None) => self.pattern == other.pattern,
            (None, Some(_)) => false,
        }
    }

    /// Bytes that the history of one topic under this rule may hold.
    pub fn history_bytes(&self, limits: &Limits) -> usize {
        let is_kept = self.history_messages.unwrap_or(limits.history_messages) > 0;
        if is_kept { self.history_bytes.unwrap_or(limits.history_bytes) } else { 0 }
    }

    /// What is wrong with it by itself.
    fn fault(&self, limits: &Limits) -> Option<String> {
        let beginning = self.pattern.strip_suffix('*');
        let name = match beginning {
            Some("") => None,
            beginning => TopicName::try_from(beginning.unwrap_or(&self.pattern)).err(),
        };
        if self.pattern.starts_with('$') {
            return Some("names that begin with $ belong to the server; no rule is about them".into());
        }
        if name == Some(TopicError::Pattern) {
            return Some("only one * may stand at the end".into());
        }
        if let Some(error) = name {
            return Some(format!("the pattern is no name: {error}"));
        }
        if let Some(fault) = self.multicast.and_then(|multicast| multicast.fault()) {
            return Some(fault);
        }
        let at_least_one = [
            ("queue_frames", self.queue_frames),
            ("queue_bytes", self.queue_bytes),
            ("queue_age_s", self.queue_age_s.map(|age| usize::try_from(age).unwrap_or(usize::MAX))),
        ];
        if let Some((setting, _)) = at_least_one.into_iter().find(|(_, value)| *value == Some(0)) {
            return Some(format!("{setting} must be at least 1"));
        }
        let at_most = [
            ("history_bytes", self.history_bytes, "limits.histories_bytes", limits.histories_bytes),
            ("queue_frames", self.queue_frames, "limits.queue_frames", limits.queue_frames),
            ("queue_bytes", self.queue_bytes, "limits.queue_bytes", limits.queue_bytes),
        ];
        let over = at_most.into_iter().find(|(_, value, _, max)| value.is_some_and(|value| value > *max));
        over.map(|(setting, _, limit, max)| format!("{setting} must be at most {limit}, which is {max}"))
    }
}

/// Checks all of them.
pub(super) fn validate(rules: &[Rule], limits: &Limits) -> Result<(), ConfigError> {
    for (at, rule) in rules.iter().enumerate() {
        let hidden_by = || {
            let other = rules[..at].iter().find(|other| other.hides(rule))?;
            Some(format!("it never applies, because {:?} in front of it matches all it does", other.pattern))
        };
        // A group gets what a pattern matches: it must be exactly what the rule is about.
        let is_cut = || {
            let other = rules[..at].iter().find(|other| rule.multicast.is_some() && rule.hides(other))?;
            let pattern = &other.pattern;
            Some(format!("multicast: {pattern:?} in front of it takes some of its topics; name others"))
        };
        if let Some(fault) = rule.fault(limits).or_else(hidden_by).or_else(is_cut) {
            let message = format!("[[topic]] number {}, {:?}: {fault}", at + 1, rule.pattern);
            return Err(ConfigError::Contradiction(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str) -> Rule {
        Rule { pattern: pattern.into(), ..Rule::default() }
    }

    fn refused(rules: &[Rule]) -> String {
        let error = validate(rules, &Limits::default()).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn a_pattern_is_a_name_or_the_beginning_of_names() {
        assert!(rule("book.BTC").matches("book.BTC") && !rule("book.BTC").matches("book.BTCUSDT"));
        assert!(rule("book.*").matches("book.BTC") && !rule("book.*").matches("book"));
        assert!(rule("*").matches("x") && rule("a*b").matches("a*b") && !rule("a*b").matches("axb"));
        assert!(!rule("*").matches("$sys.stats") && !rule("$client.1").matches("$client.1"));
    }

    #[test]
    fn a_wrong_rule_says_what_is_wrong() {
        assert!(validate(&[rule("a.*"), rule("a*"), rule("*")], &Limits::default()).is_ok());
        for (pattern, part) in [
            ("", "a topic is empty"),
            ("a b*", "a space"),
            ("a**", "only one *"),
            ("$sys.*", "belong to the server"),
        ] {
            assert!(refused(&[rule(pattern)]).contains(part), "{pattern}: {}", refused(&[rule(pattern)]));
        }
        assert!(refused(&[rule("a*"), rule("a.b")]).contains(r#"number 2, "a.b": it never applies"#));
        let greedy = Rule { queue_bytes: Some(usize::MAX), ..rule("a") };
        assert!(
            refused(&[greedy]).contains("queue_bytes must be at most limits.queue_bytes, which is 8388608")
        );
        let to = |group: &str| {
            let multicast = Multicast { group: group.parse().unwrap(), interface: None, ttl: 1 };
            Rule { multicast: Some(multicast), ..rule("a*") }
        };
        assert!(validate(&[to("239.1.2.3:1")], &Limits::default()).is_ok());
        assert!(refused(&[to("10.1.2.3:1")]).contains("no group"));
        assert!(refused(&[rule("a.b"), to("239.1.2.3:1")]).contains("takes some of its topics"));
        assert!(refused(&[Rule { queue_frames: Some(0), ..rule("a") }]).contains("at least 1"));
    }
}
