use super::*;
use crate::stamp::STAMP_BYTES;

const STAMP: Stamp = Stamp { intended_ns: 0x1122_3344_5566_7788, topic: 4, seq: 9 };

/// An unmasked frame, as a server sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=0xffff => {
            out.push(126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend(payload);
    out
}

fn stamped(size: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; size - STAMP_BYTES];
    let at = payload.len() / 3;
    payload.splice(at..at, STAMP.to_bytes());
    payload
}

/// Feeds the pieces and writes each event down as a line.
fn walk<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Result<(), Violation>) {
    let mut walker = Walker::default();
    let mut lines = Vec::new();
    for piece in pieces {
        let fed = walker.feed(piece, &mut |event| lines.push(format!("{event:?}")));
        if fed.is_err() {
            return (lines, fed);
        }
    }
    (lines, Ok(()))
}

fn lines(events: &[Event<'_>]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn the_same_events_come_out_wherever_the_stream_is_cut() {
    let payload = stamped(200);
    let mut stream = frame(0x81, &stamped(90));
    stream.extend(frame(0x89, b"ping"));
    stream.extend(frame(0x82, b""));
    stream.extend(frame(0x01, &payload[..70]));
    stream.extend(frame(0x89, b""));
    stream.extend(frame(0x00, &payload[70..140]));
    stream.extend(frame(0x8a, b"unasked pong"));
    stream.extend(frame(0x80, &payload[140..]));
    stream.extend(frame(0x81, b"{\"event\":\"slow\"}"));
    stream.extend(frame(0x88, b"\x0f\xa1last 41"));
    stream.extend(frame(0x81, &stamped(90)));
    let expected = lines(&[
        Event::Stamp(STAMP),
        Event::Ping(b"ping"),
        Event::Unstamped,
        Event::Ping(b""),
        Event::Stamp(STAMP),
        Event::Unstamped,
        Event::Close { code: Some(4001), reason: "last 41" },
    ]);
    for a in 0..=stream.len() {
        for b in a..=stream.len() {
            let got = walk([&stream[..a], &stream[a..b], &stream[b..]]);
            assert_eq!(got, (expected.clone(), Ok(())), "cut at {a} and {b}");
        }
    }
    assert_eq!(walk(stream.chunks(1)), (expected, Ok(())));
}

#[test]
fn lengths_of_every_form_are_walked_over() {
    for size in [STAMP_BYTES, 125, 126, 127, 65_535, 65_536, 300_000] {
        let mut stream = frame(0x81, &stamped(size));
        stream.extend(frame(0x81, &stamped(size)));
        for chunk in [7, 4_096, usize::MAX] {
            let (events, end) = walk(stream.chunks(chunk.min(stream.len())));
            assert_eq!((events, end), (lines(&[Event::Stamp(STAMP), Event::Stamp(STAMP)]), Ok(())), "{size}");
        }
    }
}

#[test]
fn a_message_may_hold_several_stamps() {
    let payload = [STAMP.to_bytes(), STAMP.to_bytes()].concat();
    assert_eq!(walk([&frame(0x82, &payload)[..]]).0, lines(&[Event::Stamp(STAMP), Event::Stamp(STAMP)]));
}

#[test]
fn half_a_stamp_in_one_message_and_half_in_the_next_is_none() {
    let stamp = STAMP.to_bytes();
    let stream = [frame(0x81, &stamp[..15]), frame(0x81, &stamp[15..])].concat();
    assert_eq!(walk([&stream[..]]).0, lines(&[Event::Unstamped, Event::Unstamped]));
}

#[test]
fn a_close_may_have_no_code_a_code_or_a_reason() {
    for (payload, code, reason) in [
        (&b""[..], None, ""),
        (&b"\x03\xe8"[..], Some(1000), ""),
        (&b"\x03\xf4restarting"[..], Some(1012), "restarting"),
        (&b"\x03\xf4\xff"[..], Some(1012), "\u{fffd}"),
    ] {
        let event = Event::Close { code, reason };
        assert_eq!(walk([&frame(0x88, payload)[..]]).0, lines(&[event]));
    }
}

#[test]
fn what_breaks_the_protocol_is_named() {
    let long = [0x88, 126, 0, 200];
    let huge = [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255];
    let open = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
    for (bytes, violation) in [
        (&[0x81, 0x85][..], Violation::Masked),
        (&[0xc1, 0x01][..], Violation::ReservedBits),
        (&[0x83, 0x01][..], Violation::Opcode(3)),
        (&[0x09, 0x00][..], Violation::Control),
        (&long[..], Violation::Control),
        (&[0x80, 0x01][..], Violation::Fragmentation),
        (&open[..], Violation::Fragmentation),
        (&huge[..], Violation::Length),
        (&[0x88, 0x01, 0x03][..], Violation::Close),
    ] {
        assert_eq!(walk([bytes]).1, Err(violation), "{bytes:?}");
    }
}
