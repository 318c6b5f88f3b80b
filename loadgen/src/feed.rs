//! A market feed to be replayed: a recording, or a synthetic one with bursts.
//!
//! Contract: all of it is in memory before the first message is due. A recording is NDJSON, `{"t":<seconds>,"topic":"…","data":…}` a
//! line, with `"text"` or `"base64"` in place of `"data"`, as `stentor sub --json` writes it; what is no message is skipped.
//! Every payload gets a stamp in front of its first member, so that what arrives can be verified in any envelope.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;
use serde::{Deserialize, Serializer};
use serde_json::value::RawValue;

use crate::limits::{FRAMES_BYTES_MAX, PAYLOAD_BYTES_MIN};
use crate::stamp::{Payload, Stamp};
use crate::supply::Supply;
use crate::target::Target;

/// Messages in the order of their times.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    topics: Vec<String>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    /// Since the feed's beginning.
    at_ns: u64,
    topic: u32,
    payload: Payload,
}

/// Its messages as a target takes them.
#[derive(Debug)]
pub(crate) struct Replay {
    feed: Arc<Feed>,
    target: Target,
    index: usize,
    next: Vec<u32>,
}

#[derive(Deserialize)]
struct Line<'a> {
    t: Option<f64>,
    topic: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    base64: Option<&'a RawValue>,
}

/// Of a synthetic feed: on average so far apart,
const BURST_EVERY_S: f64 = 5.0;
/// so long,
const BURST_S: f64 = 0.1;
/// and so many times the mean rate. Recordings show 3 to 80 times in 100 ms.
const BURST_FACTOR: f64 = 20.0;
/// Symbols of a synthetic feed, each with trades, quotes and book changes.
const SYMBOLS: usize = 20;
const SEED: u64 = 0xfeed;

impl Feed {
    /// Reads a recording, to be replayed so many times as fast as it was.
    pub(crate) fn read(path: &Path, speed: f64) -> Result<Self, String> {
        let name = path.display();
        let file = File::open(path).map_err(|error| format!("--file {name}: {error}"))?;
        let mut feed = Self::default();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| format!("--file {name}: {error}"))?;
            let wrong = |why: &str| format!("--file {name}, line {}: {why}", number + 1);
            if !line.trim().is_empty() {
                feed.take(&line, speed).map_err(|why| wrong(&why))?;
            }
        }
        feed.finished().ok_or_else(|| format!("--file {name} holds no message"))
    }

    /// Trades, quotes and books of [`SYMBOLS`] symbols for `seconds`, in bursts; `rate_per_s` between these.
    pub(crate) fn synthetic(rate_per_s: f64, seconds: f64) -> Self {
        let mut rng = Rng::with_seed(SEED);
        let mut feed = Self::default();
        for symbol in 0..SYMBOLS {
            feed.topics.extend(["trade", "bbo", "book"].map(|kind| format!("{kind}.SYM{symbol:02}")));
        }
        let (mut at_s, mut burst_s) = (0.0, exponential(&mut rng, BURST_EVERY_S));
        loop {
            let bursting = at_s >= burst_s;
            let factor = if bursting { BURST_FACTOR } else { 1.0 };
            at_s += exponential(&mut rng, 1.0 / (rate_per_s * factor));
            if at_s >= seconds {
                break;
            }
            if bursting && at_s > burst_s + BURST_S {
                burst_s = at_s + exponential(&mut rng, BURST_EVERY_S);
            }
            // Low symbols are busy ones; quotes are the most frequent, books the longest.
            let symbol = rng.usize(..SYMBOLS).min(rng.usize(..SYMBOLS));
            let (kind, bytes) = match rng.u8(..10) {
                0..3 => (0, rng.usize(150..220)),
                3..8 => (1, rng.usize(120..200)),
                _ => (2, rng.usize(300..600) << rng.usize(..3).min(rng.usize(..3))),
            };
            let topic = (symbol * 3 + kind) as u32;
            feed.records.push(Record { at_ns: (at_s * 1e9) as u64, topic, payload: Payload::new(bytes) });
        }
        feed
    }

    /// Stands for it among the parameters of a run: how many messages there are.
    pub(crate) fn described<S: Serializer>(feed: &Arc<Self>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(feed.len())
    }

    /// The topics, by their numbers.
    pub(crate) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    /// When message `index` is due, counted from the first one's time; the last one's for all behind it.
    pub(crate) fn at_ns(&self, index: u64) -> u64 {
        let record = usize::try_from(index).ok().and_then(|index| self.records.get(index));
        record.or(self.records.last()).map_or(0, |record| record.at_ns)
    }

    /// Bytes of the mean payload.
    pub(crate) fn mean_bytes(&self) -> usize {
        let total: usize = self.records.iter().map(|record| record.payload.as_bytes().len()).sum();
        total.checked_div(self.records.len()).unwrap_or_default().max(PAYLOAD_BYTES_MIN)
    }

    fn take(&mut self, line: &str, speed: f64) -> Result<(), String> {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let (Some(topic), Some(payload)) = (line.topic, line.data.or(line.text).or(line.base64)) else {
            return Ok(());
        };
        let t = line.t.filter(|t| (0.0..1e9).contains(t)).ok_or("\"t\" must be seconds, 0 or more")?;
        let number = match self.topics.iter().position(|known| *known == topic) {
            Some(number) => number,
            None => {
                self.topics.push(topic);
                self.topics.len() - 1
            }
        };
        let payload = Payload::around(payload.get());
        self.records.push(Record { at_ns: (t / speed * 1e9) as u64, topic: number as u32, payload });
        let bytes: usize = self.records.len() * size_of::<Record>();
        if bytes > FRAMES_BYTES_MAX {
            Err("the recording is too long to be kept in memory".into())
        } else {
            Ok(())
        }
    }

    /// In order, and from its first message on.
    fn finished(mut self) -> Option<Self> {
        self.records.sort_by_key(|record| record.at_ns);
        let first_ns = self.records.first()?.at_ns;
        self.records.iter_mut().for_each(|record| record.at_ns -= first_ns);
        Some(self)
    }
}

