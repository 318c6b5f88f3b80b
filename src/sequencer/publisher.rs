//! The handle to the sequencer: what a publisher holds. Cheap to clone, never blocks a thread.

use super::request::{Receipt, Reply, Request};
use crate::error::PublishError;
use crate::mailbox::{Mailbox, Refused};
use crate::message::Payload;
use crate::protocol::outcome::Refusal;
use crate::protocol::topic::{TopicError, TopicName};
use std::sync::Arc;
use tokio::sync::Notify;

pub use crate::protocol::outcome::Published;

/// What became of a publish: accepted is kept, full is a value and not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a full queue accepts nothing: publish again, later or never"]
pub enum Accepted {
    /// The message has its place in the sequencer's queue; everyone subscribed there will be sent it.
    Yes,
    /// The sequencer's queue is full: nothing was taken. [`Publisher::ready`] waits for room.
    Full,
}

/// Publishes into a running server.
#[derive(Clone, Debug)]
pub struct Publisher {
    requests: Arc<Mailbox<Request>>,
    /// What those wait on who found the queue full.
    room: Arc<Notify>,
    message_bytes_max: usize,
}

impl Publisher {
    pub(crate) fn new(requests: Arc<Mailbox<Request>>, room: Arc<Notify>, message_bytes_max: usize) -> Self {
        Self { requests, room, message_bytes_max }
    }

    /// Publishes one message.
    ///
    /// Text that parses as JSON is JSON, other UTF-8 is text, the rest binary; [`Payload`] says it explicitly.
    /// A [`TopicName`] made once spares checking the name again.
    ///
    /// # Errors
    /// The name is not a topic name or reserved, the payload is over the limit, or the server is shutting down.
    pub fn publish<T>(&self, topic: T, payload: impl Into<Payload>) -> Result<Accepted, PublishError>
    where
        T: TryInto<TopicName>,
        TopicError: From<T::Error>,
    {
        let topic = topic.try_into().map_err(TopicError::from)?;
        self.offer(self.request(topic, payload.into(), None)?)
    }

    /// Publishes one message and waits, without blocking the thread, for room and for its place.
    ///
    /// # Errors
    /// As [`Publisher::publish`]; and the server's table of topics may be full.
    pub async fn publish_and_wait<T>(
        &self,
        topic: T,
        payload: impl Into<Payload>,
    ) -> Result<Published, PublishError>
    where
        T: TryInto<TopicName>,
        TopicError: From<T::Error>,
    {
        let topic = topic.try_into().map_err(TopicError::from)?;
        let (tell, told) = tokio::sync::oneshot::channel();
        let reply = Reply::new(move |outcome: Result<Published, Refusal>| {
            // Whoever asked may have gone; then nobody wants to know.
            let _ = tell.send(outcome);
        });
        let request = self.request(topic, payload.into(), Some(Receipt::Caller(reply)))?;
        self.send(request).await?;
        Ok(told.await.map_err(|_| PublishError::Closed)??)
    }

    /// Waits until the sequencer's queue has room again; another publisher may be faster.
    pub async fn ready(&self) {
        let mut woken = std::pin::pin!(self.room.notified());
        woken.as_mut().enable();
        self.requests.vacancy.arm();
        if self.requests.is_half_full() {
            woken.await;
        }
    }

    /// Checks what a publisher may get wrong and makes the request.
    pub(crate) fn request(
        &self,
        topic: TopicName,
        payload: Payload,
        receipt: Option<Receipt>,
    ) -> Result<Request, PublishError> {
        if topic.is_reserved() {
            return Err(PublishError::Reserved);
        }
        if payload.len() > self.message_bytes_max {
            return Err(PublishError::TooLarge { bytes: payload.len(), max: self.message_bytes_max });
        }
        Ok(Request::Publish { topic, payload, receipt })
    }

    /// Posts a request if there is room.
    pub(crate) fn offer(&self, request: Request) -> Result<Accepted, PublishError> {
        match self.requests.post(request) {
            Ok(()) => Ok(Accepted::Yes),
            Err(Refused::Full(_)) => Ok(Accepted::Full),
            Err(Refused::Closed(_)) => Err(PublishError::Closed),
        }
    }

    /// Posts a request, or gives it back.
    pub(crate) fn post(&self, request: Request) -> Result<(), Refused<Request>> {
        self.requests.post(request)
    }

    /// Posts a request, waiting for room with the request in hand.
    pub(crate) async fn send(&self, mut request: Request) -> Result<(), PublishError> {
        loop {
            request = match self.requests.post(request) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(_)) => return Err(PublishError::Closed),
                Err(Refused::Full(back)) => back,
            };
            // Registered before the bell is armed and the queue tried again, so that no ring goes unheard.
            let mut woken = std::pin::pin!(self.room.notified());
            woken.as_mut().enable();
            self.requests.vacancy.arm();
            request = match self.requests.post(request) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(_)) => return Err(PublishError::Closed),
                Err(Refused::Full(back)) => back,
            };
            woken.await;
        }
    }

    /// Accepts nothing more; what was accepted is still sequenced and delivered.
    pub(crate) fn close(&self) {
        self.requests.close();
        self.room.notify_waiters();
    }
}
