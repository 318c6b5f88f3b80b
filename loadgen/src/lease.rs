//! Opens one subscriber by datagram: a hello, its cookie, and the subscriptions that are asked for with it.
//!
//! Contract: what is not answered in [`ASK_AGAIN`] is asked again; a message that comes before the last answer is kept. The socket
//! has the largest receive buffer that the system gives, since what finds it full is lost.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};
use socket2::{Domain, Type};
use tokio::net::UdpSocket;

use crate::handshake::{OpenError, connect_error};
use crate::limits::{ASK_AGAIN, DATAGRAM_BYTES_MAX, HANDSHAKE_TIMEOUT, HELLO_PAD_BYTES, RECEIVE_ASKED_BYTES};
use crate::socket::{Joined, Lease, Socket};
use crate::target::tcp::{DATA, HEARTBEAT, JSON, SNAPSHOT};
use crate::target::udp::asks;
use crate::target::wire::Wire;

/// Subscribes to all of `topics`, from `source` where that matters.
pub(crate) async fn open(
    server: SocketAddr,
    topics: &[String],
    source: Option<IpAddr>,
) -> Result<Joined, OpenError> {
    let socket = bound(server, source).map_err(|error| connect_error(error, server))?;
    let asking = async {
        let mut line = Line { socket, server, buffer: vec![0; DATAGRAM_BYTES_MAX], early: Vec::new() };
        let hello = json!({ "op": "hello", "pad": "x".repeat(HELLO_PAD_BYTES) });
        let cookie = line.ask(&datagram(&hello), |said| Some(said["cookie"].as_str()?.to_owned())).await?;
        let shown = |mut ask: Value| {
            ask["cookie"] = json!(cookie);
            datagram(&ask)
        };
        for ask in asks("subscribe", topics) {
            let id = ask["id"].clone();
            line.ask(&shown(ask), |said| (said["event"] == "ack" && said["id"] == id).then_some(())).await?;
        }
        let lease = Lease {
            socket: line.socket,
            renewal: [&[HEARTBEAT], cookie.as_bytes()].concat(),
            farewell: asks("unsubscribe", topics).into_iter().map(shown).collect(),
        };
        Ok(Joined { socket: Socket::Datagrams(Box::new(lease)), early: line.early, wire: Wire::Udp })
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, asking).await.unwrap_or(Err(OpenError::Timeout))
}

/// Bytes that may lie unread at a subscriber; none where that cannot be known.
pub(crate) fn receive_buffer_bytes() -> Option<u64> {
    let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?;
    let _ = socket.set_recv_buffer_size(RECEIVE_ASKED_BYTES);
    socket.recv_buffer_size().ok().map(|bytes| bytes as u64)
}

fn bound(server: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(server), Type::DGRAM, None)?;
    // Where the system gives less, that is what there is.
    let _ = socket.set_recv_buffer_size(RECEIVE_ASKED_BYTES);
    socket.set_nonblocking(true)?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    socket.bind(&SocketAddr::new(source.unwrap_or(any), 0).into())?;
    socket.connect(&server.into())?;
    UdpSocket::from_std(socket.into())
}

fn datagram(operation: &Value) -> Vec<u8> {
    [&[JSON], operation.to_string().as_bytes()].concat()
}

/// A socket on which questions are asked.
struct Line {
    socket: UdpSocket,
    server: SocketAddr,
    buffer: Vec<u8>,
    early: Vec<Vec<u8>>,
}

impl Line {
    /// Asks until something that was said is the answer.
    async fn ask<T>(
        &mut self,
        question: &[u8],
        answer: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, OpenError> {
        loop {
            self.socket.send(question).await.map_err(|error| connect_error(error, self.server))?;
            let hearing = async {
                loop {
                    let said = self.hear().await?;
                    if said["event"] == "error"
                        || said["event"] == "close"
                        || said["err"].as_array().is_some_and(|err| !err.is_empty())
                    {
                        return Err(OpenError::Declined(said.to_string()));
                    }
                    if let Some(answer) = answer(&said) {
                        return Ok(answer);
                    }
                }
            };
            if let Ok(heard) = tokio::time::timeout(ASK_AGAIN, hearing).await {
                return heard;
            }
        }
    }

    /// What the server says next; messages are put aside.
    async fn hear(&mut self) -> Result<Value, OpenError> {
        loop {
            let received = self.socket.recv(&mut self.buffer).await;
            let length = received.map_err(|error| connect_error(error, self.server))?;
            match &self.buffer[..length] {
                [JSON, said @ ..] => return Ok(serde_json::from_slice(said).unwrap_or_default()),
                message @ [DATA | SNAPSHOT, ..] => self.early.push(message.to_vec()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first hello and the first subscription are lost, and a message overtakes the ack.
    #[tokio::test]
    async fn what_is_lost_is_asked_for_again_and_what_comes_early_is_kept() {
        let peer = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let server = peer.local_addr().unwrap();
        let serve = async {
            let mut bytes = [0; DATAGRAM_BYTES_MAX];
            let mut heard = Vec::new();
            for _ in 0..4 {
                let (length, from) = peer.recv_from(&mut bytes).await.unwrap();
                heard.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
                match heard.len() {
                    2 => drop(peer.send_to(br#"J{"event":"cookie","cookie":"c0"}"#, from).await.unwrap()),
                    4 => {
                        peer.send_to(b"D...early", from).await.unwrap();
                        peer.send_to(br#"J{"event":"ack","id":1,"ok":[],"err":[]}"#, from).await.unwrap();
                    }
                    _ => {}
                }
            }
            heard
        };
        let topics = ["t".to_owned()];
        let (heard, joined) = tokio::join!(serve, open(server, &topics, None));
        let joined = joined.unwrap();
        assert_eq!(joined.early, [b"D...early"]);
        assert!(heard[0].starts_with("J{\"op\":\"hello\"") && heard[0].len() >= 128, "{heard:?}");
        assert!(heard[1] == heard[0] && heard[3] == heard[2] && heard[2].contains("\"cookie\":\"c0\""));
        let Socket::Datagrams(lease) = joined.socket else { panic!("a stream") };
        assert_eq!(lease.renewal, b"Hc0");
        assert!(receive_buffer_bytes() > Some(0));
    }

    #[tokio::test]
    async fn nobody_and_a_refusal_are_told() {
        let peer = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let server = peer.local_addr().unwrap();
        let topics = ["t".to_owned()];
        let serve = async {
            let (_, from) = peer.recv_from(&mut [0; DATAGRAM_BYTES_MAX]).await.unwrap();
            peer.send_to(br#"J{"event":"close","code":1013,"reason":"full"}"#, from).await.unwrap();
        };
        let ((), refused) = tokio::join!(serve, open(server, &topics, None));
        assert!(refused.unwrap_err().to_string().contains("full"));
        drop(peer);
        let nobody = open(server, &topics, None).await.unwrap_err().to_string();
        assert!(nobody.contains("refuses"), "{nobody}");
    }
}
