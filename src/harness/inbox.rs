//! A shard's inbox by itself, with the sleep that its shard sleeps behind it.

use crate::limits::Limits;
use crate::mailbox::{Refused, Sleeper};
use crate::message::Message;
use crate::sequencer::request::Delivery;
use crate::shard::directory::ShardHandle;
use std::sync::Arc;
use tokio::sync::Notify;

/// See the module. Many may post, one takes.
#[derive(Clone, Debug)]
pub struct Inbox {
    shard: ShardHandle,
}

impl Default for Inbox {
    fn default() -> Self {
        let limits = Limits::default();
        let nobody = Sleeper::Tasks(Arc::new(Notify::new()));
        Self { shard: ShardHandle::new(0, limits.inbox_frames, limits.inbox_bytes, nobody) }
    }
}

impl Inbox {
    /// Posts a message and rings; without room the message comes back.
    ///
    /// # Errors
    /// The message, to be posted again.
    pub fn post(&self, message: Arc<Message>) -> Result<(), Arc<Message>> {
        match self.shard.inbox.post(Delivery::Message(message)) {
            Err(Refused::Full(Delivery::Message(back)) | Refused::Closed(Delivery::Message(back))) => {
                Err(back)
            }
            _ => Ok(()),
        }
    }

    /// Takes the oldest, and sleeps until there is one.
    pub async fn next(&self) -> Arc<Message> {
        loop {
            if let Some(Delivery::Message(message)) = self.shard.inbox.take() {
                return message;
            }
            self.shard.inbox.arrivals.arm();
            if self.shard.inbox.is_empty() {
                self.shard.wake.notified().await;
            }
        }
    }
}
