//! `stentor demo`: the server with a synthetic market feed publishing into it, and what to try next.

use super::failure::Failure;
use super::feed::Feed;
use super::serve::{self, ServeArgs, Signals};
use super::tell;
use stentor::{Accepted, PublishError, Publisher, TopicName};
use tokio::time::{Instant, sleep_until};

/// The same series every time: a demo is easier to talk about when everyone sees the same.
const SEED: u64 = 7;

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let signals = Signals::new()?;
    let server = serve::start(&args)?;
    let program = std::env::args().next().unwrap_or_else(|| "stentor".into());
    let (websocket, operator) = (server.websocket_address(), server.operator_address());
    tell("a synthetic market feed is publishing: trade.*, bbo.* and book.* of 32 symbols");
    tell("try next, in another terminal:");
    tell(&format!("  {program} sub trade.BTCUSDT bbo.BTCUSDT --url ws://{websocket}"));
    tell(&format!("  curl 'http://{operator}/topics?prefix=trade.'"));
    tell(&format!("  {program} pub trade.BTCUSDT '{{\"p\":\"1.00\"}}' --url ws://{websocket}"));
    tell(&format!("and look at http://{operator}/ in a browser; Ctrl-C ends"));
    let feed = tokio::spawn(publish(server.publisher()));
    let ended = serve::until_ended(server, &args, signals).await;
    feed.abort();
    ended
}

/// Publishes the feed at its own pace until the server goes down.
async fn publish(publisher: Publisher) -> Result<(), PublishError> {
    let began = Instant::now();
    for tick in Feed::new(SEED) {
        sleep_until(began + tick.at).await;
        let topic = TopicName::try_from(&*tick.topic)?;
        while publisher.publish(&topic, tick.data.clone())? == Accepted::Full {
            publisher.ready().await;
        }
    }
    Ok(())
}
