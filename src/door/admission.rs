//! Admission: who gets a seat. A seat is one connection's place in every total; dropping it gives all back.

use crate::protocol::target::Target;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why there is no seat. Told to the client as 503 with `Retry-After`; a retry helps when others have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSeat {
    #[error("the server is full (limits.connections)")]
    Full,
    #[error("too many connections from this address (limits.connections_per_address)")]
    Address,
    #[error("the server is busy; try again")]
    Busy,
}

/// A place in the server's total, its address's, and (once dealt) its shard's.
#[derive(Debug)]
pub(crate) struct Seat {
    _place: OwnedSemaphorePermit,
    _of_address: Option<Arc<()>>,
    _of_shard: Option<Arc<()>>,
}

impl Seat {
    /// The same seat, counted for that shard from now on.
    pub(crate) fn on_shard(self, seats: &Arc<()>) -> Self {
        Self { _of_shard: Some(seats.clone()), ..self }
    }
}

/// A socket that has passed the door.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// As requested, for the operator's list.
    pub(crate) path: String,
    pub(crate) target: Target,
    /// The handshake's answer, not yet written; empty where there is none.
    pub(crate) answer: Vec<u8>,
    pub(crate) seat: Seat,
}

/// Gives out seats; owned by who takes connections in.
#[derive(Debug)]
pub(crate) struct Seats {
    places: Arc<Semaphore>,
    per_address_max: usize,
    addresses: HashMap<IpAddr, Arc<()>>,
}

/// Addresses remembered before those without connections are forgotten.
const ADDRESSES_KEPT: usize = 4_096;

impl Seats {
    pub(crate) fn new(connections_max: usize, per_address_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Self { places, per_address_max, addresses: HashMap::new() }
    }

    /// Another who gives out the same seats; of each address's it counts those that it has given itself.
    pub(crate) fn beside(&self) -> Self {
        Self { places: self.places.clone(), per_address_max: self.per_address_max, addresses: HashMap::new() }
    }

    /// A seat for a connection from that address.
    pub(crate) fn take(&mut self, address: IpAddr) -> Result<Seat, NoSeat> {
        let of_address = self.take_of_address(address)?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| NoSeat::Full)?;
        Ok(Seat { _place: place, _of_address: of_address, _of_shard: None })
    }

    fn take_of_address(&mut self, address: IpAddr) -> Result<Option<Arc<()>>, NoSeat> {
        if self.per_address_max == 0 {
            return Ok(None);
        }
        if self.addresses.len() >= ADDRESSES_KEPT {
            self.addresses.retain(|_, seats| Arc::strong_count(seats) > 1);
        }
        let seats = self.addresses.entry(address).or_default();
        // One of the references is the map's own.
        if Arc::strong_count(seats) > self.per_address_max {
            Err(NoSeat::Address)
        } else {
            Ok(Some(seats.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_come_back_when_connections_go() {
        let mut seats = Seats::new(2, 1);
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
        let first = seats.take(a).unwrap();
        assert_eq!(seats.take(a).unwrap_err(), NoSeat::Address);
        let second = seats.take(b).unwrap();
        assert_eq!(seats.take(c).unwrap_err(), NoSeat::Full);
        drop(first);
        let third = seats.take(a).unwrap();
        drop((second, third));
        assert_eq!(seats.places.available_permits(), 2);
    }
}
