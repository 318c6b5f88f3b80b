//! What a client's bytes say does not depend on how they are cut. The first two bytes are the lengths of the
//! pieces, by turns.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let [odd, even, bytes @ ..] = bytes {
        stentor::properties::frames::hold(bytes, &[usize::from(*odd), usize::from(*even)]);
    }
});
