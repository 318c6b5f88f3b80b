//! Everybody who listens to the floor: their sockets, and one send for each.
//!
//! Contract: a message is sent whole or not at all. What a socket took half of is completed by the listener's own task; what comes
//! meanwhile, or finds the socket full, is dropped, and the verification sees it. There is no queue.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::inbox::{Heard, Inbox};

/// All listeners; the index of one is its own until it leaves.
#[derive(Debug, Default)]
pub(super) struct Audience {
    places: Vec<Option<Rc<Listener>>>,
    free: Vec<usize>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Listener {
    stream: TcpStream,
    /// The rest of what its socket took half of; empty nearly always.
    unsent: RefCell<Vec<u8>>,
    rest: Notify,
}

impl Audience {
    /// Takes a connection in.
    pub(super) fn join(&mut self, stream: TcpStream) -> (usize, Rc<Listener>) {
        let listener = Rc::new(Listener { stream, unsent: RefCell::default(), rest: Notify::new() });
        let index = self.free.pop().unwrap_or(self.places.len());
        if index == self.places.len() {
            self.places.push(None);
        }
        self.places[index] = Some(Rc::clone(&listener));
        (index, listener)
    }

    /// Forgets one.
    pub(super) fn leave(&mut self, index: usize) {
        self.places[index] = None;
        self.free.push(index);
    }

    /// One send to each.
    pub(super) fn send(&self, bytes: &[u8]) {
        for listener in self.places.iter().flatten() {
            listener.send(bytes);
        }
    }
}

impl Listener {
    fn send(&self, bytes: &[u8]) {
        let mut unsent = self.unsent.borrow_mut();
        if !unsent.is_empty() {
            return;
        }
        // An error of the socket also ends the listener's task.
        if let Ok(written) = self.stream.try_write(bytes)
            && written < bytes.len()
        {
            unsent.extend_from_slice(&bytes[written..]);
            self.rest.notify_one();
        }
    }

    /// Lasts as long as the connection.
    pub(super) async fn attend(&self) -> io::Result<()> {
        let mut inbox = Inbox::default();
        let mut ignored = Vec::new();
        loop {
            tokio::select! {
                ready = self.stream.readable() => ready?,
                () = self.rest.notified() => {
                    self.complete().await?;
                    continue;
                }
            }
            let mut bytes = [0; 256];
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => match inbox.take(&bytes[..length], &mut ignored, Vec::clear) {
                    Ok(Heard::Frames) => {}
                    Ok(Heard::Close) | Err(_) => return Ok(()),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn complete(&self) -> io::Result<()> {
        while !self.unsent.borrow().is_empty() {
            self.stream.writable().await?;
            let mut unsent = self.unsent.borrow_mut();
            match self.stream.try_write(&unsent) {
                Ok(written) => drop(unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
