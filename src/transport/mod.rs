//! Transports: bytes in, messages and control frames out of them. Pure; sockets belong to the shard's shell.

pub(crate) mod cookie;
pub(crate) mod inbound;
mod names;
pub(crate) mod paced;
pub(crate) mod rate;
pub(crate) mod session;
mod tcp;
pub(crate) mod udp;
pub(crate) mod websocket;
