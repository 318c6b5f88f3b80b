//! A recording is a file of messages with their times: NDJSON, `{"t":<seconds>,"topic":"…","data":<payload>}` a line, with
//! `"text"` or `"base64"` in place of `"data"`.
//!
//! Contract: [`Recording`] reads one line at a time and never holds the file; `data` keeps the bytes it had; a line that is not
//! a message is an error that names file and line. Skipped without a word: blank lines, members it does not know (`seq`), and
//! the events and answers that `stentor sub --json` writes between the messages.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use stentor::Payload;

use super::failure::Failure;

/// Latest time a message may have, in seconds: some thirty years, so that no sum of times overflows a clock.
const SECONDS_MAX: f64 = 1e9;
/// Bytes read from the file at once.
const READ_BYTES: usize = 256 << 10;

/// One message of a recording.
#[derive(Debug)]
pub(crate) struct Record {
    /// Seconds since the recording began, not negative.
    pub(crate) t: f64,
    /// The topic it was published to.
    pub(crate) topic: String,
    /// What was published.
    pub(crate) payload: Payload,
}

/// The messages of a recording, in the order of the file.
pub(crate) struct Recording<R> {
    input: R,
    name: String,
    line: Vec<u8>,
    number: u64,
}

impl Recording<BufReader<File>> {
    /// Opens the file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Self::new(BufReader::with_capacity(READ_BYTES, file), name)),
            Err(error) => Err(Failure::run(format!(
                "cannot open {name}: {error}; give the path of an NDJSON recording"
            ))),
        }
    }
}

impl<R: BufRead> Recording<R> {
    /// Reads `input`; `name` is how errors call it.
    pub(crate) fn new(input: R, name: impl Into<String>) -> Self {
        Self { input, name: name.into(), line: Vec::new(), number: 0 }
    }

    fn wrong(&self, why: &str) -> Failure {
        Failure::run(format!(
            "{} line {}: {why}; a line must look like {{\"t\":0.25,\"topic\":\"…\",\"data\":…}}",
            self.name, self.number
        ))
    }

    fn parse(&self) -> Result<Option<Record>, Failure> {
        let line = self.line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            // serde_json counts lines too, and would say "line 1" of every line.
            let why = error.to_string();
            self.wrong(why.split(" at line ").next().unwrap_or(&why))
        })?;
        let Some(topic) = line.topic else {
            let aside = line.event.is_some() && line.data.is_none();
            return if aside { Ok(None) } else { Err(self.wrong("there is no \"topic\"")) };
        };
        let payload = match (line.data, line.text, line.base64) {
            (Some(data), None, None) => Payload::declared_json(Bytes::copy_from_slice(data.get().as_bytes()))
                .map_err(|error| self.wrong(&error.to_string()))?,
            (None, Some(text), None) => Payload::text(text),
            (None, None, Some(base64)) => BASE64_STANDARD
                .decode(base64)
                .map(Payload::binary)
                .map_err(|error| self.wrong(&format!("\"base64\" does not decode: {error}")))?,
            // Events of a topic name it too.
            (None, None, None) if line.event.is_some() => return Ok(None),
            _ => return Err(self.wrong("it needs one of \"data\", \"text\" and \"base64\"")),
        };
        match line.t {
            Some(t) if (0.0..=SECONDS_MAX).contains(&t) => Ok(Some(Record { t, topic, payload })),
            _ => Err(self.wrong("\"t\" must be seconds since the start, 0 or more")),
        }
    }
}

impl<R: BufRead> Iterator for Recording<R> {
    type Item = Result<Record, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.line.clear();
            self.number += 1;
            match self.input.read_until(b'\n', &mut self.line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(self.wrong(&format!("it cannot be read: {error}")))),
            }
            if let Some(record) = self.parse().transpose() {
                return Some(record);
            }
        }
    }
}

