//! Printing what arrives: a message's envelope taken apart, its line written, its lines handed to the thread that
//! prints.

use super::failure::{Failure, printable};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Batches the printing thread may be behind. When they are used up we stop reading the socket, and the server sees a slow consumer.
const BATCHES: usize = 16;

/// One message of a combined stream. A message without `stream` is an answer or an event.
#[derive(Deserialize, Default)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub(super) stream: Option<&'a RawValue>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    snap: bool,
    // `null` is a payload like any other, so presence is what counts.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    base64: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Line<'a> {
    pub(super) fn message(&self) -> Option<Message<'a>> {
        let text = self.text.map(Payload::Text).or(self.base64.map(Payload::Base64));
        let payload = self.data.map(Payload::Data).or(text)?;
        Some(Message { topic: self.stream?, seq: self.seq, is_snapshot: self.snap, payload })
    }
}

/// A message as it stands in its envelope.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    topic: &'a RawValue,
    seq: u64,
    /// True exactly when it was published before the subscription.
    is_snapshot: bool,
    payload: Payload<'a>,
}

/// A payload as it stands in its envelope.
#[derive(Clone, Copy)]
enum Payload<'a> {
    /// JSON, embedded verbatim.
    Data(&'a RawValue),
    /// Other text, as a JSON string.
    Text(&'a RawValue),
    /// Bytes that are not UTF-8, as a JSON string of base64.
    Base64(&'a RawValue),
}

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
    pub(super) fn print(self, out: &mut Vec<u8>, t: Duration, message: Message<'_>, envelope: &str) {
        let Message { topic, seq, is_snapshot, payload } = message;
        // Writing to a vector cannot fail.
        let _ = match (self, payload) {
            (Self::Json, payload) => {
                let (key, value) = match payload {
                    Payload::Data(value) => ("data", value),
                    Payload::Text(value) => ("text", value),
                    Payload::Base64(value) => ("base64", value),
                };
                let (t, topic, snap) =
                    (t.as_secs_f64(), topic.get(), if is_snapshot { ",\"snap\":true" } else { "" });
                let written = write!(out, "{{\"t\":{t:.6},\"topic\":{topic},\"seq\":{seq}{snap},\"{key}\":");
                one_line(out, value.get());
                out.push(b'}');
                written
            }
            (Self::Raw, Payload::Data(value)) => out.write_all(verbatim(envelope, value.get()).as_bytes()),
            (Self::Raw, Payload::Text(value)) => out.write_all(unquoted(value).as_bytes()),
            (Self::Raw, Payload::Base64(value)) => match BASE64_STANDARD.decode(unquoted(value).as_bytes()) {
                Ok(bytes) => out.write_all(&bytes),
                Err(_) => out.write_all(unquoted(value).as_bytes()),
            },
            (Self::Human { colour }, payload) => {
                let (topic, payload) = (
                    unquoted(topic),
                    match payload {
                        Payload::Data(value) => value.get().into(),
                        Payload::Text(value) => unquoted(value),
                        Payload::Base64(value) => Cow::Owned(format!("base64:{}", unquoted(value))),
                    },
                );
                let (topic, payload) = (printable(&topic), printable(&payload));
                let snap = if is_snapshot { " snap" } else { "" };
                if colour {
                    write!(out, "\x1b[36m{topic}\x1b[0m \x1b[2m{seq}{snap}\x1b[0m {payload}")
                } else {
                    write!(out, "{topic} {seq}{snap} {payload}")
                }
            }
        };
        out.push(b'\n');
    }
}

/// JSON on one line: a newline in JSON is white space between tokens, never inside a string.
pub(super) fn one_line(out: &mut Vec<u8>, json: &str) {
    out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}

/// `data` with the white space around it, which the publisher sent too (a file's last newline) and a JSON reader leaves out.
/// The payload is the last member of `envelope`, and the server adds no white space of its own.
fn verbatim<'a>(envelope: &'a str, data: &'a str) -> &'a str {
    let start = data.as_ptr() as usize - envelope.as_ptr() as usize;
    let before = envelope[..start].trim_end_matches([' ', '\t', '\r', '\n']).len();
    match envelope[start + data.len()..].trim_end_matches([' ', '\t', '\r', '\n']).strip_suffix('}') {
        Some(after) if after.trim().is_empty() => &envelope[before..start + data.len() + after.len()],
        _ => data,
    }
}

/// The characters of a JSON string; borrowed unless something in it is escaped.
fn unquoted(string: &RawValue) -> Cow<'_, str> {
    let inner = string.get().strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => inner.into(),
        _ => serde_json::from_str::<String>(string.get()).map_or_else(|_| string.get().into(), Cow::Owned),
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
        self.batches.send(std::mem::take(&mut self.batch)).await.is_ok()
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
