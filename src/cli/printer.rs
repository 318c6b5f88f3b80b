//! Printing what arrives: a message's line written, its lines handed to the thread that prints.

use super::failure::{Failure, printable};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;
use stentor::PayloadKind;
use stentor::client::Message;
use tokio::sync::{mpsc, oneshot};

/// Batches the printing thread may be behind. When they are used up we stop reading the socket, and the server sees a slow consumer.
const BATCHES: usize = 16;

/// What is printed of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Topic, sequence and payload, for eyes: control characters are escaped, bytes are shown as base64.
    Human { colour: bool },
    /// The payload's own bytes.
    Raw,
    /// A line of a recording.
    Json,
}

impl Mode {
    /// Appends a message's line. `t` is when it came, as [`seconds`] writes it.
    pub(super) fn print(self, out: &mut Vec<u8>, t: &str, message: &Message) {
        let Message { topic, seq, payload, is_snapshot } = message;
        let bytes = payload.bytes();
        // JSON and text are UTF-8.
        let text = || std::str::from_utf8(bytes).unwrap_or_default();
        // By its parts: `write!` takes 8 % of what a message over WebSocket costs.
        match self {
            Self::Json => {
                put_all(out, &["{\"t\":", t, ",\"topic\":"]);
                put(out, topic.as_str());
                put_all(out, &[",\"seq\":"]);
                put(out, seq);
                put_all(out, &[if *is_snapshot { ",\"snap\":true" } else { "" }]);
                match payload.kind() {
                    PayloadKind::Json => {
                        put_all(out, &[",\"data\":"]);
                        one_line(out, bytes.trim_ascii());
                    }
                    PayloadKind::Text => {
                        put_all(out, &[",\"text\":"]);
                        put(out, text());
                    }
                    PayloadKind::Binary => {
                        put_all(out, &[",\"base64\":"]);
                        put(out, &BASE64_STANDARD.encode(bytes));
                    }
                }
                out.push(b'}');
            }
            Self::Raw => out.extend_from_slice(bytes),
            Self::Human { colour } => {
                let payload: Cow<'_, str> = match payload.kind() {
                    PayloadKind::Json => text().trim_ascii().into(),
                    PayloadKind::Text => text().into(),
                    PayloadKind::Binary => format!("base64:{}", BASE64_STANDARD.encode(bytes)).into(),
                };
                let (topic, payload) = (printable(topic.as_str()), printable(&payload));
                let (cyan, dim, plain) =
                    if colour { ("\x1b[36m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
                put_all(out, &[cyan, &topic, plain, " ", dim]);
                put(out, seq);
                put_all(out, &[if *is_snapshot { " snap" } else { "" }, plain, " ", &payload]);
            }
        }
        out.push(b'\n');
    }
}

fn put_all(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn put<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Texts and numbers always serialise, and writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// A time as recordings have it.
pub(super) fn seconds(t: Duration) -> String {
    format!("{}.{:06}", t.as_secs(), t.subsec_micros())
}

/// JSON on one line: a newline in JSON is white space between tokens, never inside a string.
pub(super) fn one_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    for byte in &mut out[start..] {
        *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
}

/// Gathers lines and hands them to the printing thread.
pub(super) struct Printer {
    pub(super) batch: Vec<u8>,
    batches: mpsc::Sender<Vec<u8>>,
    result: oneshot::Receiver<io::Result<()>>,
}

impl Printer {
    pub(super) fn new(mut out: impl Write + Send + 'static) -> Self {
        let (batches, mut ready) = mpsc::channel::<Vec<u8>>(BATCHES);
        let (report, result) = oneshot::channel();
        std::thread::spawn(move || {
            let mut printed = Ok(());
            while let (Ok(()), Some(batch)) = (&printed, ready.blocking_recv()) {
                printed = out.write_all(&batch).and_then(|()| out.flush());
            }
            // Closed first, so that whoever finds the channel closed finds the reason too. Nobody may be left to hear it.
            drop(ready);
            let _ = report.send(printed);
        });
        Self { batch: Vec::new(), batches, result }
    }

    /// Hands over what was gathered. False when nobody reads any more.
    pub(super) async fn flush(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        // The next one will be about as long.
        let next = Vec::with_capacity(self.batch.len());
        self.batches.send(std::mem::replace(&mut self.batch, next)).await.is_ok()
    }

    /// Waits until everything is written. A pipe whose reader went away is a normal end.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        self.flush().await;
        drop(self.batches);
        match self.result.await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run(format!(
                "cannot write to standard output: {error}; make room and run it again"
            ))),
            _ => Ok(()),
        }
    }
}
