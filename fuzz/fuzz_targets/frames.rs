//! What a client's bytes say does not depend on how they are cut. The first byte chooses the wire, the next two are the
//! lengths of the pieces, by turns.

#![no_main]

use stentor::message::wire::Wire;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let [wire, odd, even, bytes @ ..] = bytes {
        let wire = [Wire::WebSocket, Wire::Tcp, Wire::Udp][usize::from(wire % 3)];
        stentor::properties::frames::hold(wire, bytes, &[usize::from(*odd), usize::from(*even)]);
    }
});
