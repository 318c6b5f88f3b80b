//! A fan-out server of a hundred lines, that can be told to break its word in one exact way.
//!
//! Contract: it listens on a free port of loopback and ends when it is dropped. Subscribers are numbered in the order in
//! which their handshakes came, and are subscribed before their 101 is written; on `/ws` they subscribe, unsubscribe and list by
//! operations instead, and each subscription is a number. All connections are pinged once at the start. On another port it does
//! the same over length-prefixed TCP, where everybody operates and may publish, and on a third by datagram.

mod datagrams;
mod frames;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// What is done wrong, and to whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mischief {
    /// For this subscriber and message (both from 0), deliver these messages instead. What is later than the message is
    /// not yet known, so only it and earlier ones can be named.
    pub(crate) instead: BTreeMap<(usize, usize), Vec<usize>>,
    /// Close this subscriber after this message, with a code and a reason.
    pub(crate) close: Option<(usize, usize, u16, &'static str)>,
    /// Deliver every message from this one on twice.
    pub(crate) repeat_from: Option<usize>,
    /// Answer 503 from this subscriber on.
    pub(crate) refuse_from: Option<usize>,
}

/// The running server.
pub(crate) struct TinyServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it takes frames.
    tcp: SocketAddr,
    /// And datagrams.
    udp: SocketAddr,
    pongs: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Join(mpsc::Sender<Message>),
    Operate(Value, mpsc::Sender<Message>),
    Publish(Message),
}

impl TinyServer {
    /// Starts it in a thread of its own.
    pub(crate) fn start(mischief: Mischief) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let frames = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let socket = runtime.block_on(UdpSocket::bind(("127.0.0.1", 0))).unwrap();
        let udp = socket.local_addr().unwrap();
        let (address, tcp) = (listener.local_addr().unwrap(), frames.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let pongs = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&pongs);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let (hub, commands) = mpsc::channel(1024);
                tokio::spawn(run_hub(commands, mischief.clone()));
                tokio::select! {
                    () = accept(listener, hub.clone(), mischief, Arc::clone(&count)) => {}
                    () = frames::accept(frames, hub.clone(), count) => {}
                    () = datagrams::listen(socket, hub) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, tcp, udp, pongs, stop: Some(stop), thread: Some(thread) }
    }

    /// Its URL for `ws`, `tcp` or `udp`.
    pub(crate) fn url(&self, wire: &str) -> String {
        let address = match wire {
            "tcp" => self.tcp,
            "udp" => self.udp,
            _ => self.address,
        };
        format!("{wire}://{address}")
    }

    /// Pings that were answered.
    pub(crate) fn pongs(&self) -> usize {
        self.pongs.load(SeqCst)
    }
}

impl Drop for TinyServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn accept(
    listener: TcpListener,
    hub: mpsc::Sender<Command>,
    mischief: Mischief,
    pongs: Arc<AtomicUsize>,
) {
    let joined = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let refuse_from = mischief.refuse_from.unwrap_or(usize::MAX);
        tokio::spawn(serve(stream, hub.clone(), Arc::clone(&joined), refuse_from, Arc::clone(&pongs)));
    }
}

#[allow(clippy::result_large_err)] // The callback's type is tungstenite's.
async fn serve(
    stream: TcpStream,
    hub: mpsc::Sender<Command>,
    joined: Arc<AtomicUsize>,
    refuse_from: usize,
    pongs: Arc<AtomicUsize>,
) {
    let (outbound, mut outbox) = mpsc::channel(4096);
    let (mut publishes, mut operates) = (false, false);
    let callback = |request: &Request, response: Response| {
        publishes = request.uri().path().starts_with("/publish/");
        operates = request.uri().path() == "/ws";
        if !publishes {
            if joined.fetch_add(1, SeqCst) >= refuse_from {
                let mut full = ErrorResponse::new(Some("no room".to_owned()));
                *full.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                return Err(full);
            }
            if !operates {
                hub.try_send(Command::Join(outbound.clone())).map_err(|_| ErrorResponse::new(None))?;
            }
        }
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, callback).await else { return };
    let outbound = Some(outbound).filter(|_| operates);
    if publishes {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                hub.send(Command::Publish(message)).await.unwrap();
            }
        }
        return;
    }
    let _ = socket.send(Message::Ping("still there?".into())).await;
    loop {
        tokio::select! {
            message = outbox.recv() => match message {
                Some(message) => if socket.send(message).await.is_err() { return },
                None => return,
            },
            heard = socket.next() => match heard {
                Some(Ok(Message::Pong(payload))) if payload == "still there?" => { pongs.fetch_add(1, SeqCst); }
                Some(Ok(Message::Text(text))) if outbound.is_some() => {
                    let operation = serde_json::from_str(&text).unwrap();
                    hub.send(Command::Operate(operation, outbound.clone().unwrap())).await.unwrap();
                }
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

async fn run_hub(mut commands: mpsc::Receiver<Command>, mischief: Mischief) {
    let mut subscribers: Vec<Option<mpsc::Sender<Message>>> = Vec::new();
    let mut log = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Join(outbound) => subscribers.push(Some(outbound)),
            Command::Operate(operation, outbound) => {
                let own = |place: &&mut Option<mpsc::Sender<Message>>| {
                    place.as_ref().is_some_and(|subscriber| subscriber.same_channel(&outbound))
                };
                match operation["op"].as_str().unwrap() {
                    "subscribe" => subscribers.push(Some(outbound.clone())),
                    "unsubscribe" => *subscribers.iter_mut().find(own).unwrap() = None,
                    _ => {}
                }
                let topic = operation["args"].get(0).cloned().unwrap_or(json!("loadgen"));
                let (ok, id) = (json!([{ "topic": topic, "seq": log.len() }]), &operation["id"]);
                let ack = format!(r#"{{"event":"ack","id":{id},"ok":{ok},"err":[]}}"#);
                let _ = outbound.send(Message::text(ack)).await;
            }
            Command::Publish(message) => {
                let number = log.len();
                log.push(message);
                for (index, subscriber) in subscribers.iter().enumerate() {
                    let Some(subscriber) = subscriber else { continue };
                    let times = if mischief.repeat_from.is_some_and(|from| number >= from) { 2 } else { 1 };
                    let as_told = vec![number; times];
                    for &which in mischief.instead.get(&(index, number)).unwrap_or(&as_told) {
                        let _ = subscriber.send(log[which].clone()).await;
                    }
                    if let Some((who, when, code, reason)) = mischief.close
                        && (who, when) == (index, number)
                    {
                        let close = CloseFrame { code: code.into(), reason: reason.into() };
                        let _ = subscriber.send(Message::Close(Some(close))).await;
                    }
                }
            }
        }
    }
}
