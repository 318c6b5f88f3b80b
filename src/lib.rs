//! One message in, every subscriber's socket out.
//!
//! Stentor is a broadcaster for market-data-style fan-out: connections are partitioned across per-core shards,
//! each owning a slab of writers; a broadcast loads the arc-swap snapshot of shard handles and posts one `Arc`'d
//! message to each shard that wants it; a shard's sweep pays its writers, and one behind a full socket gets a
//! task that drains its bounded queue until it has caught up or is dropped as a slow consumer.
//!
//! ```text
//!   publishers (WebSocket · HTTP · this crate)
//!        │ bounded queue: full is a value, not a wait
//!        ▼
//!    sequencer ── topics, sequences, which shard wants what
//!        │ Arc<Message> into each interested shard's inbox
//!        ▼
//!    shard 0, 1, …  one thread each: log ─► debts ─► sweep ─► sockets
//! ```
//!
//! # Embedding
//!
//! ```
//! use stentor::{Accepted, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder()
//!     .listen("127.0.0.1:0".parse()?) // port 0: any free one
//!     .admin("127.0.0.1:0".parse()?)
//!     .start()?;
//! println!("clients connect to ws://{}/ws/trade.BTCUSDT", server.websocket_address());
//!
//! let publisher = server.publisher(); // cheap to clone, one a thread
//! match publisher.publish("trade.BTCUSDT", r#"{"p":"64135.3","q":"0.075"}"#)? {
//!     Accepted::Yes => {}  // everyone subscribed now will be sent it
//!     Accepted::Full => {} // nothing was taken: again later, or never
//! }
//! server.shutdown(); // in order: notice, close 1012, what was accepted is delivered
//! # Ok(())
//! # }
//! ```
//!
//! # Code map: the hot path, in the order a message takes
//!
//! | file | what happens there |
//! |---|---|
//! | `sequencer/publisher.rs` | a publisher offers; full is a value |
//! | `mailbox/mod.rs`, `mailbox/doorbell.rs` | the bounded queue between threads, and its bells |
//! | `sequencer/run.rs` | the sequencer's thread takes it, when all before it is posted |
//! | `sequencer/core.rs` | it gets its place; each shard that wants it is posted one `Arc` |
//! | `shard/directory.rs` | through the snapshot of shard handles |
//! | `shard/shell/driver.rs` | the duty cycle of a shard's thread |
//! | `shard/core/mod.rs`, `shard/core/topics.rs` | it is routed to the slots that want it |
//! | `shard/core/log.rs`, `message/encoding.rs` | framed once per encoding in use |
//! | `shard/core/debts.rs`, `shard/core/sweep.rs` | every slot in debt is paid, one write each |
//! | `shard/shell/sockets.rs` | the write |
//!
//! Behind a full socket: `shard/queue/` (the bounded queue, and what becomes of who does not fit). Many writes in one
//! system call: `shard/shell/uring.rs` over `platform/ring.rs`. By datagram: `shard/core/datagrams.rs` over
//! `shard/shell/udp.rs`. What became of every delivery: `shard/core/ledger.rs`. What is not data: the rest of
//! `shard/core/`.
//!
//! Beside it: `door/` (accept, handshake, admission), `transport/` (bytes in, operations out), [`protocol`] (the
//! wire's words), `operator/` (HTTP), [`config`] and [`limits`] (what can be set, and every bound). The other end: [`client`].

pub mod client;
pub mod clock;
pub mod config;
mod door;
pub mod error;
#[doc(hidden)]
pub mod harness;
pub mod ids;
pub mod limits;
mod mailbox;
pub mod message;
mod operator;
mod platform;
mod ports;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod properties;
pub mod protocol;
pub mod sequencer;
mod server;
mod shard;
#[cfg(test)]
mod simulation;
mod transport;

pub use config::Settings;
pub use error::{PublishError, ReloadError, StartError};
pub use message::{Payload, PayloadKind};
pub use protocol::class::Class;
pub use protocol::options::PublishOptions;
pub use protocol::topic::{TopicError, TopicName};
pub use sequencer::publisher::{Accepted, Published, Publisher};
pub use server::{Builder, Server};

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
