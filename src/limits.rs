//! Every bound in one place: the fixed ones here as constants with the relations between them, those with a
//! setting in [`Limits`] with their defaults. `stentor check` prints what they add up to.

use serde::{Deserialize, Serialize};

/// Bytes of a topic's name.
pub const TOPIC_BYTES_MAX: usize = 200;

/// Frames a shard's log holds before its inbox waits: with 10,000 sparse topics a window of 64 puts 1.1 frames
/// into a write, 8,192 put 31.
pub const LOG_FRAMES_MAX: usize = 8_192;
/// Bytes of a shard's log over all encodings and the frames held by reference. One message may overshoot.
pub const LOG_BYTES_MAX: usize = 4 << 20;
/// Lines of 64 bytes, thirty numbers of frames each, that all slots of a shard list together before its inbox waits. One
/// message may overshoot by one a slot.
pub const LOG_LINES_MAX: usize = 1 << 20;

/// A frame over this size is never copied: it goes by reference and splits a run.
pub const FRAME_COPIED_BYTES_MAX: usize = 16 << 10;
/// What one gathering write copies together at most; a frame that is larger by itself goes alone.
pub const GATHER_BYTES_MAX: usize = 256 << 10;
/// Lines of 64 bytes that a shard keeps the memory of when nothing is listed.
pub const LINES_KEPT: usize = 128 << 10;
/// What an entry of an outbound queue is charged beside its bytes.
pub const ENTRY_BYTES: usize = 48;
/// Answers a connection may be owed before it is no longer read.
pub const ANSWERS_OWED_MAX: u16 = 64;

/// Sends between two yields of a sweep: a ping during a broadcast to 10,000 is then answered within 0.4 ms
/// instead of 90, at 0 to 4 % CPU.
/// Through io_uring, where they are one system call, with 64 it took 1.8 ms instead of 0.7.
pub const SENDS_PER_YIELD: usize = 32;
/// Seconds after which a closing connection is reset whatever it still owes.
pub const CLOSE_LINGER_S: u64 = 5;
/// Sockets of ended connections that a shard closes a second: each is 10 us of the kernel's time, and when
/// thousands end at once those who are served must not wait for all of them.
pub const CLOSES_PER_S: u32 = 8_000;
/// Unsent bytes the kernel holds for one socket before it says full: what waits longer waits where it is counted.
pub const NOTSENT_LOWAT_BYTES: u32 = 128 << 10;
/// Connections the shards set memory aside for, all together: 150 bytes each, of which only what is touched counts.
pub const SLOTS_RESERVED_MAX: usize = 1 << 20;
/// Descriptors kept back from the connection limit: listeners, pollers, refusals being answered, files.
pub const DESCRIPTORS_RESERVED: u64 = 512;
/// Connections over the limit that are being told so at one time; more are closed unanswered.
pub const REFUSALS_MAX: usize = 256;
/// Bytes of an NDJSON body on `POST /publish`.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// Commands (adoptions, questions of the operator) waiting for a shard.
pub const COMMANDS_MAX: usize = 16_384;
/// Comings and goings of connections that wait to be told in the log and on `$sys.connections`.
pub const REGISTER_ENTRIES_MAX: usize = 16_384;
/// The same in bytes, for each entry's own and its path's and identity's.
pub const REGISTER_BYTES_MAX: usize = 8 << 20;
/// Bytes a connection's read may bring in at once; the buffer is the shard's, not the connection's.
pub const READ_BYTES: usize = 64 << 10;
/// Things one connection sent that are acted on between two yields: each may be a send.
pub const ACTIONS_PER_YIELD: usize = 32;
/// Slots the tick of a second looks at between two yields: each may be a ping, and a send.
pub const TICK_SLOTS_PER_YIELD: usize = 256;
/// Names in one operation, as a multiple of the topics a connection may have.
pub const NAMES_PER_TOPIC_LIMIT: usize = 2;
/// Topics for which a heartbeat may come once a second; with so many more it comes as many times more rarely.
pub const HEARTBEAT_TOPICS_PER_S: usize = 64;
/// What a message in a history is charged beside its payload: its place, its header, its share of the ring.
pub const HISTORY_ENTRY_BYTES: usize = 128;
/// Messages of a history that one answer carries to a subscriber; the next are asked for when these have gone.
pub const REPLAY_MESSAGES_MAX: usize = 256;
/// The same in bytes of payload, and a quarter of a connection's queue at most. One message may overshoot.
pub const REPLAY_BYTES_MAX: usize = 64 << 10;
/// Bytes of replayed messages a shard keeps encoded: those who come back come back together.
pub const REPLAY_KEPT_BYTES: usize = 4 << 20;
/// Seconds between two snapshots for a connection that keeps falling behind.
pub const RESYNC_EVERY_S: u64 = 1;
/// Topics an idle scan looks at per tick.
pub const RETIRE_SCAN: usize = 4_096;

