//! The same server by datagram.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::Command;

const COOKIE: &str = "0123456789abcdef";

pub(super) async fn listen(socket: UdpSocket, hub: mpsc::Sender<Command>) {
    let socket = Arc::new(socket);
    let mut leases = HashMap::new();
    let mut bytes = [0; 2_048];
    loop {
        // What cannot be read says that somebody we have sent to is gone.
        let Ok((length, from)) = socket.recv_from(&mut bytes).await else { continue };
        match &bytes[..length] {
            [b'J', text @ ..] => {
                let operation: Value = serde_json::from_slice(text).unwrap();
                if operation["op"] == "hello" && length >= 128 {
                    let cookie = json!({ "event": "cookie", "cookie": COOKIE });
                    socket.send_to(format!("J{cookie}").as_bytes(), from).await.unwrap();
                } else if operation["cookie"] == COOKIE {
                    let outbound = leases.entry(from).or_insert_with(|| {
                        let (outbound, mut outbox) = mpsc::channel(4096);
                        let socket = Arc::clone(&socket);
                        tokio::spawn(async move {
                            while let Some(message) = outbox.recv().await {
                                let _ = socket.send_to(&frame(message), from).await;
                            }
                        });
                        outbound
                    });
                    hub.send(Command::Operate(operation, outbound.clone())).await.unwrap();
                }
            }
            [b'H', ..] => drop(socket.send_to(b"H", from).await),
            other => panic!("a datagram {other:?}"),
        }
    }
}

fn frame(message: Message) -> Vec<u8> {
    match message {
        Message::Text(text) if text.starts_with(r#"{"event""#) => format!("J{text}").into_bytes(),
        // Nobody looks at alias and sequence: a stamp has both.
        data => [&b"D"[..], &[0; 12], data.into_data().as_ref()].concat(),
    }
}
