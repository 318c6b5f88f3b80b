//! The server's own topics: its counters and its busiest topics once a second, and the register of visitors as it is
//! written. What nobody listens to is not made.

use super::Operator;
use super::metrics::Snapshot;
use crate::clock;
use crate::message::Payload;
use crate::protocol::system;
use crate::protocol::topic::TopicName;
use crate::sequencer::request::{Question, Request};
use crate::shard::register::{Entry, Register};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often figures are told.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the keeper rests after it has emptied the register: in a storm it is woken no more often.
const KEEPER_REST: Duration = Duration::from_millis(20);
/// Topics told of as the busiest.
const BUSIEST: usize = 100;

/// Tells figures for as long as its runtime lives.
pub(crate) async fn tell_figures(operator: Operator) {
    let mut periods = tokio::time::interval(PERIOD);
    periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        periods.tick().await;
        // An owner that does not answer in time is left out; the next figures come in a second.
        if operator.is_wanted(system::STATS).await
            && let Ok(counted) = Snapshot::take(&operator).await
        {
            operator.announce(system::STATS, stamped(counted.to_json())).await;
        }
        if operator.is_wanted(system::TOPICS).await
            && let Ok(topics) = operator.ask(|reply| Question::Busiest { limit: BUSIEST, reply }).await
        {
            operator.announce(system::TOPICS, stamped(json!({"topics": topics}))).await;
        }
    }
}

fn stamped(mut figures: Value) -> Value {
    figures["time_us"] = json!(clock::unix_micros());
    figures
}

/// Keeps the register: tells the log and who listens of everybody who came and went, until nothing more is entered.
pub(crate) async fn keep(register: Arc<Register>, operator: Operator) {
    loop {
        while let Some(entry) = register.take() {
            log(&entry);
            operator.announce(system::CONNECTIONS, json!(entry)).await;
        }
        if register.is_finished().await {
            return;
        }
        tokio::time::sleep(KEEPER_REST).await;
    }
}

fn log(entry: &Entry) {
    match entry {
        Entry::Connected(who) => {
            tracing::debug!(connection = %who.id, peer = %who.address, client = who.client, path = %who.path, "connected");
        }
        Entry::Disconnected(visit) => {
            let who = &visit.visitor;
            tracing::debug!(
                connection = %who.id,
                peer = %who.address,
                client = who.client,
                path = %who.path,
                reason = visit.reason,
                duration_ms = visit.duration_ms,
                received_bytes = visit.received_bytes,
                delivered = visit.delivered,
                lost = visit.lost,
                "disconnected"
            );
        }
    }
}

impl Operator {
    async fn is_wanted(&self, topic: &'static str) -> bool {
        self.ask(|reply| Question::IsWanted { topic, reply }).await.unwrap_or_default()
    }

    /// Says something of the server, to who listens; waits for room, and says it to nobody once the sequencer has ended.
    async fn announce(&self, topic: &str, what: Value) {
        let Ok(topic) = TopicName::try_from(topic) else { return };
        let payload = Payload::text(what.to_string());
        let _ = self.publisher.send(Request::Announce { topic, payload }).await;
    }
}
