//! Stentor's datagrams, as far as subscribing needs them: one of them is one frame of its TCP, without the length.
//!
//! Contract: pure. [`asks`] are the operations of a subscriber, each small enough that its answer is one datagram too; whoever
//! sends them adds the cookie. [`Walker::feed`] takes one whole datagram. A sign of life is an answer here, and is not answered.

use serde_json::{Value, json};

use super::tcp::{DATA, HEARTBEAT, JSON, SNAPSHOT, tell};
use crate::limits::DATAGRAM_ACK_BYTES_MAX;
use crate::stamp::Scanner;
use crate::walker::{Event, Violation};

/// Of an ack: what a topic takes beside its name, with its class, epoch, sequence and alias.
const GRANTED_BYTES: usize = 128;

/// What is asked one after the other, to subscribe to all of `topics` or to leave them.
pub(crate) fn asks(operation: &str, topics: &[String]) -> Vec<Value> {
    let (mut asks, mut room): (Vec<Vec<&str>>, usize) = (Vec::new(), 0);
    for topic in topics {
        let bytes = topic.len() + GRANTED_BYTES;
        if bytes > room {
            asks.push(Vec::new());
            room = DATAGRAM_ACK_BYTES_MAX;
        }
        room = room.saturating_sub(bytes);
        asks.last_mut().into_iter().for_each(|ask| ask.push(topic));
    }
    let numbered = asks.iter().zip(1..);
    numbered.map(|(args, id)| json!({ "op": operation, "id": id, "args": args })).collect()
}

/// What is known of one subscriber between two datagrams, which is nothing.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    closed: bool,
}

impl Walker {
    /// Takes a datagram.
    pub(crate) fn feed(&mut self, datagram: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        match datagram.split_first() {
            None | Some((&HEARTBEAT, _)) => {}
            Some((&(DATA | SNAPSHOT), body)) if !self.closed => {
                let mut stamped = false;
                Scanner::default().scan(body, &mut |stamp| {
                    stamped = true;
                    on(Event::Stamp(stamp));
                });
                if !stamped {
                    on(Event::Unstamped);
                }
            }
            Some((&JSON, said)) if !self.closed => self.closed = tell(said, on),
            Some((&(DATA | SNAPSHOT | JSON), _)) => {}
            Some((&kind, _)) => return Err(Violation::Kind(kind)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::tests::STAMP;

    #[test]
    fn a_datagram_is_a_frame() {
        let (mut walker, mut told) = (Walker::default(), Vec::new());
        let stamped =
            [b"D\0\0\0\x07\0\0\0\0\0\0\x01\x02{\"stamp\":\"", &STAMP.to_bytes()[..], b"\"}"].concat();
        for datagram in [
            &stamped[..],
            b"",
            b"H",
            b"S\0\0\0\x07\0\0\0\0\0\0\x01\x02other",
            br#"J{"event":"close","code":4003,"reason":"lease"}"#,
            &stamped,
        ] {
            walker.feed(datagram, &mut |event| told.push(format!("{event:?}"))).unwrap();
        }
        let expected =
            [Event::Stamp(STAMP), Event::Unstamped, Event::Close { code: Some(4003), reason: "lease" }];
        assert_eq!(told, expected.map(|event| format!("{event:?}")));
        assert_eq!(walker.feed(b"Pno", &mut |_| ()), Err(Violation::Kind(b'P')));
    }

    #[test]
    fn no_ask_has_an_answer_larger_than_a_datagram() {
        let topics: Vec<String> = (0..100).map(|number| format!("topic-{number}")).collect();
        let asks = asks("subscribe", &topics);
        let named = |ask: &Value| ask["args"].as_array().unwrap().clone();
        assert_eq!(asks.iter().flat_map(named).collect::<Vec<_>>(), topics);
        assert!(asks.iter().all(|ask| named(ask).len() * GRANTED_BYTES < DATAGRAM_ACK_BYTES_MAX));
        assert_eq!(super::asks("subscribe", &["x".repeat(200)]).len(), 1);
    }
}
