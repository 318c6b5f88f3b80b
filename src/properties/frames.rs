//! Frames from clients: how the bytes are cut by the network changes nothing of what they say.

use crate::message::wire::Wire;
use crate::transport::inbound::{Decoder, Decoders, Inbound};
use crate::transport::udp::{self, Datagram};

/// Bytes a message may have here.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// Holds of any bytes, in pieces of these lengths by turns.
///
/// # Panics
/// Where it does not hold.
pub fn hold(wire: Wire, bytes: &[u8], cuts: &[usize]) {
    if wire == Wire::Udp {
        return hold_datagram(bytes);
    }
    let whole = decoded(wire, bytes, &[usize::MAX]);
    assert_eq!(decoded(wire, bytes, cuts), whole, "cut as {cuts:?}");
}

/// Nobody cuts a datagram; what it publishes is what the same frame does over TCP.
fn hold_datagram(bytes: &[u8]) {
    let read = udp::Reader::default().read(bytes);
    if let Some(Datagram::Publish(topic, payload)) = read
        && bytes.len() <= MESSAGE_BYTES_MAX
    {
        let framed = [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        assert_eq!(decoded(Wire::Tcp, &framed, &[usize::MAX]), [Inbound::Publish(topic, payload)]);
    }
}

/// What the bytes say, in such pieces, by a decoder that is given back whenever it holds nothing, as connections do.
pub(crate) fn decoded(wire: Wire, mut bytes: &[u8], cuts: &[usize]) -> Vec<Inbound> {
    let mut decoders = Decoders::new(MESSAGE_BYTES_MAX);
    let mut decoder: Option<Box<Decoder>> = None;
    let mut seen = Vec::new();
    for cut in cuts.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*cut).clamp(1, bytes.len()));
        bytes = rest;
        let current = decoder.get_or_insert_with(|| decoders.lend(wire));
        current.feed(piece);
        seen.extend(std::iter::from_fn(|| current.next()));
        if matches!(seen.last(), Some(Inbound::Close(_) | Inbound::Violation(..))) {
            break;
        }
        if let Some(idle) = decoder.take_if(|decoder| decoder.is_idle()) {
            decoders.give_back(idle);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tcp;
    use crate::properties::generated::{cases, topic};
    use crate::protocol::close::{CloseCode, Reason};
    use proptest::prelude::*;

    /// A masked frame of a client.
    fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(0x80 | len as u8),
            len => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// One thing that a client sends, as bytes and as it is understood.
    fn sent() -> impl Strategy<Value = (Vec<u8>, Vec<Inbound>)> {
        let text = "\\PC{0,60}".prop_map(|text| (0x1, text.into_bytes()));
        let binary = prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (0x2, bytes));
        let ping = prop::collection::vec(any::<u8>(), 0..20);
        let whole = (
            prop_oneof![text, binary],
            any::<[u8; 4]>(),
            any::<prop::sample::Index>(),
            proptest::option::of(ping),
        );
        let message = whole.prop_map(|((opcode, payload), mask, at, ping)| {
            let said = if opcode == 0x1 {
                Inbound::Text(payload.clone().into())
            } else {
                Inbound::Binary(payload.clone().into())
            };
            let Some(ping) = ping else { return (frame(0x80 | opcode, &payload, mask), vec![said]) };
            // In two fragments, with a ping between them.
            let (first, second) = payload.split_at(at.index(payload.len() + 1));
            let bytes =
                [frame(opcode, first, mask), frame(0x89, &ping, mask), frame(0x80, second, mask)].concat();
            (bytes, vec![Inbound::Ping(ping.into()), said])
        });
        prop_oneof![
            4 => message,
            1 => any::<[u8; 4]>().prop_map(|mask| (frame(0x8A, b"pong", mask), vec![Inbound::Pong])),
        ]
    }

    fn stream() -> impl Strategy<Value = (Vec<u8>, Vec<Inbound>)> {
        let close = (any::<[u8; 4]>(), any::<bool>()).prop_map(|(mask, closes)| {
            let said = vec![Inbound::Close(CloseCode::NORMAL)];
            if closes { (frame(0x88, &[0x03, 0xE8], mask), said) } else { (Vec::new(), Vec::new()) }
        });
        (prop::collection::vec(sent(), 0..8), close).prop_map(|(sent, close)| {
            let (bytes, said): (Vec<_>, Vec<_>) = sent.into_iter().chain([close]).unzip();
            (bytes.concat(), said.into_iter().flatten().collect())
        })
    }

    /// One length-prefixed frame and what it says: a message, an operation, a sign of life; or a length, up to the
    /// greatest, that ends it all.
    fn tcp_frame() -> impl Strategy<Value = (Vec<u8>, Vec<Inbound>)> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        let publish = (topic(), bytes()).prop_map(|(topic, payload)| {
            let name = topic.as_str().as_bytes();
            let body = [&(name.len() as u16).to_be_bytes()[..], name, &payload].concat();
            (tcp::frame(tcp::PUBLISH, &body), vec![Inbound::Publish(topic, payload.into())])
        });
        let operation = any::<String>().prop_map(|text| {
            (tcp::frame(tcp::JSON, text.as_bytes()), vec![Inbound::Text(text.into_bytes().into())])
        });
        let beat = Just(tcp::frame(tcp::HEARTBEAT, b"")).prop_map(|bytes| (bytes, vec![Inbound::Pong]));
        prop_oneof![4 => publish, 3 => operation, 1 => beat]
    }

    fn tcp_stream() -> impl Strategy<Value = (Vec<u8>, Vec<Inbound>)> {
        let length_max = MESSAGE_BYTES_MAX as u32;
        let end =
            prop::option::of(prop_oneof![Just(length_max + 1), Just(u32::MAX), length_max + 1..=u32::MAX]);
        (prop::collection::vec(tcp_frame(), 0..8), end).prop_map(|(sent, end)| {
            let (bytes, mut said): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
            let mut bytes = bytes.concat();
            if let Some(length) = end {
                bytes.extend_from_slice(&length.to_be_bytes());
                let text =
                    format!("a frame of {length} bytes is over {MESSAGE_BYTES_MAX} (limits.message_bytes)");
                let reason = Reason::TooBig;
                said.push(vec![
                    Inbound::Malformed("too_large", text),
                    Inbound::Violation(reason, reason.code(), "frame too large".to_owned()),
                ]);
            }
            (bytes, said.into_iter().flatten().collect())
        })
    }

    fn cuts() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(prop_oneof![1..4_usize, 1..200_usize], 1..6)
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn frames_say_what_was_sent_however_they_are_cut((bytes, said) in stream(), cuts in cuts()) {
            prop_assert_eq!(decoded(Wire::WebSocket, &bytes, &cuts), said);
        }

        #[test]
        fn a_broken_stream_breaks_at_the_same_place_however_it_is_cut(
            (mut bytes, _) in stream(),
            slips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cuts in cuts(),
        ) {
            for (at, byte) in slips {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            hold(Wire::WebSocket, &bytes, &cuts);
        }

        #[test]
        fn any_bytes_are_frames_or_a_violation(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in cuts()) {
            hold(Wire::WebSocket, &bytes, &cuts);
            hold(Wire::Tcp, &bytes, &cuts);
        }

        #[test]
        fn tcp_frames_say_what_was_sent_however_they_are_cut((bytes, said) in tcp_stream(), cuts in cuts()) {
            prop_assert_eq!(decoded(Wire::Tcp, &bytes, &cuts), said);
        }
    }
}
