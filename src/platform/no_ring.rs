//! Where there is no io_uring, or it was left out.

use super::Sending;
use std::convert::Infallible;
use std::io;

/// Never made.
#[derive(Debug)]
pub(crate) struct Ring(Infallible);

impl Ring {
    pub(crate) fn new() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no io_uring"))
    }

    pub(crate) fn send_all<'a>(
        &mut self,
        _: impl Iterator<Item = Sending<'a>>,
        _: impl FnMut(usize, io::Result<usize>),
    ) -> usize {
        match self.0 {}
    }
}
