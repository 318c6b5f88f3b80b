//! A message: what was published, its place in its topic, and (in `encoding`) the bytes that go out for it.
//!
//! A message is made once by the sequencer, is immutable, and crosses to the shards behind one `Arc`.

pub mod encoding;
pub mod frame;
mod payload;
pub mod tcp;
pub mod wire;

pub use encoding::Encoding;
pub use payload::{NotJson, NotUtf8, Payload, PayloadKind};

use crate::ids::TopicId;
use crate::protocol::topic::TopicName;

/// One published message in its place.
#[derive(Debug)]
pub struct Message {
    /// The topic's index in every table.
    pub topic: TopicId,
    /// The topic's name, for the combined envelope.
    pub name: TopicName,
    /// Its number in the topic: dense, from 1.
    pub seq: u64,
    /// When the sequencer took it, microseconds since 1970.
    pub time_us: u64,
    /// True exactly when its publisher marked it as image: by itself all that a new subscriber needs.
    pub is_image: bool,
    /// What was published.
    pub payload: Payload,
}
