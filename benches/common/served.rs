//! A whole server in this process, and those who listen to one of its topics.

use super::audience::Audience;
use super::load;
use stentor::limits::Limits;
use stentor::{Accepted, Payload, Publisher, Server, Settings, TopicName};

/// See the module.
pub(crate) struct Served {
    publisher: Publisher,
    topic: TopicName,
    payload: Payload,
    // Before the server, so that it is not left with a thousand closed sockets to notice.
    audience: Audience,
    _server: Server,
}

impl Served {
    /// So many subscribers over loopback, of a server as it is by default.
    pub(crate) fn new(count: usize) -> Self {
        // Its clients only listen: nobody shall be asked whether they are there, every byte is a delivery.
        let limits = Limits { ping_s: 86_400, idle_s: 2 * 86_400, ..Limits::default() };
        let any = "127.0.0.1:0".parse().expect("an address");
        let settings = Settings { listen: any, admin: any, limits, ..Settings::default() };
        let server = Server::builder().settings(settings).start().expect("a server");
        let topic = load::topic();
        let audience = Audience::connect(count, server.websocket_address(), &format!("/ws/{topic}"));
        let payload = Payload::text(load::payload());
        Self { publisher: server.publisher(), topic, payload, audience, _server: server }
    }

    /// Publishes so many and waits until everybody has all of them, `bytes` together.
    pub(crate) fn round(&mut self, messages: usize, bytes: usize) {
        for _ in 0..messages {
            let accepted = self.publisher.publish(self.topic.clone(), self.payload.clone());
            assert_eq!(accepted.expect("a topic and a payload"), Accepted::Yes);
        }
        self.audience.read(bytes);
    }
}
