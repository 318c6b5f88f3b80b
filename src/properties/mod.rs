//! Proves, over generated input: what holds of every name, envelope, operation and stream of frames.
//!
//! What holds of any bytes is a function here, which the fuzz targets in `fuzz/` drive as well.

pub mod frames;
pub mod operations;

#[cfg(test)]
mod envelopes;
#[cfg(test)]
mod names;

#[cfg(test)]
pub(crate) mod generated {
    use crate::protocol::topic::TopicName;
    use proptest::prelude::*;

    /// So many cases of a property: what fails is shrunk and printed, and becomes a test with a name.
    pub(crate) fn cases(cases: u32) -> ProptestConfig {
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    /// Names as clients choose them and as nobody would, up to the longest.
    pub(crate) fn topic() -> impl Strategy<Value = TopicName> {
        let text = prop_oneof!["[a-zA-Z0-9@.:/!_-]{1,30}", "[!-~]{1,200}", "[^\\p{Cc} ]{1,50}"];
        text.prop_filter_map("a pattern", |text| TopicName::try_from(text).ok())
    }
}
