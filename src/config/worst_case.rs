//! What the bounds add up to: the memory Stentor can need when every queue is full.

use super::Settings;
use crate::limits::{
    BATCH_BYTES_MAX, ENTRY_BYTES, GATHER_BYTES_MAX, LOG_BYTES_MAX, LOG_FRAMES_MAX, LOG_LINES_MAX, READ_BYTES,
    REGISTER_BYTES_MAX, REPLAY_KEPT_BYTES,
};
use crate::message::Encoding;

/// Bytes a connection costs while nothing happens on it, all told: 3.0 KB of resident memory were measured.
const IDLE_CONNECTION_BYTES: u64 = 3_072;
/// Bytes of a line of numbers listed; one message may overshoot their bound by one a connection.
const LINE_BYTES: u64 = 64 + 4;
/// Bytes a topic costs the sequencer, its name included, without the twelve a shard.
const TOPIC_BYTES: u64 = 600;
/// Bytes of what a shard counts of a topic: the table doubles as it grows.
const LEDGER_BYTES: u64 = 80;
/// Bytes a subscription costs a shard: its place in the topic's list and in the connection's, with slack.
const SUBSCRIPTION_BYTES: u64 = 16;

/// Each bound's share, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorstCase {
    /// The sequencer's queue and its topics.
    pub sequencer: u64,
    /// Histories of all topics.
    pub histories: u64,
    /// Inboxes, logs, lists and accounts of all shards.
    pub shards: u64,
    /// Outbound queues of all shards.
    pub queues: u64,
    /// Connections themselves, each with as many topics as it may have.
    pub connections: u64,
    /// Messages that connections are in the middle of sending, and what the operator's side holds.
    pub receiving: u64,
}

impl WorstCase {
    /// For these settings and so many connections.
    pub fn of(settings: &Settings, connections: usize) -> Self {
        let limits = &settings.limits;
        let shards = settings.shard_count() as u64;
        let connections = connections as u64;
        // One message may overshoot a log, and a queue takes one whatever its size; in an envelope control
        // characters take six bytes each.
        let message = limits.message_bytes as u64 * 6;
        // A lane keeps the memory it has grown to, up to twice the log's bound.
        let lanes = Encoding::COUNT as u64 * (2 * LOG_BYTES_MAX as u64 + message);
        let log = lanes + LOG_FRAMES_MAX as u64 * 64 + LOG_LINES_MAX as u64 * LINE_BYTES;
        let inbox = limits.inbox_bytes as u64 + message + limits.inbox_frames as u64 * 128;
        let queue = limits.queues_bytes_per_shard as u64 + message;
        let of_all_queues = connections * (limits.queue_bytes as u64 + message + ENTRY_BYTES as u64);
        let topics = (limits.topics_per_connection + limits.matches_per_connection) as u64;
        let subscriptions = topics * SUBSCRIPTION_BYTES;
        let ledgers = limits.topics as u64 * LEDGER_BYTES;
        let buffers = (GATHER_BYTES_MAX + READ_BYTES + REPLAY_KEPT_BYTES) as u64;
        Self {
            sequencer: limits.sequencer_bytes as u64
                + message
                + limits.sequencer_frames as u64 * 192
                + limits.topics as u64 * (TOPIC_BYTES + 12 * shards),
            histories: limits.histories_bytes as u64 + message,
            shards: shards * (log + inbox + ledgers + buffers),
            queues: of_all_queues.min(shards * queue),
            connections: connections * (IDLE_CONNECTION_BYTES + LINE_BYTES + subscriptions),
            receiving: connections * limits.message_bytes as u64
                + (BATCH_BYTES_MAX + REGISTER_BYTES_MAX) as u64,
        }
    }

    /// All of it, bytes.
    pub fn total(&self) -> u64 {
        self.sequencer + self.histories + self.shards + self.queues + self.connections + self.receiving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_of_all_connections_are_bound_by_the_shards() {
        let settings = Settings { shards: 2, ..Settings::default() };
        let few = WorstCase::of(&settings, 1);
        let many = WorstCase::of(&settings, 1_000_000);
        assert!(few.queues < many.queues);
        assert_eq!(many.queues, 2 * (256 << 20) + 2 * 6 * (1 << 20));
        assert!(many.total() > few.total());
    }
}
