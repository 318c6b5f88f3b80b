//! What is asked of the server, and asked again.

use super::{Session, Wanted};
use crate::client::error::ClientError;
use crate::client::event::{Event, Wish};
use crate::client::said;
use crate::message::Payload;
use crate::protocol::options::PublishOptions;
use crate::protocol::outcome::Published;
use std::time::Duration;
use tokio::time::Instant;

/// How long the server may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// After how long an operation is sent again that may have been lost.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Names in one operation; the server takes twice the topics of a connection.
const NAMES_MAX: usize = 512;
/// Bytes of one operation's names; the server takes 256 KiB.
const NAMES_BYTES_MAX: usize = 64 << 10;
/// The same where an operation has to fit into a datagram.
const NAMES_BYTES_DATAGRAM: usize = 1_000;
/// How often datagrams are to name the newest numbers, in seconds: a message that was lost may be the last.
const HEARTBEAT_S: u32 = 1;

/// An operation that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) purpose: Purpose,
    pub(super) names: Vec<String>,
    text: String,
    at: Instant,
    again_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A subscription, for the user or again.
    Subscribe,
    /// The epochs of topics that a pattern brought; answered, they are left again.
    Lookup,
    /// The user wants them no more.
    Unsubscribe,
    /// Named only to resume or to look them up; a pattern keeps them.
    Release,
    Publish,
}

impl Asked {
    pub(super) fn is_publish(&self) -> bool {
        self.purpose == Purpose::Publish
    }
}

impl Session {
    /// Subscribes, and remembers it for every connection after this.
    pub(in crate::client) fn subscribe(&mut self, wishes: Vec<Wish>) {
        for wish in &wishes {
            self.wanted.insert(wish.topic.clone(), Wanted::default());
            if let Some(since) = &wish.since {
                self.places.begin(&wish.topic, since.clone());
            }
        }
        if self.is_open {
            self.ask_for(wishes.into_iter().map(|wish| wish.topic).collect());
        }
    }

    /// What became of a subscription; nothing before the server has answered all of it.
    pub(in crate::client) fn subscribed(&mut self, names: &[String]) -> Option<Result<(), ClientError>> {
        let answers = names.iter().map(|name| self.wanted.get(name).map(|one| one.answer.as_ref()));
        let mut refused: Vec<(&String, ClientError)> = Vec::new();
        let mut is_granted = names.is_empty();
        for (name, answer) in names.iter().zip(answers) {
            match answer {
                Some(None) => return None,
                Some(Some(Err(error))) => refused.push((name, error.clone())),
                Some(Some(Ok(()))) | None => is_granted = true,
            }
        }
        let (mut whys, mut is_by_topic) = (Vec::new(), true);
        for (name, error) in refused {
            self.wanted.remove(name);
            if let ClientError::NotSubscribed { why, by_topic } = error {
                is_by_topic &= by_topic;
                if !whys.contains(&why) {
                    whys.push(why);
                }
            }
        }
        let refusal = ClientError::NotSubscribed { why: whys.join(", "), by_topic: is_by_topic };
        Some(if is_granted { Ok(()) } else { Err(refusal) })
    }

    /// Leaves topics and patterns; returns the operation's number.
    pub(in crate::client) fn unsubscribe(&mut self, names: Vec<String>) -> u64 {
        for name in &names {
            self.wanted.remove(name);
        }
        if self.is_open { self.ask(Purpose::Unsubscribe, names) } else { 0 }
    }

    /// True exactly when the server has not yet said that the topic was left.
    pub(in crate::client) fn is_leaving(&self, topic: &str) -> bool {
        let is_meant = |asked: &Asked| asked.names.iter().any(|name| name == topic);
        self.asked.values().any(|asked| asked.purpose == Purpose::Unsubscribe && is_meant(asked))
    }

    pub(in crate::client) fn is_asked(&self, id: u64) -> bool {
        self.asked.contains_key(&id)
    }

    /// Publishes; the receipt is for [`Session::receipt`].
    pub(in crate::client) fn publish(
        &mut self,
        topic: &str,
        payload: &Payload,
        options: &PublishOptions,
    ) -> u64 {
        self.last_id += 1;
        self.outbox.push_back(said::publish(Some(self.last_id), topic, payload, options));
        self.wait_for_answer(Purpose::Publish, Vec::new(), String::new())
    }

    pub(in crate::client) fn receipt(&mut self, id: u64) -> Option<Result<Published, ClientError>> {
        self.receipt.take_if(|(of, _)| *of == id).map(|(_, receipt)| receipt)
    }

