//! Classes of data: what a topic's subscribers may expect of it when they fall behind.

use serde::Serialize;

/// The class of a topic; each has its policy in `shard/policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Class {
    /// Trades, alerts, chat: every message counts. Past its limit a connection closes with 4001.
    #[default]
    Event,
}