impl Replay {
    /// From the beginning.
    pub(crate) fn new(feed: &Arc<Feed>, target: &Target) -> Self {
        let next = vec![0; feed.topics.len()];
        Self { feed: Arc::clone(feed), target: target.clone(), index: 0, next }
    }
}

impl Supply for Replay {
    fn push(&mut self, out: &mut Vec<u8>, intended_ns: u64) -> u32 {
        let Record { topic, payload, .. } = &self.feed.records[self.index % self.feed.records.len()];
        self.index += 1;
        let seq = &mut self.next[*topic as usize];
        let stamp = Stamp { intended_ns, topic: *topic, seq: *seq };
        let only = self.feed.topics.len() == 1;
        self.target.message(&self.feed.topics[*topic as usize], payload, only).push(out, stamp);
        *seq += 1;
        *topic
    }

    fn bytes_max(&self) -> usize {
        let largest = self.feed.records.iter().map(|record| record.payload.as_bytes().len()).max();
        // The words around it: an operation or a request with a topic of 200 bytes.
        largest.unwrap_or_default() + 1_024
    }
}

fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::tests::stentor;

    #[test]
    fn a_recording_keeps_its_order_its_pace_and_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.ndjson");
        let lines = "{\"t\":1,\"topic\":\"a\",\"seq\":4,\"data\":{\"p\":1.10}}\n\n{\"event\":\"ack\"}\n\
            {\"t\":3,\"topic\":\"b\",\"data\":[1, 2]}\n{\"t\":2,\"topic\":\"a\",\"text\":\"hi\"}\n";
        std::fs::write(&path, lines).unwrap();
        let feed = Arc::new(Feed::read(&path, 2.0).unwrap());
        assert_eq!((feed.topics(), feed.len()), (["a".to_owned(), "b".to_owned()].as_slice(), 3));
        assert_eq!(
            [0, 1, 2, 9].map(|index| feed.at_ns(index)),
            [0, 500_000_000, 1_000_000_000, 1_000_000_000]
        );
        let texts: Vec<_> = feed.records.iter().map(|record| record.payload.as_bytes().to_vec()).collect();
        let zeros = format!("@@T{}", "0".repeat(32));
        let expected = [r#""p":1.10}"#, r#""data":"hi"}"#, r#""data":[1, 2]}"#];
        for (text, rest) in texts.iter().zip(expected) {
            assert_eq!(String::from_utf8_lossy(text), format!("{{\"stamp\":\"{zeros}\",{rest}"));
        }
        let mut replay = Replay::new(&feed, &stentor("ws://h"));
        let topics: Vec<_> = (0..3).map(|_| replay.push(&mut Vec::new(), 0)).collect();
        assert_eq!((topics, replay.next), (vec![0, 0, 1], vec![2, 1]));
    }

    #[test]
    fn a_bad_recording_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.ndjson");
        for (text, words) in
            [("\n{", "line 2"), ("{\"topic\":\"a\",\"data\":1}", "\"t\""), ("", "no message")]
        {
            std::fs::write(&path, text).unwrap();
            assert!(Feed::read(&path, 1.0).unwrap_err().contains(words), "{text}");
        }
        assert!(Feed::read(&folder.path().join("none"), 1.0).is_err());
    }

    #[test]
    fn a_synthetic_feed_has_its_rate_and_its_bursts() {
        let feed = Feed::synthetic(1_000.0, 60.0);
        // 59 of 60 seconds at the rate, and about one at twenty times of it.
        assert!((60_000..120_000).contains(&feed.len()), "{}", feed.len());
        assert!(feed.records.is_sorted_by_key(|record| record.at_ns));
        let in_tenth =
            |tenth: u64| feed.records.iter().filter(|record| record.at_ns / 100_000_000 == tenth).count();
        let busiest = (0..600).map(in_tenth).max().unwrap();
        assert!(busiest > 800, "{busiest} messages in the busiest 100 ms, against 100 on average");
        assert!((100..500).contains(&feed.mean_bytes()) && feed.topics().len() == 60);
    }
}
