//! The server's own topics, which it alone publishes to.

/// What their names begin with.
pub(crate) const PREFIX: &str = "$sys.";
/// What all owners have counted, once a second.
pub(crate) const STATS: &str = "$sys.stats";
/// The topics with the most messages since this was last told, once a second.
pub(crate) const TOPICS: &str = "$sys.topics";
/// Who comes and who goes, as it happens.
pub(crate) const CONNECTIONS: &str = "$sys.connections";
