//! Every bound of the generator, with its unit in its name.

use std::time::Duration;

/// The shared receive buffer of a receiver thread. One read of a backlogged connection takes at most this much, so a
/// connection that is far behind cannot hold the thread for more than about a tenth of a millisecond.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;

/// Handshakes in flight at once, over all receiver threads. Below the smallest usual listen backlog (128), so that
/// a refusal is the server's word and not an overflowing queue.
pub(crate) const HANDSHAKES_IN_FLIGHT: usize = 64;
const _: () = assert!(HANDSHAKES_IN_FLIGHT < 128, "must stay below the smallest usual listen backlog");

/// From the first SYN to the 101.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections per loopback source address: with 28,000 ephemeral ports an address, enough room is left for the ports
/// of earlier runs that still rest in TIME_WAIT.
pub(crate) const CONNECTIONS_PER_SOURCE: usize = 5_000;

/// Descriptors we need beside the subscribers: standard streams, pollers, the publisher, `/proc` files, a child's pipe.
pub(crate) const DESCRIPTORS_SPARE: u64 = 64;

/// Bytes the publisher hands to one write when several messages are due at once.
pub(crate) const PUBLISH_BATCH_BYTES: usize = 64 * 1024;

/// The largest payload we publish.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The smallest: the stamp and the JSON around it take 48 bytes.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 64;

/// How long a publisher waits for a server that takes nothing before the run fails.
pub(crate) const PUBLISH_STALL: Duration = Duration::from_secs(30);

/// How often the publisher looks at what its connection was sent (pings, a close).
pub(crate) const PUBLISHER_SERVICE: Duration = Duration::from_millis(20);

/// A publisher with a window that is full looks this often whether a message has been delivered: at 1,000 subscribers one
/// takes 4 ms.
pub(crate) const WINDOW_GLANCE: Duration = Duration::from_micros(50);
/// It gives up what has not been delivered when nothing was for this long.
pub(crate) const WINDOW_STALL: Duration = Duration::from_millis(500);
/// What `--saturate` keeps under way: twice what Stentor's log of 8,192 frames takes in at once.
pub(crate) const SATURATING_WINDOW: u64 = 16_384;
/// The most messages under way that make sense to ask for: a server's queues end before.
pub(crate) const WINDOW_MAX: u64 = 1_000_000;

/// All topics' messages are kept ready to be sent; together they may take this much.
pub(crate) const FRAMES_BYTES_MAX: usize = 1 << 30;
/// The most topics of a run.
pub(crate) const TOPICS_MAX: usize = 1_000_000;
/// The most subscriptions of a run, over all connections: each takes 64 bytes of accounts.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 50_000_000;

/// The operator port has this long to tell its counters,
pub(crate) const COUNTERS_TIMEOUT: Duration = Duration::from_secs(5);
/// and what is pending this long to be delivered or abandoned.
pub(crate) const COUNTERS_SETTLE: Duration = Duration::from_secs(2);
/// The connections of a run have this long to leave their seats to those of the next.
pub(crate) const SEATS_SETTLE: Duration = Duration::from_secs(20);

/// Every subscriber of a feed subscribes to all of its topics: as many as Stentor allows a connection.
pub(crate) const FEED_TOPICS_MAX: usize = 1_024;

/// The longest datagram there is.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_535;
/// A hello is padded with so much, since a server sends nobody more than it was sent before it has shown its cookie.
pub(crate) const HELLO_PAD_BYTES: usize = 128;
/// Of the answer to one ask, which is a datagram that passes everywhere: what the topics in it may take.
pub(crate) const DATAGRAM_ACK_BYTES_MAX: usize = 1_280;
/// What was not answered for so long was lost.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(500);
const _: () =
    assert!(ASK_AGAIN.as_millis() * 4 < HANDSHAKE_TIMEOUT.as_millis(), "one loss must not fail a run");
/// A subscriber asks for so much room for datagrams that it has not read; systems give less.
pub(crate) const RECEIVE_ASKED_BYTES: usize = 8 << 20;
/// A lease of 30 s is renewed so often,
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(10);
/// not all at once, but in so many parts.
pub(crate) const RENEW_PARTS: usize = 100;

/// Of what a server says on its own beside messages so much is kept; errors and closes are shorter.
pub(crate) const SAID_BYTES_MAX: usize = 4_096;

/// The longest head of an HTTP answer that is read.
pub(crate) const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;

/// The drain ends when everything has arrived and nothing followed for this long (a late duplicate would show here),
pub(crate) const DRAIN_QUIET: Duration = Duration::from_millis(100);
/// or after this long without any delivery,
pub(crate) const DRAIN_STALL: Duration = Duration::from_secs(3);
/// or after this long in any case.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(30);
const _: () = assert!(DRAIN_QUIET.as_millis() < DRAIN_STALL.as_millis());
const _: () = assert!(DRAIN_STALL.as_millis() < DRAIN_MAX.as_millis());

/// An operation is answered within this, or the connection counts as broken.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// A cycle of a churning connection takes three operations, and Stentor allows a connection 100 a second.
pub(crate) const CHURN_CYCLES_PER_S_MAX: f64 = 30.0;

/// A round of a soak lasts between these,
pub(crate) const SOAK_ROUND_S_MIN: f64 = 5.0;
pub(crate) const SOAK_ROUND_S_MAX: f64 = 60.0;
/// and its churning connections subscribe so often.
pub(crate) const SOAK_CHURN_CYCLES_PER_S: f64 = 2.0;

