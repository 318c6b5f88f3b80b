//! The same server over length-prefixed TCP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::Command;

pub(super) async fn accept(listener: TcpListener, hub: mpsc::Sender<Command>, lives: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(serve(stream, hub.clone(), Arc::clone(&lives)));
    }
}

async fn serve(stream: TcpStream, hub: mpsc::Sender<Command>, lives: Arc<AtomicUsize>) {
    let (mut reader, mut writer) = stream.into_split();
    let (outbound, mut outbox) = mpsc::channel(4096);
    tokio::spawn(async move {
        let mut bytes = frame(b'H', b"");
        while writer.write_all(&bytes).await.is_ok() {
            bytes = match outbox.recv().await {
                Some(Message::Text(text)) if text.starts_with(r#"{"event""#) => frame(b'J', text.as_bytes()),
                Some(Message::Close(Some(close))) => {
                    let (code, reason) = (u16::from(close.code), close.reason.as_str());
                    let event = json!({ "event": "close", "code": code, "reason": reason });
                    let _ = writer.write_all(&frame(b'J', event.to_string().as_bytes())).await;
                    return;
                }
                // Nobody looks at alias and sequence: a stamp has both.
                Some(data) => frame(b'D', &[&[0; 12], data.into_data().as_ref()].concat()),
                None => return,
            };
        }
    });
    loop {
        let mut length = [0; 4];
        if reader.read_exact(&mut length).await.is_err() {
            return;
        }
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        if reader.read_exact(&mut bytes).await.is_err() {
            return;
        }
        let command = match bytes[0] {
            b'J' => Command::Operate(serde_json::from_slice(&bytes[1..]).unwrap(), outbound.clone()),
            b'P' => {
                let topic_end = 3 + usize::from(u16::from_be_bytes([bytes[1], bytes[2]]));
                Command::Publish(Message::text(String::from_utf8(bytes.split_off(topic_end)).unwrap()))
            }
            b'H' => {
                lives.fetch_add(1, SeqCst);
                continue;
            }
            kind => panic!("a frame of kind {kind:#04x}"),
        };
        hub.send(command).await.unwrap();
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 1).to_be_bytes().to_vec();
    out.push(kind);
    out.extend_from_slice(body);
    out
}
