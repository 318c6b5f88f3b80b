//! A NATS server of one page: CONNECT, SUB, PUB, PING; every subscriber gets every message of its subjects.
//!
//! Contract: it listens on a free port of loopback and ends when it is dropped. Each message is delivered in the order in which
//! the server read it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// The running server.
pub(crate) struct TinyNats {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Subscribe(String, String, TcpStream),
    Publish(String, Vec<u8>),
    Say(&'static str, TcpStream),
}

impl TinyNats {
    /// Starts it; `forbidden` may not be subscribed.
    pub(crate) fn start(forbidden: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (hub, commands) = sync_channel(1_024);
            std::thread::spawn(move || run_hub(&commands));
            for stream in listener.incoming() {
                if stopped.load(SeqCst) {
                    return;
                }
                let hub = hub.clone();
                std::thread::spawn(move || listen(stream.unwrap(), &hub, forbidden));
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for TinyNats {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // It wakes up for a connection only.
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn listen(stream: TcpStream, hub: &SyncSender<Command>, forbidden: &str) {
    let own = || stream.try_clone().unwrap();
    (&stream).write_all(b"INFO {\"server_id\":\"tiny\"}\r\nPING\r\n").unwrap();
    let mut lines = BufReader::new(own());
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let command = match words.as_slice() {
            ["SUB", subject, _] if *subject == forbidden => {
                Command::Say("-ERR 'Permissions Violation'\r\n", own())
            }
            ["SUB", subject, id] => Command::Subscribe((*subject).to_owned(), (*id).to_owned(), own()),
            ["PUB", subject, length] => {
                let mut payload = vec![0; length.parse::<usize>().unwrap() + 2];
                lines.read_exact(&mut payload).unwrap();
                Command::Publish((*subject).to_owned(), payload)
            }
            ["PING"] => Command::Say("PONG\r\n", own()),
            _ => continue,
        };
        hub.send(command).unwrap();
    }
}

fn run_hub(commands: &Receiver<Command>) {
    let mut subscribers: Vec<(String, String, TcpStream)> = Vec::new();
    while let Ok(command) = commands.recv() {
        match command {
            Command::Subscribe(subject, id, stream) => subscribers.push((subject, id, stream)),
            Command::Say(words, mut stream) => drop(stream.write_all(words.as_bytes())),
            Command::Publish(to, payload) => {
                for (subject, id, stream) in subscribers.iter_mut().filter(|(subject, ..)| *subject == to) {
                    let head = format!("MSG {subject} {id} {}\r\n", payload.len() - 2);
                    let _ = stream.write_all(&[head.as_bytes(), &payload].concat());
                }
            }
        }
    }
}
