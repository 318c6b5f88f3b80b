//! Behind a full socket. Pure: a writer's bounded queue, and what becomes of what does not fit.
//!
//! [`backlog`] fills and drains the queue, which is [`outbound`]: of [`entry`] after entry, in an [`account`], and, of
//! topics that take messages back, by what is [`waiting`]. When it is full, [`overflow`] does what the message's
//! [`policy`] decides.

pub(crate) mod account;
mod backlog;
pub(crate) mod entry;
#[cfg(test)]
mod model;
pub(crate) mod outbound;
mod overflow;
mod policy;
mod waiting;
