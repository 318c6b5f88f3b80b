//! A shard: one thread, its connections, their subscriptions and what they are owed.
//!
//! Pure: `core` (routing) over `topics`, `log` and `debts`; `sweep` (paying); `backlog` over `outbound` and `policy`
//! (behind a full socket); `ledger` (what became of it); `connections`, `subscriptions`, `wildcards`, `replay`, `control`, `tick` (everything that is not data).
//! Shell: `driver` (the duty cycle), `shell` (what its tasks share), `reader` over `poller` and `turns`,
//! `sockets`, `discarded` (closing them), `register` (who came and went). Held by others: `directory`, `command`.

mod backlog;
mod client;
pub(crate) mod command;
mod commanded;
pub(crate) mod connections;
mod control;
pub(crate) mod core;
pub(crate) mod counters;
pub(crate) mod debts;
pub(crate) mod directory;
mod discarded;
pub(crate) mod driver;
pub(crate) mod entry;
mod guests;
pub(crate) mod ledger;
mod log;
pub(crate) mod outbound;
mod overflow;
mod policy;
mod poller;
mod reader;
pub(crate) mod register;
mod replay;
#[cfg(test)]
mod replays;
#[cfg(test)]
mod rings;
mod shell;
#[cfg(test)]
mod situations;
mod sockets;
mod subscriptions;
mod sweep;
mod tick;
pub(crate) mod topics;
mod turns;
mod uring;
mod waiting;
mod wildcards;
pub(crate) mod writer;
