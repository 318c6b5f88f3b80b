//! The naive, obviously right model: every client has a list of the numbers it is to get of each topic, and what
//! its socket took is held against that after every step.

use super::accounts::Accounts;
use super::operation::{Numbering, Operation};
use super::published::Published;
use super::reading::{self, Read};
use super::scene::{Scene, imbalance};
use super::totals::Totals;
use super::view::{
    PATTERNS, Span, TOPICS, Topic, Verdict, View, came, ensure, is_match, kind, named_its_last, told,
};
use crate::config::{Rule, Snapshot};
use crate::ids::{ConnectionId, Epoch};
use crate::limits::{ENTRY_BYTES, Limits};
use crate::message::{Message, frame};
use crate::protocol::class::Class;
use crate::protocol::close::Reason;
use crate::protocol::operation::{OpId, Since, Wish};
use crate::protocol::options::PublishOptions;
use crate::protocol::outcome::Recovery;
use crate::protocol::pattern::Subject;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use crate::sequencer::request::{Delivery, Request, Subscribed, Unsubscribed};
use crate::shard::queue::entry::Control;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// More than any frame of a schedule.
const FRAME_BYTES: usize = 21_000;
/// More than the notices, acks and pongs of any queue.
const CONTROL_FRAMES: usize = 200;
/// Clients at one time.
const CLIENTS_MAX: usize = 12;

/// What a subscription is to be answered.
#[derive(Clone, Copy, Debug)]
struct Promise {
    after: u64,
    head: u64,
    is_recovered: Option<bool>,
}

