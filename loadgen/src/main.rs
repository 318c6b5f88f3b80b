//! `stentor-loadgen`: drives a fan-out server and verifies what every subscriber got.

fn main() {}