/// How many lines the file at `path` has, for a progress bar; none where a first pass would eat the input (a pipe).
pub(crate) fn line_count(path: &Path) -> Option<u64> {
    let mut file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|data| data.is_file()))?;
    let mut bytes = vec![0; READ_BYTES];
    let (mut lines, mut whole) = (0, true);
    loop {
        match file.read(&mut bytes).ok()? {
            0 => return Some(lines + u64::from(!whole)),
            n => {
                lines += bytes[..n].iter().map(|&byte| u64::from(byte == b'\n')).sum::<u64>();
                whole = bytes[n - 1] == b'\n';
            }
        }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    t: Option<f64>,
    topic: Option<String>,
    // `null` is a payload like any other, so presence is what counts.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stentor::PayloadKind;

    fn read(text: &str) -> Vec<Result<Record, Failure>> {
        Recording::new(text.as_bytes(), "r.ndjson").collect()
    }

    #[test]
    fn data_keeps_its_bytes_and_everything_else_is_skipped_or_ignored() {
        let data = r#"{"p":1.10, "n":1e3,"s":"\u00e9", "z":[ ]}"#;
        let text = format!(
            "{{\"t\":0,\"topic\":\"a b@c\",\"seq\":9,\"data\":{data}}}\n\n  \r\n\
             {{\"event\":\"ack\",\"ok\":[]}}\n{{\"event\":\"gap\",\"topic\":\"a\",\"from\":1}}\n\
             {{\"t\":0.5,\"topic\":\"a\",\"data\":null}}\r\n{{\"topic\":\"a\",\"text\":\"x\\ny\",\"t\":1}}\n\
             {{\"t\":2e0,\"topic\":\"a\",\"base64\":\"AP8=\"}}"
        );
        let records: Vec<Record> = read(&text).into_iter().map(Result::unwrap).collect();
        let times: Vec<f64> = records.iter().map(|record| record.t).collect();
        assert_eq!(times, [0.0, 0.5, 1.0, 2.0]);
        assert_eq!(records[0].topic, "a b@c");
        let payloads = [(PayloadKind::Json, data.as_bytes()), (PayloadKind::Json, b"null")];
        let others = [(PayloadKind::Text, &b"x\ny"[..]), (PayloadKind::Binary, &[0, 0xFF])];
        for (record, (kind, bytes)) in records.iter().zip(payloads.into_iter().chain(others)) {
            assert_eq!((record.payload.kind(), &record.payload.bytes()[..]), (kind, bytes));
        }
    }

    #[test]
    fn a_bad_line_is_named_by_file_and_number() {
        for (bad, why) in [
            ("{", "EOF"),
            ("[]", ""),
            ("{\"t\":1,\"data\":1}", "topic"),
            ("{\"t\":1,\"topic\":\"a\"}", "data"),
            ("{\"t\":1,\"topic\":\"a\",\"data\":1,\"text\":\"\"}", "one of"),
            ("{\"t\":1,\"topic\":\"a\",\"base64\":\"?\"}", "does not decode"),
            ("{\"t\":-1,\"topic\":\"a\",\"data\":1}", "seconds"),
            ("{\"t\":1e300,\"topic\":\"a\",\"data\":1}", "seconds"),
            ("{\"topic\":\"a\",\"data\":1}", "seconds"),
        ] {
            let results = read(&format!("{{\"t\":0,\"topic\":\"a\",\"data\":1}}\n\n{bad}\n"));
            let line = results[1].as_ref().unwrap_err().to_string();
            assert!(line.starts_with("r.ndjson line 3: ") && line.contains(why), "{line}");
            assert!(!line.contains("line 1"), "{line}");
        }
    }

    #[test]
    fn lines_are_counted_with_and_without_a_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        for (text, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\n\nb", 3)] {
            let path = folder.path().join("r");
            std::fs::write(&path, text).unwrap();
            assert_eq!(line_count(&path), Some(lines));
        }
        assert_eq!(line_count(folder.path()), None);
    }
}