/// What one operation is to be answered.
#[derive(Debug, Default)]
struct Promised {
    topics: Vec<(&'static str, Promise)>,
    pattern: Option<&'static str>,
    /// Of every topic that the pattern matches, whether it exists or not.
    matched: Vec<(&'static str, Promise)>,
}

struct Client {
    id: ConnectionId,
    topics: BTreeMap<String, View>,
    /// What it is subscribed to at its shard's place in the FIFO.
    names: BTreeSet<&'static str>,
    patterns: BTreeSet<&'static str>,
    closed: bool,
    unread: Vec<u8>,
}

impl Client {
    /// True exactly when it has asked for that topic, whatever way.
    fn wants(&self, topic: &str) -> bool {
        self.names.contains(topic) || self.patterns.iter().any(|pattern| is_match(pattern, topic))
    }
}

/// See the module.
pub(super) struct Oracle {
    scene: Scene,
    limits: Limits,
    published: BTreeMap<&'static str, Published>,
    /// What the subscriptions under way will be answered, in the order of their shard's FIFO.
    promises: [VecDeque<Promised>; 2],
    /// The newest message of each topic that each shard has taken.
    taken: [BTreeMap<String, u64>; 2],
    clients: Vec<Client>,
    accounts: Accounts,
    totals: Totals,
}

impl Oracle {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let limits = Limits {
            queue_frames: rng.usize(4..40),
            queue_bytes: rng.usize(2_000..60_000),
            queues_bytes_per_shard: rng.usize(10_000..200_000),
            ..Limits::default()
        };
        let rules = TOPICS.map(|topic| Rule {
            pattern: topic.name.into(),
            class: Some(topic.class),
            history_messages: Some(topic.kept as usize),
            snapshot: Some(topic.snapshot),
            ..Rule::default()
        });
        let scene = Scene::new(2, limits.clone(), rules.into());
        let published = TOPICS.map(|topic| (topic.name, Published::default())).into();
        Self {
            scene,
            limits,
            published,
            promises: Default::default(),
            taken: Default::default(),
            clients: Vec::new(),
            accounts: Accounts::default(),
            totals: Totals::default(),
        }
    }

    /// One step, and then every promise.
    pub(super) fn step(&mut self, operation: &Operation) -> Verdict {
        self.act(operation)?;
        self.check()
    }

    /// Everything under way arrives, as far as the sockets take it.
    fn settle(&mut self) -> Verdict {
        while !self.scene.is_quiet() {
            for shard in 0..2 {
                self.scene.tell(shard);
                self.take(shard, usize::MAX)?;
                self.scene.sweep(shard, usize::MAX);
            }
        }
        Ok(())
    }

    /// Lets everything come to rest: nothing may be left, and whoever is still open must have got all there was.
    pub(super) fn finish(mut self) -> Result<Totals, String> {
        self.settle()?;
        for place in &mut self.scene.places {
            place.sockets.room.clear();
        }
        // Who waits for a snapshot waits a second; every round may bring one of a client's topics up to date.
        for _ in 0..2 * TOPICS.len() {
            for at in 0..self.clients.len() {
                let id = self.clients[at].id;
                let place = &mut self.scene.places[usize::from(id.shard)];
                if place.shard.is_here(id) {
                    let is_done = place.shard.drain(id.slot, self.scene.now, &mut place.sockets);
                    ensure(is_done, || format!("something is left for {id}"))?;
                }
            }
            self.wait(Duration::from_secs(1));
            self.settle()?;
        }
        let open: Vec<_> = self.clients.iter().map(|client| client.id).collect();
        self.check()?;
        for client in &self.clients {
            let place = &self.scene.places[usize::from(client.id.shard)];
            if client.closed || !open.contains(&client.id) || !place.shard.is_here(client.id) {
                continue;
            }
            for (topic, view) in &client.topics {
                let id = client.id;
                let head = self.published[topic.as_str()].head();
                let may_stop = view.spans.back().is_some_and(|span| span.may_stop);
                let rest = view.next().filter(|next| *next <= head && !may_stop);
                ensure(rest.is_none(), || format!("{id} misses {topic} from {rest:?} on: {view:?}"))?;
                ensure(view.untold == 0, || format!("{id} was not told of {} of {topic}", view.untold))?;
            }
        }
        for place in &self.scene.places {
            let counters = place.shard.counters();
            let left = (counters.pending, counters.queued_frames, counters.queued_bytes, counters.blocked);
            ensure(left == (0, 0, 0, 0), || format!("left behind: {left:?}"))?;
            let (slow, unsynced) = (Reason::SlowConsumer as usize, Reason::CannotResume as usize);
            let counts = [
                ("delivered", counters.account.delivered),
                ("conflated", counters.account.conflated),
                ("skipped", counters.account.skipped),
                ("abandoned", counters.account.abandoned),
                ("slow", counters.dropped[slow]),
                ("unsynced", counters.dropped[unsynced]),
                ("replayed", counters.replayed),
                ("snapshots", counters.snapshots),
            ];
            counts.into_iter().for_each(|(kind, count)| self.totals.count(kind, count));
        }
        Ok(self.totals)
    }

    fn act(&mut self, operation: &Operation) -> Verdict {
        let now = self.scene.now;
        match *operation {
            Operation::Connect { room, combined } => {
                // Everyone is looked at after every step.
                if self.clients.len() >= CLIENTS_MAX {
                    return Ok(());
                }
                let shard = (self.clients.len() % 2) as u16;
                let id = self.scene.connect(shard, room, combined);
                self.clients.push(Client {
                    id,
                    topics: BTreeMap::new(),
                    names: BTreeSet::new(),
                    patterns: BTreeSet::new(),
                    closed: false,
                    unread: Vec::new(),
                });
            }
            Operation::Publish { topic, size, image, numbering } => {
                self.publish(TOPICS[topic % TOPICS.len()].name, size, image, numbering);
            }
            Operation::Take { shard, count } => self.take(shard, count)?,
            Operation::Sweep { shard, sends } => self.scene.sweep(shard, sends),
            Operation::Tell { shard } => self.scene.tell(shard),
            Operation::Wait { millis } => self.wait(Duration::from_millis(millis)),
            Operation::Subscribe { who, topic, back } => {
                let Some(connection) = self.pick(who) else { return Ok(()) };
                let topic = &TOPICS[topic % TOPICS.len()];
                let view = self.clients.iter().find(|client| client.id == connection);
                let view = view.and_then(|client| client.topics.get(topic.name));
                // A topic that never began has had no place.
                let back = back.filter(|_| self.published[topic.name].head() > 0);
                let since = back.and_then(|back| {
                    let last = match view.filter(|view| !view.spans.is_empty()) {
                        None => self.published[topic.name].head(),
                        // Only who has read everything knows where it stands.
                        Some(view) => Some(view.last).filter(|_| view.next().is_none())?,
                    };
                    Some(last.saturating_sub(back))
                });
                let topics = vec![(topic.name, self.promise(topic, since))];
                let promised = Promised { topics, ..Promised::default() };
                self.promises[usize::from(connection.shard)].push_back(promised);
                let tag = Tag::Native(OpId::Null, Vec::new());
                self.scene.places[usize::from(connection.shard)].shard.owe_answer(connection.slot);
                let since = since.map(|last| self.published[topic.name].place(last));
                let wishes = vec![Wish { subject: subject(topic.name), since }];
                self.scene.request(Request::Subscribe { connection, tag, wishes });
            }
            Operation::Unsubscribe { who, topic } => {
                let Some(connection) = self.pick(who) else { return Ok(()) };
                let subjects = vec![subject(TOPICS[topic % TOPICS.len()].name)];
                self.scene.request(Request::Unsubscribe { connection, tag: Tag::Silent, subjects });
            }
            Operation::SubscribePattern { who, pattern, topic } => {
                let Some(connection) = self.pick(who) else { return Ok(()) };
                let pattern = PATTERNS[pattern % PATTERNS.len()];
                let topic = topic.map(|topic| &TOPICS[topic % TOPICS.len()]);
                let matched = TOPICS.iter().filter(|topic| is_match(pattern, topic.name));
                let promised = |topic: &'static Topic| (topic.name, self.promise(topic, None));
                let promised = Promised {
                    topics: topic.into_iter().map(promised).collect(),
                    pattern: Some(pattern),
                    matched: matched.map(promised).collect(),
                };
                self.promises[usize::from(connection.shard)].push_back(promised);
                let wish = |name| Wish { subject: subject(name), since: None };
                let wishes = [pattern].into_iter().chain(topic.map(|topic| topic.name)).map(wish).collect();
                let tag = Tag::Native(OpId::Null, Vec::new());
                self.scene.places[usize::from(connection.shard)].shard.owe_answer(connection.slot);
                self.scene.request(Request::Subscribe { connection, tag, wishes });
            }
            Operation::UnsubscribePattern { who, pattern } => {
                let Some(connection) = self.pick(who) else { return Ok(()) };
                let subjects = vec![subject(PATTERNS[pattern % PATTERNS.len()])];
                self.scene.request(Request::Unsubscribe { connection, tag: Tag::Silent, subjects });
            }
            Operation::Room { who, .. }
            | Operation::Die { who }
            | Operation::Pong { who }
            | Operation::Answer { who }
            | Operation::Combine { who, .. }
            | Operation::Close { who }
            | Operation::End { who } => {
                let Some(id) = self.pick(who) else { return Ok(()) };
                let place = &mut self.scene.places[usize::from(id.shard)];
                let (slot, shard, sockets) = (id.slot, &mut place.shard, &mut place.sockets);
                match *operation {
                    Operation::Room { bytes, .. } => {
                        let room = sockets.room.entry(slot).or_default();
                        *room = room.saturating_add(bytes);
                        shard.drain(slot, now, sockets);
                    }
                    Operation::Die { .. } => {
                        sockets.dead.insert(slot);
                        shard.drain(slot, now, sockets);
                    }
                    Operation::Pong { .. } => {
                        shard.control(slot, frame::frame(frame::PONG, b"?"), Control::Pong, now, sockets);
                    }
                    Operation::Answer { .. } => {
                        shard.owe_answer(slot);
                        shard.answer(slot, Some(r#"{"event":"pong"}"#.into()), now, sockets);
                    }
                    Operation::Combine { combined, .. } => shard.set_combined(slot, combined, now, sockets),
                    Operation::Close { .. } => {
                        let reason = Reason::Operator;
                        shard.close(slot, reason, reason.code(), "closed", now, sockets);
                    }
                    _ => shard.end(slot, Reason::Client, false),
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self, topic: &'static str, size: usize, image: bool, numbering: Numbering) {
        let published = self.published.entry(topic).or_default();
        let (number, newest) =
            (published.head() + 1, (published.head() > 0).then(|| published.place(published.head())));
        let mut options = PublishOptions { image, ..PublishOptions::default() };
        match numbering {
            Numbering::Next => {}
            Numbering::LeavesOut(count) => {
                options.seq = Some(newest.map_or(0, |place| place.seq) + count + 1)
            }
            // Later than any that the server gives.
            Numbering::Anew => options.epoch = Some(Epoch(1_000 + number)),
        }
        let payload = reading::payload(topic, number, size).into();
        let (left_out, epoch) = (options.seq, options.epoch);
        let request =
            Request::Publish { topic: name(topic), payload, options: options.boxed(), receipt: None };
        self.scene.request(request);
        let seq = left_out.unwrap_or(newest.filter(|_| epoch.is_none()).map_or(0, |place| place.seq) + 1);
        let place = Since { epoch: self.scene.epoch_of(topic), seq };
        self.published.entry(topic).or_default().push(place, size, image);
    }

    /// Time passes; clients answer pings.
    fn wait(&mut self, time: Duration) {
        self.scene.wait(time);
        for client in &self.clients {
            let place = &mut self.scene.places[usize::from(client.id.shard)];
            if place.shard.is_here(client.id) {
                place.shard.heard(client.id.slot, 1, self.scene.now);
            }
        }
    }

    /// What a subscription that is asked for now has to be answered.
    fn promise(&self, topic: &Topic, since: Option<u64>) -> Promise {
        let published = &self.published[topic.name];
        let (head, first) = (published.head(), published.first_of_newest());
        let oldest = first.max(head - head.min(topic.kept) + 1);
        let snapshot = match topic.snapshot {
            Snapshot::None => None,
            Snapshot::Latest => (head > 0).then_some(head),
            Snapshot::Image => published.image_from(oldest),
        };
        let is_of_newest = |last| published.place(last).epoch == published.place(head).epoch;
        let is_recovered = since.map(|last| is_of_newest(last) && last + 1 >= oldest);
        let after = match (since, is_recovered, snapshot) {
            (Some(since), Some(true), _) => since,
            (_, _, Some(snapshot)) => snapshot - 1,
            _ => head,
        };
        Promise { after, head, is_recovered }
    }

    /// One of those who are here.
    fn pick(&self, who: usize) -> Option<ConnectionId> {
        let here =
            |client: &&Client| self.scene.places[usize::from(client.id.shard)].shard.is_here(client.id);
        let here: Vec<_> = self.clients.iter().filter(here).map(|client| client.id).collect();
        here.get(who % here.len().max(1)).copied()
    }

    /// A shard takes from its inbox; what that makes of the clients' expectations is noted before it acts.
    fn take(&mut self, shard: usize, count: usize) -> Verdict {
        for _ in 0..count {
            let Some(delivery) = self.scene.next_delivery(shard) else { break };
            match &delivery {
                Delivery::Message(message) => {
                    let number = reading::number(message.payload.bytes());
                    let taken = self.taken[shard].entry(message.name.to_string()).or_default();
                    let is_next = number > *taken
                        && self.published[message.name.as_str()].place(number).seq == message.seq;
                    ensure(is_next, || format!("{message:?} after {taken}"))?;
                    *taken = number;
                    self.owe(shard, message, number)?;
                }
                Delivery::Subscribed(answer) => self.expect(answer)?,
                Delivery::Unsubscribed(answer) => self.expect_no_more(shard, answer),
                _ => {}
            }
            self.scene.deliver(shard, delivery);
        }
        Ok(())
    }

    /// Who of a shard's clients is live on a topic is routed the message.
    fn owe(&mut self, shard: usize, message: &Message, number: u64) -> Verdict {
        let core = &self.scene.places[shard].shard;
        let name = message.name.as_str();
        let mut routed = 0;
        for client in self.clients.iter_mut().filter(|client| usize::from(client.id.shard) == shard) {
            let slot = client.id.slot;
            let is_open = core.is_here(client.id) && !core.is_closing(slot);
            let view = client.topics.get_mut(name).filter(|view| is_open && view.is_live());
            if let Some(view) = view.filter(|_| !core.is_guest(slot, message.topic)) {
                view.owed.insert(number);
                routed += 1;
            }
        }
        if routed == 0 {
            Ok(())
        } else {
            self.accounts.routed(shard, name, (message.topic, kind(name).class), routed)
        }
    }

    fn client(&mut self, id: ConnectionId) -> Option<&mut Client> {
        let place = &self.scene.places[usize::from(id.shard)];
        let is_open = place.shard.is_here(id) && !place.shard.is_closing(id.slot);
        self.clients.iter_mut().find(|client| is_open && client.id == id)
    }

    fn expect(&mut self, answer: &Subscribed) -> Verdict {
        let promised = self.promises[usize::from(answer.connection.shard)].pop_front();
        let promised = promised.filter(|promised| promised.topics.len() == answer.outcomes.len());
        let Some(promised) = promised else {
            return Err(format!("an answer that nobody asked for: {answer:?}"));
        };
        for ((topic, promise), outcome) in promised.topics.iter().zip(&answer.outcomes) {
            let grant = outcome.granted.map_err(|refusal| format!("refused: {refusal}"))?;
            let is_recovered = grant.recovered.map(|recovery| recovery == Recovery::Complete);
            let head = promise.head;
            let seq = if head == 0 { 0 } else { self.published[topic].place(head).seq };
            let is_kept = grant.seq == seq && is_recovered == promise.is_recovered;
            ensure(is_kept, || format!("promised {promise:?}, granted {grant:?}"))?;
        }
        let Some(client) = self.client(answer.connection) else { return Ok(()) };
        client.names.extend(promised.topics.iter().map(|(topic, _)| topic));
        client.patterns.extend(promised.pattern);
        let mut seen = Totals::default();
        let topics = promised.topics.iter().map(|one| (one, false));
        for ((topic, promise), is_match) in topics.chain(promised.matched.iter().map(|one| (one, true))) {
            let Promise { after, head, is_recovered } = *promise;
            let view = client.topics.entry((*topic).to_owned()).or_default();
            view.heads.push(head);
            if !view.is_live() {
                seen.count("rejoined", u64::from(!view.spans.is_empty()));
                seen.count("awaited by a pattern", u64::from(is_match && head == 0));
                seen.count("matched by a pattern", u64::from(is_match && head > 0));
                let (ack, is_fresh) = (view.heads.len(), after < head);
                view.begin(Span { after, head, ack, to: None, is_fresh, may_stop: false });
            }
            seen.count("resumed", u64::from(is_recovered == Some(true) && after < head));
            seen.count("evicted", u64::from(is_recovered == Some(false)));
        }
        self.totals += seen;
        Ok(())
    }

    fn expect_no_more(&mut self, shard: usize, answer: &Unsubscribed) {
        let id = answer.connection;
        let is_meant = |topic: &str| {
            answer.topics.iter().any(|(name, _)| name.as_str() == topic)
                || answer.patterns.iter().any(|pattern| is_match(&pattern.to_string(), topic))
        };
        let is_guest = |scene: &Scene, topic: &str| {
            let topic = scene.sequencer.id_of(topic);
            topic.is_some_and(|topic| scene.places[shard].shard.is_guest(id.slot, topic))
        };
        let guest_of: Vec<_> = TOPICS.iter().map(|topic| is_guest(&self.scene, topic.name)).collect();
        let taken = self.taken[shard].clone();
        let mut kept = 0;
        let Some(client) = self.client(id) else { return };
        client.names.retain(|topic| !answer.topics.iter().any(|(name, _)| name.as_str() == *topic));
        client.patterns.retain(|one| !answer.patterns.iter().any(|pattern| pattern.to_string() == **one));
        for (topic, is_guest) in TOPICS.iter().zip(guest_of).filter(|(topic, _)| is_meant(topic.name)) {
            let is_wanted = client.wants(topic.name);
            let view = client.topics.entry(topic.name.to_owned()).or_default();
            let Some(span) = view.spans.back_mut().filter(|span| span.to.is_none()) else { continue };
            if is_wanted {
                kept += 1;
                continue;
            }
            let taken = taken.get(topic.name).copied().unwrap_or_default();
            span.to = Some(taken.max(span.after).max(span.head));
            span.may_stop = is_guest;
        }
        self.totals.count("kept", kept);
    }

    fn check(&mut self) -> Verdict {
        self.read()?;
        let limits = &self.limits;
        for (at, place) in self.scene.places.iter().enumerate() {
            self.accounts.check(at, &place.shard, self.scene.now)?;
            let counters = place.shard.counters();
            if let Some(says) = imbalance(&counters) {
                return Err(says);
            }
            let mut connections = 0;
            for report in place.shard.connections(self.scene.now) {
                connections += 1;
                // The frame that has begun, and the newest of each topic of which only that counts.
                let frames = 1 + TOPICS.iter().filter(|topic| topic.class == Class::State).count();
                let bytes_max =
                    limits.queue_bytes + frames * FRAME_BYTES + CONTROL_FRAMES * (ENTRY_BYTES + 100);
                let is_bounded = report.queued_frames <= limits.queue_frames + CONTROL_FRAMES
                    && report.queued_bytes <= bytes_max;
                ensure(is_bounded, || format!("over its bounds: {report:?}"))?;
            }
            let bytes_max = limits.queues_bytes_per_shard + connections * FRAME_BYTES;
            ensure(counters.queued_bytes <= bytes_max as u64, || format!("over its bytes: {counters:?}"))?;
        }
        Ok(())
    }

    /// Every client reads what its socket has taken; those who are gone have read for the last time.
    fn read(&mut self) -> Verdict {
        for client in &mut self.clients {
            let place = &mut self.scene.places[usize::from(client.id.shard)];
            if let Some(taken) = place.sockets.taken.get_mut(&client.id.slot) {
                client.unread.append(taken);
            }
            while let Some(read) = reading::next(&mut client.unread) {
                let says = |says: String| format!("{}: {says}", client.id);
                ensure(!client.closed, || says(format!("after its close frame came {read:?}")))?;
                match read {
                    Read::Pong => {}
                    Read::Close(code, reason) => {
                        client.closed = true;
                        named_its_last(&client.topics, &self.published, code, &reason).map_err(says)?;
                    }
                    Read::Event(event) => {
                        let of = event["topic"].as_str().map(|topic| kind(topic).class);
                        match (event["event"].as_str(), event["reason"].as_str()) {
                            (Some("epoch"), _) => self.totals.count("epochs", 1),
                            (Some("gap"), Some("publisher")) => {
                                self.totals.count("left out by the publisher", 1)
                            }
                            (Some("gap"), Some("evicted")) => self.totals.count("evicted", 1),
                            (Some("gap"), _) if of == Some(Class::Delta) => self.totals.count("restarted", 1),
                            _ => {}
                        }
                        told(&mut client.topics, &event, &self.published).map_err(says)?;
                    }
                    Read::Message { topic, number, pad } => {
                        let published = &self.published[topic.as_str()];
                        let is_whole =
                            published.pad(number) == Some(pad.len()) && pad.bytes().all(|byte| byte == b'x');
                        ensure(is_whole, || says(format!("{topic} {number} with other bytes")))?;
                        let view = client.topics.entry(topic.clone()).or_default();
                        if view.owed.remove(&number) {
                            self.accounts.delivered(client.id.shard.into(), &topic).map_err(says)?;
                        }
                        came(view, &topic, number, published).map_err(says)?;
                    }
                }
            }
        }
        let places = &self.scene.places;
        self.clients.retain(|client| places[usize::from(client.id.shard)].shard.is_here(client.id));
        Ok(())
    }
}

fn subject(text: &str) -> Subject {
    Subject::try_from(text).expect("a topic or a pattern")
}

fn name(text: &str) -> TopicName {
    TopicName::try_from(text).expect("a topic name")
}
