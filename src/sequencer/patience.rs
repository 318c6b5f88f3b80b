//! What of publishing waits: for room in the sequencer's queue, and for a message's place. It never blocks a thread.

use super::publisher::{Published, Publisher};
use super::request::{Receipt, Reply, Request};
use crate::error::PublishError;
use crate::mailbox::Refused;
use crate::message::Payload;
use crate::protocol::options::PublishOptions;
use crate::protocol::outcome::Refusal;
use crate::protocol::topic::{TopicError, TopicName};

impl Publisher {
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
        self.publish_with(topic, payload, PublishOptions::default()).await
    }

    /// The same with something said of it: the topic's class, that it is an image, its number.
    ///
    /// # Errors
    /// As [`Publisher::publish_and_wait`]; and the number may be stale, the topic of another class.
    pub async fn publish_with<T>(
        &self,
        topic: T,
        payload: impl Into<Payload>,
        options: PublishOptions,
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
        let request = self.request(topic, payload.into(), options.boxed(), Some(Receipt::Caller(reply)))?;
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
}
