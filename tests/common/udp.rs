//! A client by datagram that knows no more than the wire.

use super::framed::{Frame, Framed};
use super::{Addresses, HOME, within};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// See the module.
pub(crate) struct UdpClient {
    pub(crate) socket: UdpSocket,
    pub(crate) cookie: String,
}

/// A hello of so many bytes.
pub(crate) fn hello(bytes: usize) -> Vec<u8> {
    let bare = br#"J{"op":"hello","pad":""}"#.len();
    format!(r#"J{{"op":"hello","pad":"{}"}}"#, "x".repeat(bytes - bare)).into_bytes()
}

/// A socket on loopback that is connected to that address.
pub(crate) async fn socket(to: SocketAddr) -> UdpSocket {
    socket_from(HOME, to).await
}

/// The same from another address of this machine.
pub(crate) async fn socket_from(from: [u8; 4], to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from((from, 0))).await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

impl UdpClient {
    /// With its cookie, and without a lease.
    pub(crate) async fn connect(to: impl Into<Addresses>) -> Self {
        Self::connect_to(to.into().udp).await
    }

    pub(crate) async fn connect_to(address: SocketAddr) -> Self {
        Self::over(socket(address).await).await
    }

    /// With a cookie for this socket's address.
    pub(crate) async fn over(socket: UdpSocket) -> Self {
        let mut client = Self { socket, cookie: String::new() };
        within("a cookie", async {
            while client.cookie.is_empty() {
                client.socket.send(&hello(128)).await.unwrap();
                let _ = timeout(Duration::from_secs(1), client.take_cookie()).await;
            }
        })
        .await;
        client
    }

    /// Who had the port before may still be sent something.
    async fn take_cookie(&mut self) {
        while self.cookie.is_empty() {
            match self.next("a cookie").await {
                Frame::Json(json) if json["event"] == "cookie" => {
                    self.cookie = json["cookie"].as_str().unwrap().to_owned();
                }
                _ => {}
            }
        }
    }

    pub(crate) async fn renew(&self) {
        self.socket.send(format!("H{}", self.cookie).as_bytes()).await.unwrap();
    }

    pub(crate) async fn publish(&self, topic: &str, payload: &[u8]) {
        let body = [b"P", &(topic.len() as u16).to_be_bytes()[..], topic.as_bytes(), payload].concat();
        self.socket.send(&body).await.unwrap();
    }
}

impl Framed for UdpClient {
    async fn send_json(&mut self, mut operation: Value) {
        operation["cookie"] = json!(self.cookie);
        self.socket.send(format!("J{operation}").as_bytes()).await.unwrap();
    }

    async fn next_of_any(&mut self, what: &str) -> Frame {
        let mut buffer = vec![0; 65_536];
        let length = within(what, self.socket.recv(&mut buffer)).await.unwrap();
        Frame::read(&buffer[..length], what)
    }
}
