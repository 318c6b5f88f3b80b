//! A shard: one thread, its connections, their subscriptions and what they are owed.
//!
//! Pure: `core` with `topics`, `log`, `debts`, `sweep`, `outbound`, `policy`, `tick`. Shell: `driver` (the duty
//! cycle), `shell` (what its tasks share), `reader`, `sockets`. Held by others: `directory`, `command`.

pub(crate) mod command;
pub(crate) mod core;
pub(crate) mod counters;
mod debts;
pub(crate) mod directory;
pub(crate) mod driver;
mod log;
mod outbound;
mod policy;
mod reader;
mod shell;
mod sockets;
mod sweep;
mod tick;
mod topics;
pub(crate) mod writer;
