//! A shard: one thread, its connections, their subscriptions and what they are owed.
//!
//! - [`core`]: pure. Routing, debts, the sweep that pays them, and everything that is not data.
//! - [`queue`]: pure. What becomes of a writer behind a full socket.
//! - [`shell`]: the thread. Its duty cycle, reading, sockets, datagrams.
//!
//! Held by others: [`directory`] (where messages are posted), [`command`] (what else a shard is asked), [`register`]
//! (who came and went).

pub(crate) mod command;
pub(crate) mod core;
pub(crate) mod directory;
pub(crate) mod queue;
pub(crate) mod register;
pub(crate) mod shell;
