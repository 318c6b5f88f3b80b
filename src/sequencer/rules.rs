//! What the topic rules come to for one topic: the terms of its subscriptions, and what is kept of it.

use super::history::Bounds;
use crate::config::{Rule, Snapshot};
use crate::limits::Limits;
use crate::protocol::class::{Class, Terms};
use crate::protocol::system::{CONNECTIONS, PREFIX as SYSTEM};
use std::time::Duration;

/// What the server says of itself is of the moment: figures replace each other, comings and goings do not, and
/// nothing is kept of them.
fn of_system(name: &str) -> Rule {
    let class = if name == CONNECTIONS { Class::Event } else { Class::State };
    let (class, snapshot) = (Some(class), Some(Snapshot::None));
    Rule { class, snapshot, history_messages: Some(0), ..Rule::default() }
}

/// The rules in force; replaced whole.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    messages: usize,
    bytes: usize,
    age_s: u64,
}

/// What holds for one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charter {
    pub(crate) terms: Terms,
    /// True exactly when no publisher may choose the class any more.
    pub(crate) is_class_fixed: bool,
    pub(crate) bounds: Bounds,
    pub(crate) snapshot: Snapshot,
}

impl Rules {
    /// These rules, with the limits' histories where they say nothing.
    pub(crate) fn new(rules: Vec<Rule>, limits: &Limits) -> Self {
        let (messages, bytes) = (limits.history_messages, limits.history_bytes);
        Self { rules, messages, bytes, age_s: limits.history_age_s }
    }

    /// What holds for a topic of that name; `class` is what it is already, or is asked to be.
    pub(crate) fn charter(&self, name: &str, class: Option<Class>) -> Charter {
        let otherwise = if name.starts_with(SYSTEM) { of_system(name) } else { Rule::default() };
        let rule = self.rules.iter().find(|rule| rule.matches(name)).unwrap_or(&otherwise);
        let is_class_fixed = rule.class.is_some();
        let class = class.or(rule.class).unwrap_or_default();
        let by_class = if class == Class::State { Snapshot::Latest } else { Snapshot::Image };
        let snapshot = rule.snapshot.unwrap_or(by_class);
        let age_s = rule.history_age_s.unwrap_or(self.age_s);
        Charter {
            terms: Terms {
                class,
                queue_frames: rule.queue_frames,
                queue_bytes: rule.queue_bytes,
                queue_age_s: rule.queue_age_s,
            },
            is_class_fixed,
            bounds: Bounds {
                messages: rule.history_messages.unwrap_or(self.messages),
                bytes: rule.history_bytes.unwrap_or(self.bytes),
                age: (age_s > 0).then(|| Duration::from_secs(age_s)),
                keeps_last: snapshot == Snapshot::Latest,
            },
            snapshot,
        }
    }
}
