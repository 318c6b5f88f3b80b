//! Many sends in one system call, by io_uring.
//!
//! Contract:
//! 1. When a call returns, nothing refers to its bytes or sockets any more.
//! 2. A send that took everything says nothing; every other one is told, once.
//!
//! Each send is marked so that the kernel finishes it inside the call: `MSG_DONTWAIT` forbids it to wait or to hand
//! the send to a worker, and `MSG_WAITALL` makes a short send an exception that is told with what it took. Without
//! `MSG_WAITALL` a short send is a success, and `SKIP_SUCCESS` would swallow it.
//!
//! Tried and left out: registered sockets (no gain, and they outlive their close); more sends a call (readers
//! wait for them).

use super::Sending;
use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, types};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;

/// Sends of one call.
const SENDS_MAX: usize = crate::limits::SENDS_PER_YIELD;
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// See the module. It belongs to the thread that made it.
pub(crate) struct Ring {
    /// `None` once it has failed in the middle of a call.
    ring: Option<IoUring>,
}

impl Ring {
    /// Sets a ring up, and tries on a pair of sockets that it keeps the contract here.
    ///
    /// # Errors
    /// The kernel has no io_uring, forbids it, or has one that behaves otherwise.
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .build(SENDS_MAX as u32)?;
        let mut ring = Self { ring: Some(ring) };
        ring.try_out()?;
        Ok(ring)
    }

    /// Sends to each socket; tells `short` which of them did not take everything, and what became of it. Returns
    /// how many were tried, from the first: fewer than all means that the ring has failed and will try no more.
    pub(crate) fn send_all<'a>(
        &mut self,
        sendings: impl Iterator<Item = Sending<'a>>,
        mut short: impl FnMut(usize, io::Result<usize>),
    ) -> usize {
        let Some(mut ring) = self.ring.take() else { return 0 };
        let mut pushed = 0;
        for sending in sendings.take(SENDS_MAX) {
            let socket = types::Fd(sending.socket.as_raw_fd());
            // Every buffer given to the ring came out of a `Vec` of far less than 4 GiB.
            let len = u32::try_from(sending.bytes.len()).unwrap_or(u32::MAX);
            let entry = opcode::Send::new(socket, sending.bytes.as_ptr(), len)
                .flags(SEND_FLAGS)
                .build()
                .flags(Flags::SKIP_SUCCESS)
                .user_data(pushed as u64);
            // SAFETY: the socket and the bytes are borrowed for longer than this call. Every entry pushed is either
            // taken by the kernel within it, which by its flags also finishes it, or goes down unsubmitted with the
            // ring: that is a local here, dropped unless all were taken, and dropped if the iterator unwinds.
            if unsafe { ring.submission().push(&entry) }.is_err() {
                break;
            }
            pushed += 1;
        }
        let left = submit(&mut ring);
        let tried = pushed - left.min(pushed);
        let exceptions = ring.completion().map(|done| (done.user_data() as usize, done.result()));
        let exceptions: [Option<(usize, i32)>; SENDS_MAX] = first(exceptions);
        if left == 0 {
            self.ring = Some(ring);
        } else {
            // Before the bytes may go: what is left in it must never be submitted.
            drop(ring);
        }
        for (at, result) in exceptions.into_iter().flatten() {
            short(at, usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result)));
        }
        tried
    }

    /// One send that fits, and one that cannot.
    fn try_out(&mut self) -> io::Result<()> {
        let unfit = || io::Error::new(io::ErrorKind::Unsupported, "its sends behave in another way here");
        let (here, mut there) = UnixStream::pair()?;
        here.set_nonblocking(true)?;
        there.set_nonblocking(true)?;
        let much = vec![7; 1 << 20];
        let mut told = Vec::new();
        for bytes in [&much[..1], &much] {
            let sending = Sending { socket: here.as_fd(), bytes };
            if self.send_all([sending].into_iter(), |_, result| told.push(result)) != 1 {
                return Err(unfit());
            }
        }
        let mut arrived = 0;
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = there.read(&mut buffer) {
            arrived += read;
        }
        match told[..] {
            [Ok(taken)] if taken > 0 && arrived == taken + 1 => Ok(()),
            _ => Err(unfit()),
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ring").field("is_working", &self.ring.is_some()).finish()
    }
}

/// Has the kernel take every entry; returns how many it refused to take.
fn submit(ring: &mut IoUring) -> usize {
    let mut attempts = 0;
    loop {
        let taken = ring.submit();
        let left = ring.submission().len();
        match taken {
            _ if left == 0 => return 0,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return left,
        }
        attempts += 1;
        if attempts > SENDS_MAX {
            return left;
        }
    }
}

fn first<T: Copy>(items: impl Iterator<Item = T>) -> [Option<T>; SENDS_MAX] {
    let mut places = [None; SENDS_MAX];
    for (place, item) in places.iter_mut().zip(items) {
        *place = Some(item);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        here.set_nonblocking(true).expect("an option");
        (here, listener.accept().expect("the other end").0)
    }

    /// Told are exactly those that did not take everything: one that is full, and one that is shut.
    #[test]
    fn exceptions_are_told_and_nothing_else() {
        let Ok(mut ring) = Ring::new() else {
            eprintln!("no io_uring here: nothing to test");
            return;
        };
        let pairs: Vec<_> = (0..3).map(|_| pair()).collect();
        pairs[2].0.shutdown(std::net::Shutdown::Write).expect("open until now");
        let much = vec![1; 64 << 20];
        let bytes = [&much[..10], &much, &much[..10]];
        let sendings: Vec<_> =
            pairs.iter().zip(bytes).map(|(pair, bytes)| Sending { socket: pair.0.as_fd(), bytes }).collect();
        let mut told = Vec::new();
        assert_eq!(ring.send_all(sendings.iter().copied(), |at, result| told.push((at, result))), 3);
        told.sort_by_key(|(at, _)| *at);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0].0, 1);
        let mut taken = *told[0].1.as_ref().expect("some of it");
        assert!(taken > 0 && taken < much.len());
        assert_eq!((told[1].0, told[1].1.as_ref().expect_err("shut").kind()), (2, io::ErrorKind::BrokenPipe));

        // What was told to be taken is what arrives, and a full socket takes nothing more: full it is once the kernel
        // has moved what it may to the other end, which it does whenever it likes.
        let refused = loop {
            let mut more = Vec::new();
            ring.send_all(sendings[1..2].iter().copied(), |_, result| more.push(result));
            match more.pop().expect("told") {
                Ok(bytes) => taken += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(sendings);
        let mut streams = pairs.into_iter().map(|(here, there)| {
            drop(here);
            there
        });
        let mut arrived = Vec::new();
        streams.next().expect("the first").read_to_end(&mut arrived).expect("an end");
        assert_eq!(arrived.len(), 10);
        arrived.clear();
        streams.next().expect("the second").read_to_end(&mut arrived).expect("an end");
        assert_eq!(arrived.len(), taken);
    }
}
