//! What can be asked of a server, a file each.

pub(crate) mod fanout;
mod stage;
