//! What a shard begins with.

use super::groups::Group;
use crate::config::Settings;
use crate::door::admission::Seats;
use crate::sequencer::publisher::Publisher;
use crate::shard::directory::ShardHandle;
use crate::shard::register::Register;
use std::net::UdpSocket;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outfit {
    pub(crate) handle: ShardHandle,
    pub(crate) publisher: Publisher,
    pub(crate) settings: Arc<Settings>,
    pub(crate) register: Arc<Register>,
    /// For those who come by datagram; others bring theirs.
    pub(crate) seats: Seats,
    /// Where datagrams come in, if anywhere.
    pub(crate) datagrams: Option<UdpSocket>,
    /// Multicast groups that are its own.
    pub(crate) groups: Vec<Group>,
    /// Memory is set aside for so many connections.
    pub(crate) slots: usize,
}
