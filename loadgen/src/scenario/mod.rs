//! What can be asked of a server, a file each.

pub(crate) mod churn;
pub(crate) mod connections;
pub(crate) mod contest;
pub(crate) mod fanout;
pub(crate) mod knee;
pub(crate) mod slow;
pub(crate) mod soak;
mod stage;
pub(crate) mod storm;
