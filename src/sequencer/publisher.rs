//! The handle to the sequencer: what a publisher holds. Cheap to clone, never blocks a thread.

use super::request::{Receipt, Request};
use crate::error::PublishError;
use crate::mailbox::{Mailbox, Refused};
use crate::message::Payload;
use crate::protocol::options::PublishOptions;
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
    pub(super) requests: Arc<Mailbox<Request>>,
    /// What those wait on who found the queue full.
    pub(super) room: Arc<Notify>,
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
        self.offer(self.request(topic, payload.into(), None, None)?)
    }

    /// Checks what a publisher may get wrong and makes the request.
    pub(crate) fn request(
        &self,
        topic: TopicName,
        payload: Payload,
        options: Option<Box<PublishOptions>>,
        receipt: Option<Receipt>,
    ) -> Result<Request, PublishError> {
        if topic.is_reserved() {
            return Err(PublishError::Reserved);
        }
        if payload.len() > self.message_bytes_max {
            return Err(PublishError::TooLarge { bytes: payload.len(), max: self.message_bytes_max });
        }
        Ok(Request::Publish { topic, payload, options, receipt })
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
    #[allow(clippy::result_large_err, reason = "in a box it would cost an allocation a message")]
    pub(crate) fn post(&self, request: Request) -> Result<(), Refused<Request>> {
        self.requests.post(request)
    }

    /// Accepts nothing more; what was accepted is still sequenced and delivered.
    pub(crate) fn close(&self) {
        self.requests.close();
        self.room.notify_waiters();
    }
}