    /// There is a connection: everything wanted is asked for, what is known of it from where it was.
    pub(in crate::client) fn opened(&mut self, is_again: bool) {
        self.is_open = true;
        if is_again {
            self.tell(Event::Reconnected, None);
        }
        let (patterns, topics): (Vec<_>, Vec<_>) =
            self.wanted.keys().cloned().partition(|name| name.ends_with('*'));
        let seen = self.places.names().filter(|name| self.is_by_pattern_only(name.as_str()));
        let seen: Vec<_> = seen.map(ToString::to_string).collect();
        let resumable = seen.into_iter().filter(|name| self.places.of(name).is_some());
        // A topic that comes by a pattern is resumed only if it is named, and before the pattern is.
        let names = topics.into_iter().chain(resumable).chain(patterns).collect();
        self.ask_for(names);
    }

    /// True exactly when nobody asked for the topic by its name, and a pattern of ours means it.
    pub(super) fn is_by_pattern_only(&self, topic: &str) -> bool {
        let is_meant = |pattern: &String| {
            pattern.strip_suffix('*').is_some_and(|prefix| topic.starts_with(prefix))
                && !topic.starts_with('$')
        };
        !self.wanted.contains_key(topic) && self.wanted.keys().any(is_meant)
    }

    /// Asks for the epochs of what patterns brought, if nobody has yet.
    pub(super) fn look_up(&mut self) {
        let is_asked = self.asked.values().any(|asked| asked.purpose == Purpose::Lookup);
        if is_asked || self.nameless.is_empty() {
            return;
        }
        let names: Vec<_> = self.nameless.drain(..self.nameless.len().min(NAMES_MAX)).collect();
        self.ask(Purpose::Lookup, names);
    }

    fn ask_for(&mut self, names: Vec<String>) {
        let bytes_max = if self.is_lossy() { NAMES_BYTES_DATAGRAM } else { NAMES_BYTES_MAX };
        let (mut together, mut bytes) = (Vec::new(), 0);
        for name in names {
            let more = said::wish(&name, self.places.of(&name).as_ref()).to_string().len();
            if together.len() >= NAMES_MAX || (bytes > 0 && bytes + more > bytes_max) {
                self.ask(Purpose::Subscribe, std::mem::take(&mut together));
                bytes = 0;
            }
            bytes += more;
            together.push(name);
        }
        if !together.is_empty() {
            self.ask(Purpose::Subscribe, together);
        }
    }

    pub(super) fn ask(&mut self, purpose: Purpose, names: Vec<String>) -> u64 {
        self.last_id += 1;
        let text = match purpose {
            Purpose::Unsubscribe | Purpose::Release => said::unsubscribe(self.last_id, &names),
            Purpose::Subscribe | Purpose::Lookup | Purpose::Publish => {
                let wish = |name: &String| said::wish(name, self.places.of(name).as_ref());
                let args: Vec<_> = names.iter().map(wish).collect();
                said::subscribe(self.last_id, &args, self.is_lossy().then_some(HEARTBEAT_S))
            }
        };
        self.outbox.push_back(text.clone());
        self.wait_for_answer(purpose, names, text)
    }

    fn wait_for_answer(&mut self, purpose: Purpose, names: Vec<String>, text: String) -> u64 {
        let asked = Asked { purpose, names, text, at: self.now, again_at: self.now + ASK_AGAIN };
        self.asked.insert(self.last_id, asked);
        self.last_id
    }

    /// When [`Session::tick`] has something to do.
    pub(in crate::client) fn deadline(&self) -> Option<Instant> {
        let is_lossy = self.is_lossy();
        let due = |asked: &Asked| {
            let given_up_at = asked.at + ANSWER_WAIT;
            if is_lossy { given_up_at.min(asked.again_at) } else { given_up_at }
        };
        self.asked.values().filter(|asked| !asked.is_publish()).map(due).min()
    }

    /// It is that late: asks again what may be lost, and fails when an answer does not come.
    pub(in crate::client) fn tick(&mut self, now: Instant) -> Result<(), ClientError> {
        self.now = now;
        let is_lossy = self.is_lossy();
        for asked in self.asked.values_mut().filter(|asked| !asked.is_publish()) {
            if now >= asked.at + ANSWER_WAIT {
                return Err(ClientError::Unanswered);
            }
            if is_lossy && now >= asked.again_at {
                self.outbox.push_back(asked.text.clone());
                asked.again_at = now + ASK_AGAIN;
            }
        }
        Ok(())
    }
}
