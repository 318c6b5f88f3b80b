//! An operator port that tells prepared counters, one text after the other, the last one for ever.
//!
//! Contract: it listens on a free port of loopback and ends when it is dropped. What is posted to it is answered 200.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

/// The running port.
pub(crate) struct TinyOperator {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TinyOperator {
    /// Published, routed, delivered and abandoned of each reading.
    pub(crate) fn start(readings: &[[u64; 4]]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let texts: Arc<Vec<String>> = Arc::new(readings.iter().map(text).collect());
        let asked = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(SeqCst) {
                    return;
                }
                let (texts, asked) = (Arc::clone(&texts), Arc::clone(&asked));
                std::thread::spawn(move || answer(&stream.unwrap(), &texts, &asked));
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for TinyOperator {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // It wakes up for a connection only.
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn text([published, routed, delivered, abandoned]: &[u64; 4]) -> String {
    let shard = "{shard=\"0\"}";
    format!(
        "stentor_published_total {published}\nstentor_routed_total{shard} {routed}\n\
         stentor_delivered_total{shard} {delivered}\nstentor_abandoned_total{shard} {abandoned}\n# EOF\n"
    )
}

fn answer(stream: &TcpStream, texts: &[String], asked: &AtomicUsize) {
    let mut lines = BufReader::new(stream);
    loop {
        let (mut request, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            request.push_str(&line);
        }
        lines.read_exact(&mut vec![0; length]).unwrap();
        let body = match request.starts_with("GET /metrics ") {
            true => texts[asked.fetch_add(1, SeqCst).min(texts.len() - 1)].as_str(),
            false => "{}",
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}