/// A client of the crowd that was refused waits this long before it tries again,
pub(crate) const CROWD_RETRY: Duration = Duration::from_millis(100);
/// and tries no more after this.
pub(crate) const CROWD_PATIENCE: Duration = Duration::from_secs(60);
/// The latencies of so many seconds after the cut are those of the storm.
pub(crate) const STORM_WINDOW_S: f64 = 5.0;

/// At the end the server is given this long to close its side first, which leaves no port of ours in TIME_WAIT.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);

/// Rest between the last handshake and the reading of the server's memory, so that what connecting left behind is freed.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// Between the start of the publisher thread and the grid's first time.
pub(crate) const PUBLISH_LEAD: Duration = Duration::from_millis(20);

/// The readings at both ends of the measured time are taken up to this long before the message that begins there.
pub(crate) const READING_EARLY_NS_MAX: u64 = 5_000_000;
const _: () = assert!(READING_EARLY_NS_MAX < PUBLISH_LEAD.as_nanos() as u64, "the first reading needs room");

/// A spawned server has this long to say where it listens,
pub(crate) const SERVER_READY: Duration = Duration::from_secs(10);
/// and this long to end after SIGTERM before it is killed.
pub(crate) const SERVER_STOP: Duration = Duration::from_secs(15);

/// Ranges of missing sequences remembered per connection, to tell a late message from a repeated one. Worst-case
/// memory: this x 8 bytes x connections; nothing on a connection that lost nothing.
pub(crate) const HOLES_KEPT: usize = 64;

/// How often a run's deliveries and memory are sampled,
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// and how many points of it are kept: as many as a chart has room for. Longer runs have coarser points.
pub(crate) const TIMELINE_POINTS_MAX: usize = 512;
const _: () = assert!(TIMELINE_POINTS_MAX.is_multiple_of(2), "when full, two points become one");

/// A receiver thread that was busy for more than this part of the measured time was the bottleneck itself.
pub(crate) const RECEIVER_BUSY_MAX: f64 = 0.95;

/// A publisher that left its grid by more than this without having been pushed back was the bottleneck itself.
pub(crate) const OWN_LAG_MAX_NS: u64 = 10_000_000;

/// Back on the grid: what lags by less than this is no longer explained by an earlier push-back.
pub(crate) const ON_GRID_NS: u64 = 1_000_000;
const _: () = assert!(ON_GRID_NS < OWN_LAG_MAX_NS);

/// Latencies are kept from 1 us to this, in microseconds, with three digits.
pub(crate) const LATENCY_US_MAX: u64 = 60_000_000;

/// The floor sends so many datagrams in one system call.
pub(crate) const FLOOR_DATAGRAMS_PER_CALL: usize = 64;
/// The floor reads this much from its publisher at once.
pub(crate) const FLOOR_READ_BYTES: usize = 64 * 1024;
/// The coalescing floor sends at least every so many bytes: a loopback socket takes ten times this without a word.
pub(crate) const FLOOR_BATCH_BYTES: usize = 256 * 1024;

/// A slow subscriber is far away, and offers the window of one (the system doubles it, for its own accounts): with that of
/// loopback, several megabytes would lie in the kernel before a server learns that nobody reads.
pub(crate) const SLOW_RECEIVE_BYTES: u32 = 16 * 1024;
/// How often the server is asked how far behind they are.
pub(crate) const BACKLOG_EVERY: Duration = Duration::from_millis(500);
/// A trickling subscriber reads this much
pub(crate) const TRICKLE_BYTES: usize = 1_024;
/// each time this has passed.
pub(crate) const TRICKLE_EVERY: Duration = Duration::from_millis(100);

/// The knee lies between two rates that differ by no more than this factor.
pub(crate) const KNEE_PRECISION: f64 = 1.1;
/// A search first raises the rate by this factor, until one fails,
pub(crate) const KNEE_GALLOP: f64 = 3.0;
/// beginning with so many deliveries a second.
pub(crate) const KNEE_FIRST_DELIVERIES_PER_S: f64 = 200_000.0;
/// A step of it is so long,
pub(crate) const KNEE_STEP_S: f64 = 1.0;
/// behind such a warm-up,
pub(crate) const KNEE_WARMUP_S: f64 = 0.2;
/// and measures at least so many messages: with fewer a single one decides what p99 is.
pub(crate) const KNEE_MESSAGES_MIN: f64 = 30.0;
/// What other guests of the machine may take meanwhile, in cores: a hundredth of the deliveries may come late.
pub(crate) const STOLEN_CORES_MAX: f64 = 0.01;
/// A step that fails while they take more says nothing and is tried again, in one search so often.
pub(crate) const KNEE_EXCUSES: u32 = 40;
/// It has clearly failed when this part of its deliveries came later than the bound, where a hundredth may,
pub(crate) const KNEE_LATE_PART: f64 = 0.1;
/// or when deliveries are this much more than the bound behind.
pub(crate) const KNEE_BEHIND_S: f64 = 0.25;
/// So often a rate that failed may turn out to hold: one hiccup of the machine at a low rate would end the search there.
pub(crate) const KNEE_CHANCES: u32 = 1;
/// A server that was left with work has this long to finish it before the next step,
pub(crate) const CALM_MAX: Duration = Duration::from_secs(5);
/// and has finished when it used less than a tenth of such a while.
pub(crate) const CALM_LOOK: Duration = Duration::from_millis(50);
/// When the first rate fails, so many halvings of it are tried.
pub(crate) const KNEE_HALVINGS: u32 = 3;
