//! Names for the things threads talk about: shards, slots, topics, connections.

use std::fmt;
use std::str::FromStr;

/// Index of a shard in the directory.
pub type ShardId = u16;

/// Index of a writer in its shard's slab. Reused; [`ConnectionId`] carries the generation that tells uses apart.
pub type Slot = u32;

/// Index of a topic in the sequencer's table, and in every shard's. Reused only after the topic has retired.
pub type TopicId = u32;

/// One connection, for ever: a slot is reused, its generation never (it wraps after four billion connections).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// The shard that owns the connection.
    pub shard: ShardId,
    /// Where in that shard's slab its writer lives.
    pub slot: Slot,
    /// Which use of the slot this is.
    pub generation: u32,
}

/// Written `shard-slot-generation`, as in `/connections/0-17-3`.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.slot, self.generation)
    }
}

impl FromStr for ConnectionId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "a connection id is shard-slot-generation, as GET /connections lists it";
        let mut parts = text.split('-').map(str::parse::<u32>);
        let mut next = || parts.next().and_then(Result::ok).ok_or(SHAPE);
        let id =
            Self { shard: u16::try_from(next()?).map_err(|_| SHAPE)?, slot: next()?, generation: next()? };
        if parts.next().is_some() { Err(SHAPE) } else { Ok(id) }
    }
}

/// Names one history of a topic: it changes exactly when sequence numbers begin anew.
///
/// Text form is base 36, as in `"epoch":"k3f9"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut text = [0u8; 13];
        let mut at = text.len();
        let mut rest = self.0;
        loop {
            at -= 1;
            text[at] = DIGITS[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        f.pad(std::str::from_utf8(&text[at..]).unwrap_or_default())
    }
}

impl FromStr for Epoch {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 36).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_read_back_as_written() {
        let id = ConnectionId { shard: 3, slot: 70_000, generation: 9 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1-2", "1-2-3-4", "70000-1-1", "a-b-c", "1--2"] {
            assert!(bad.parse::<ConnectionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn epochs_read_back_as_written() {
        for epoch in [0, 35, 36, 1_700_000_000_000_000, u64::MAX] {
            assert_eq!(Epoch(epoch).to_string().parse(), Ok(Epoch(epoch)));
        }
        assert_eq!(Epoch(36).to_string(), "10");
    }
}