/// The bounds that have a setting, `[limits]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections in all. 0: what the descriptor limit allows.
    pub connections: usize,
    /// Connections from one address; leases of datagrams are counted by shard, beside them. 0: no limit (proxies share
    /// addresses).
    pub connections_per_address: usize,
    /// Topics in all; a topic costs about 600 bytes and 8 a shard.
    pub topics: usize,
    /// Topics and patterns one connection may subscribe to.
    pub topics_per_connection: usize,
    /// Topics that the patterns of one connection may match, 16 bytes each beside those of the connection's own
    /// subscriptions. A pattern that exceeds it is refused; a topic that is born over it closes the connection (4503).
    pub matches_per_connection: usize,
    /// Seconds after which a topic without subscribers and messages retires (its epoch ends). Its history must
    /// have aged out.
    pub topic_idle_s: u64,
    /// Messages a topic's history keeps, where its rule says nothing else. 0: none.
    pub history_messages: usize,
    /// The same in bytes, each message charged 128 beside its payload. 0: none.
    pub history_bytes: usize,
    /// Seconds a message stays in a history. 0: until others need its place; such topics never retire.
    pub history_age_s: u64,
    /// Bytes of all histories together; past it topics lose their oldest message in turn.
    pub histories_bytes: usize,
    /// Bytes of one published message.
    pub message_bytes: usize,
    /// Bytes of one operation other than publish; the default holds 1,024 topics of 200 bytes.
    pub operation_bytes: usize,
    /// Operations a second on one connection, publishing aside; past it the connection closes with 4005.
    pub operations_per_s: u32,
    /// Operations that may come at once.
    pub operations_burst: u32,
    /// Seconds a handshake may take.
    pub handshake_s: u64,
    /// Handshakes each door thread begins a second while something is being delivered; who comes faster is
    /// accepted and waits. More lets a storm of clients in sooner, less disturbs those who are served less.
    /// 0: no limit.
    pub handshakes_per_s: u32,
    /// Seconds of silence before the server pings.
    pub ping_s: u32,
    /// Seconds without any byte before the server closes with 4003.
    pub idle_s: u32,
    /// Seconds a message may take from its first byte to its last, while the server reads; past it the connection
    /// closes with 4003.
    pub read_s: u64,
    /// Seconds a subscription by datagram lasts without being renewed.
    pub lease_s: u32,
    /// Bytes of a datagram with a message; one that does not fit is counted and not sent. More than the path takes
    /// is sent in fragments, and lost with any of them.
    pub datagram_bytes: usize,
    /// Requests waiting for the sequencer; past it publishers see `Full`, 503, or a pause.
    pub sequencer_frames: usize,
    /// The same in bytes.
    pub sequencer_bytes: usize,
    /// Messages waiting for one shard; past it the sequencer waits.
    pub inbox_frames: usize,
    /// The same in bytes.
    pub inbox_bytes: usize,
    /// Frames one connection may hold unsent before its policy runs.
    pub queue_frames: usize,
    /// Bytes one connection may hold unsent before its policy runs. Smaller drops sooner, larger hides slow
    /// readers longer.
    pub queue_bytes: usize,
    /// Seconds a connection behind a full socket may go without taking a byte. One is enough: what may wait for who
    /// takes few is bounded by the queue.
    pub queue_stall_s: u64,
    /// Bytes all queues of one shard hold together; past it the connection furthest behind goes first.
    pub queues_bytes_per_shard: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_address: 0,
            topics: 1_000_000,
            topics_per_connection: 1_024,
            matches_per_connection: 16_384,
            topic_idle_s: 600,
            history_messages: 1_000,
            history_bytes: 256 << 10,
            history_age_s: 3_600,
            histories_bytes: 256 << 20,
            message_bytes: 1 << 20,
            operation_bytes: 256 << 10,
            operations_per_s: 100,
            operations_burst: 200,
            handshake_s: 10,
            handshakes_per_s: 4_000,
            ping_s: 20,
            idle_s: 60,
            read_s: 30,
            lease_s: 30,
            datagram_bytes: 1_472,
            sequencer_frames: 16_384,
            sequencer_bytes: 64 << 20,
            inbox_frames: 8_192,
            inbox_bytes: 32 << 20,
            queue_frames: QUEUE_FRAMES,
            queue_bytes: QUEUE_BYTES,
            queue_stall_s: 10,
            queues_bytes_per_shard: 256 << 20,
        }
    }
}

const QUEUE_FRAMES: usize = 16_384;
const QUEUE_BYTES: usize = 8 << 20;

// A healthy connection may find its socket full for the length of one sweep: what then moves into its queue is
// at most a full log, and another may follow before it is offered the socket again.
const _: () = assert!(QUEUE_FRAMES >= 2 * LOG_FRAMES_MAX && QUEUE_BYTES >= 2 * LOG_BYTES_MAX);
// A frame that is copied must fit a gathering write, or the write would never be made.
const _: () = assert!(FRAME_COPIED_BYTES_MAX <= GATHER_BYTES_MAX);
// Debts list the low halves of frame numbers, which must tell one frame of a log from another.
const _: () = assert!(LOG_FRAMES_MAX < u16::MAX as usize);
