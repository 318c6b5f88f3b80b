//! Stentor: one message in, every subscriber's socket out.
#![doc = ""]

pub mod clock;
pub mod config;
mod door;
pub mod error;
pub mod ids;
pub mod limits;
mod mailbox;
pub mod message;
mod operator;
pub mod protocol;
pub mod sequencer;
mod server;
mod shard;
mod transport;

pub use config::Settings;
pub use error::{PublishError, StartError};
pub use message::{Payload, PayloadKind};
pub use protocol::topic::{TopicError, TopicName};
pub use sequencer::publisher::{Accepted, Published, Publisher};
pub use server::{Builder, Server};
