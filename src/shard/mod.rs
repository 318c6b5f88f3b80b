//! A shard: one thread, its connections, their subscriptions and what they are owed.
//!
//! Pure: `core` (routing) over `topics`, `log`, `debts` and their `lists`; `sweep` (paying); `backlog` over `outbound` and `policy`
//! (behind a full socket); `datagrams` (where there is no queue); `ledger` (what became of it); `connections`, `subscriptions`, `wildcards`, `replay`, `control`, `tick` (everything that is not data).
//! Shell: `driver` (the duty cycle), `shell` (what its tasks share), `reader` over `poller` and `turns`,
//! `leases` (who comes by datagram), `groups` (multicast), `sockets` over `socket_table` and `udp`, `discarded` (closing them), `register` (who came and went). Held by others: `directory`, `command`.

mod backlog;
mod client;
pub(crate) mod command;
mod commanded;
pub(crate) mod connections;
mod control;
pub(crate) mod core;
pub(crate) mod counters;
mod datagrams;
mod deadlines;
pub(crate) mod debts;
pub(crate) mod directory;
mod discarded;
pub(crate) mod driver;
pub(crate) mod entry;
pub(crate) mod groups;
mod guests;
mod leases;
pub(crate) mod ledger;
mod lists;
mod log;
pub(crate) mod outbound;
pub(crate) mod outfit;
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
mod socket_table;
mod sockets;
mod subscriptions;
mod sweep;
mod tick;
pub(crate) mod topics;
mod turns;
mod udp;
mod uring;
mod waiting;
mod wildcards;
pub(crate) mod writer;
