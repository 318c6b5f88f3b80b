//! Publishing by HTTP: one request a message on one connection, the answers read as they come.
//!
//! Contract: pure. Requests do not wait for the answers to earlier ones, so that the publisher stays open-loop. Any status but
//! 2xx is an [`Event::Refused`]. Answers need a `Content-Length`, as those of the operator port have.

use super::address::{Address, encode};
use crate::frame::PublishFrame;
use crate::limits::ANSWER_HEAD_BYTES_MAX;
use crate::stamp::Payload;
use crate::walker::{Event, Violation};

pub(super) fn post(address: &Address, topic: &str, payload: &Payload) -> PublishFrame {
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        address.path(&format!("/publish/{}", encode(topic))),
        address.authority,
        payload.as_bytes().len()
    );
    let bytes = [head.as_bytes(), payload.as_bytes()].concat();
    PublishFrame::plain(bytes, head.len() + payload.stamp_at())
}

/// The state of one connection between two reads.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    /// What has come of an answer's head.
    head: Vec<u8>,
    /// The status of an answer whose body is still to come.
    status: u16,
    /// Bytes of that body; 0 between answers.
    remaining: usize,
    /// The body of a refusal.
    said: Vec<u8>,
}

impl Walker {
    /// Takes the next bytes, all of them, unless they break the protocol.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.remaining > 0 {
                let (body, rest) = bytes.split_at(self.remaining.min(bytes.len()));
                bytes = rest;
                self.remaining -= body.len();
                if !is_fine(self.status) {
                    self.said.extend_from_slice(body);
                }
                if self.remaining == 0 {
                    self.end(on);
                }
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            if self.head.ends_with(b"\r\n\r\n") {
                (self.status, self.remaining) = parse(&self.head).ok_or(Violation::Line)?;
                self.head.clear();
                if self.remaining == 0 {
                    self.end(on);
                }
            } else if self.head.len() > ANSWER_HEAD_BYTES_MAX {
                return Err(Violation::Line);
            }
        }
        Ok(())
    }

    fn end(&mut self, on: &mut impl FnMut(Event<'_>)) {
        if !is_fine(self.status) {
            let said = format!("{} {}", self.status, String::from_utf8_lossy(&self.said).trim());
            on(Event::Refused { said: &said });
        }
        self.said.clear();
    }
}

fn is_fine(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Status and length of the body.
fn parse(head: &[u8]) -> Option<(u16, usize)> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })?;
    Some((status, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::tests::STAMP;

    #[test]
    fn a_request_is_what_the_operator_port_takes() {
        let address = Address::operator("http://h:2").unwrap();
        let mut out = Vec::new();
        post(&address, "a b", &Payload::new(64)).push(&mut out, STAMP);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /publish/a%20b HTTP/1.1\r\nHost: h:2\r\n"), "{head}");
        assert!(
            head.ends_with("Content-Length: 64") && body.len() == 64 && body.contains("@@T0123"),
            "{text}"
        );
    }

    #[test]
    fn only_refusals_are_told_wherever_the_answers_are_cut() {
        let wire = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"seq\":\r\n\r\n\
            HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 5\r\n\r\nfull\n\
            HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
        for length in [1, 5, wire.len()] {
            let (mut walker, mut told) = (Walker::default(), Vec::new());
            for piece in wire.chunks(length) {
                walker.feed(piece, &mut |event| told.push(format!("{event:?}"))).unwrap();
            }
            assert_eq!(told, [format!("{:?}", Event::Refused { said: "503 full" })]);
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in
            ["SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
        {
            assert_eq!(Walker::default().feed(text.as_bytes(), &mut |_| ()), Err(Violation::Line), "{text}");
        }
        assert_eq!(Walker::default().feed(&[b'x'; 1 << 17], &mut |_| ()), Err(Violation::Line));
    }
}
