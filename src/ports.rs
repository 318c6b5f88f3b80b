//! The sockets a server opens for itself.

use crate::config::Rule;
use crate::error::StartError;
use crate::protocol::pattern::Subject;
use crate::shard::shell::groups::Group;
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::iter::once;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// Connections that may be waiting to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;
/// Bytes asked for a datagram socket's buffers, each way.
const DATAGRAM_BUFFER_BYTES: usize = 8 << 20;

/// A listener.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|source| StartError::Bind { address, source })
}

/// A socket for each shard, all of one address: the system gives each client's datagrams to one of them, always the
/// same.
pub(crate) fn bind_datagrams(address: SocketAddr, shards: usize) -> Result<Vec<UdpSocket>, StartError> {
    let socket = |address: SocketAddr, is_shared| -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.set_reuse_port(is_shared)?;
        socket.set_nonblocking(true)?;
        // As much as the system allows: what does not fit is lost.
        let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES);
        let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES);
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    let bound = || -> io::Result<Vec<UdpSocket>> {
        // Sockets that share an address share it with any other process that would, so the first is bound alone. It is
        // not let go: where the system chose the port, somebody else would be given it before the next is bound.
        let first = socket(address, false)?;
        SockRef::from(&first).set_reuse_port(true)?;
        let address = first.local_addr()?;
        once(Ok(first)).chain((1..shards).map(|_| socket(address, true))).collect()
    };
    bound().map_err(|source| StartError::Bind { address, source })
}

/// A socket for each rule that has a multicast group.
pub(crate) fn open_groups(rules: &[Rule]) -> Result<Vec<Group>, StartError> {
    let open = |rule: &Rule| -> Option<Result<Group, StartError>> {
        let multicast = rule.multicast?;
        let socket = || -> io::Result<UdpSocket> {
            let socket = Socket::new(Domain::for_address(multicast.group), Type::DGRAM, None)?;
            socket.set_nonblocking(true)?;
            let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES);
            let own: SocketAddr = match multicast.group {
                SocketAddr::V4(_) => {
                    socket.set_multicast_ttl_v4(multicast.ttl)?;
                    multicast
                        .interface
                        .map(|interface| socket.set_multicast_if_v4(&interface))
                        .transpose()?;
                    (Ipv4Addr::UNSPECIFIED, 0).into()
                }
                SocketAddr::V6(group) => {
                    socket.set_multicast_hops_v6(multicast.ttl)?;
                    socket.set_multicast_if_v6(group.scope_id())?;
                    (Ipv6Addr::UNSPECIFIED, 0).into()
                }
            };
            socket.bind(&own.into())?;
            Ok(socket.into())
        };
        // The rules were checked.
        let subject = Subject::try_from(rule.pattern.as_str()).ok()?;
        let bound = socket().map_err(|source| StartError::Bind { address: multicast.group, source });
        Some(bound.map(|socket| Group { socket, address: multicast.group, subject }))
    };
    rules.iter().filter_map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn datagrams_come_to_all_sockets_of_an_address_and_nobody_else_has_it() {
        let sockets = bind_datagrams(ANY, 2).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(bind_datagrams(address, 2).is_err(), "it is taken");
        let clients: Vec<_> = (0..64).map(|_| UdpSocket::bind(ANY).unwrap()).collect();
        clients.iter().for_each(|client| assert_eq!(client.send_to(b"1", address).unwrap(), 1));
        for socket in &sockets {
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
        }
    }
}
