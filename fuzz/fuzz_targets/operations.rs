//! Every text is an operation that is known, or is refused in words that a client can read.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| stentor::properties::operations::hold(text));
