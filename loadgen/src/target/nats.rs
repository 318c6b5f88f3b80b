//! NATS's core protocol over TCP, as far as subscribing and publishing need it.
//!
//! Contract: pure. [`Walker::feed`] takes a server's stream in any pieces and tells what the WebSocket walker tells: stamps,
//! messages without one, pings, and an error as the close that follows it. Headers and authentication are not spoken.

use super::wire::Wire;
use super::{Answer, Call};
use crate::frame::PublishFrame;
use crate::stamp::{Payload, Scanner};
use crate::walker::{Event, Violation};

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
const PING: &str = "PING\r\n";
/// The answer to a ping.
pub(crate) const PONG: &[u8] = b"PONG\r\n";

/// The longest control line that is collected; INFO, the longest, is cut there, since nothing in it is needed.
const LINE_BYTES_MAX: usize = 4_096;

pub(super) fn subscriber(topics: &[String]) -> Call {
    let subscribed: String =
        topics.iter().enumerate().map(|(index, topic)| format!("SUB {topic} {}\r\n", index + 1)).collect();
    call(&subscribed)
}

pub(super) fn publisher() -> Call {
    call("")
}

/// What the server answers to the ping behind them, it has taken in.
fn call(requests: &str) -> Call {
    let hello = format!("{CONNECT}{requests}{PING}").into_bytes();
    let answer = Some(Answer { granted: "PONG\r\n".to_owned(), refused: vec!["-ERR"] });
    Call { hello, answer, ..Call::plain(Wire::Nats) }
}

pub(super) fn message(topic: &str, payload: &Payload) -> PublishFrame {
    let line = format!("PUB {topic} {}\r\n", payload.as_bytes().len());
    let bytes = [line.as_bytes(), payload.as_bytes(), b"\r\n"].concat();
    PublishFrame::plain(bytes, line.len() + payload.stamp_at())
}

/// The state of one connection between two reads.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    /// The control line that has begun, without its end.
    line: Vec<u8>,
    /// Bytes of the current message that are still to come, the line end behind it included; 0 between messages.
    remaining: u64,
    /// True exactly when the current message has held a stamp.
    stamped: bool,
    scanner: Scanner,
}

impl Walker {
    /// Takes the next bytes, all of them, unless they break the protocol.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        while !bytes.is_empty() {
            if self.remaining > 0 {
                bytes = self.message(bytes, on);
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            bytes = rest;
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                self.line(line.trim_ascii_end(), on)?;
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// Takes what belongs to the current message, and gives the rest.
    fn message<'a>(&mut self, bytes: &'a [u8], on: &mut impl FnMut(Event<'_>)) -> &'a [u8] {
        let take = usize::try_from(self.remaining).map_or(bytes.len(), |n| n.min(bytes.len()));
        let (piece, rest) = bytes.split_at(take);
        let stamped = &mut self.stamped;
        self.scanner.scan(piece, &mut |stamp| {
            *stamped = true;
            on(Event::Stamp(stamp));
        });
        self.remaining -= take as u64;
        if self.remaining == 0 && !self.stamped {
            on(Event::Unstamped);
        }
        rest
    }

    fn line(&mut self, line: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("MSG") => {
                let bytes: u64 = words.last().and_then(|word| word.parse().ok()).ok_or(Violation::Line)?;
                self.remaining = bytes.saturating_add(2);
                self.stamped = false;
                self.scanner.reset();
            }
            Some("PING") => on(Event::Ping(&[])),
            Some("-ERR") => on(Event::Close { code: None, reason: text.trim() }),
            Some("INFO" | "PONG" | "+OK") | None => {}
            Some(_) => return Err(Violation::Line),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;
    use crate::stamp::tests::STAMP;

    fn events(pieces: impl Iterator<Item = Vec<u8>>) -> Result<Vec<String>, Violation> {
        let (mut walker, mut events) = (Walker::default(), Vec::new());
        for piece in pieces {
            walker.feed(&piece, &mut |event| events.push(format!("{event:?}")))?;
        }
        Ok(events)
    }

    #[test]
    fn a_stream_is_read_wherever_it_is_cut() {
        let mut frame = message("a.b", &Payload::new(100));
        let mut published = Vec::new();
        frame.push(&mut published, STAMP);
        frame.push(&mut published, Stamp { seq: 7, ..STAMP });
        assert!(published.starts_with(b"PUB a.b 100\r\n{\"stamp\":\"@@T"));
        let delivered = String::from_utf8(published).unwrap().replace("PUB a.b", "MSG a.b 1");
        let wire = format!(
            "INFO {{\"max\":1}}\r\nPONG\r\n{delivered}PING\r\nMSG x 2 _reply 5\r\nhello\r\n-ERR 'No'\r\n"
        );
        let expected = [
            format!("{:?}", Event::Stamp(STAMP)),
            format!("{:?}", Event::Stamp(Stamp { seq: 7, ..STAMP })),
            format!("{:?}", Event::Ping(&[])),
            format!("{:?}", Event::Unstamped),
            format!("{:?}", Event::Close { code: None, reason: "-ERR 'No'" }),
        ];
        for length in [1, 2, 3, 17, wire.len()] {
            let pieces = wire.as_bytes().chunks(length).map(<[u8]>::to_vec);
            assert_eq!(events(pieces).unwrap(), expected, "in pieces of {length}");
        }
    }

    #[test]
    fn what_is_not_nats_is_refused_and_a_long_info_is_not_kept() {
        for text in ["HTTP/1.1 400 Bad Request\r\n", "MSG a 1 many\r\n", "MSG\r\n"] {
            assert_eq!(events([text.into()].into_iter()), Err(Violation::Line), "{text}");
        }
        let mut walker = Walker::default();
        walker.feed(&vec![b'x'; 1 << 20], &mut |_| ()).unwrap();
        assert!(walker.line.len() <= LINE_BYTES_MAX);
    }

    #[test]
    fn a_subscriber_waits_for_the_pong_behind_its_subscriptions() {
        let call = subscriber(&["a".into(), "b".into()]);
        let said = String::from_utf8(call.hello).unwrap();
        assert!(said.starts_with("CONNECT {") && said.ends_with("SUB a 1\r\nSUB b 2\r\nPING\r\n"), "{said}");
        assert_eq!(call.answer.unwrap().granted.as_bytes(), PONG);
    }
}
