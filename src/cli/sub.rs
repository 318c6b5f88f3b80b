//! `stentor sub`: subscribes to topics and prints what arrives, until it is told to stop.
//!
//! Contract:
//! 1. Standard output holds messages only (with `--json`, the server's answers and events as well); all else goes to
//!    standard error. A payload is taken out of its envelope byte for byte and never serialised again.
//! 2. What has arrived is printed as soon as nothing more is at hand, and in large writes while more is. In a recording,
//!    what is printed together has one time.
//! 3. Exit code 0 after Ctrl-C, after `--count`, after a close with 1000 and when the reader of the pipe goes away; 1 when
//!    nothing was granted, when the connection ends otherwise or when the output cannot be written.
//!
//! Printing has a thread of its own: a reader that stops reading (a pager) then blocks that thread, and Ctrl-C is still heard.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use stentor::client::{Client, ClientError, Event, Wish};
use tokio::time::{Instant, timeout};

use super::conversation::ServerArgs;
use super::failure::{Failure, colour, remark};
use super::printer::{Mode, Printer, one_line, seconds};

/// How long a command that ends waits for its last lines to be written.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);
/// Bytes gathered before they go to the printing thread though more is at hand.
const BATCH_BYTES: usize = 64 << 10;

/// Subscribe to topics and print what arrives.
#[derive(clap::Args, Debug)]
pub(crate) struct SubArgs {
    /// Topics to subscribe to
    #[arg(value_name = "TOPIC", required = true)]
    topics: Vec<String>,

    #[command(flatten)]
    server: ServerArgs,

    /// Who this client is, for a server that believes it: it is also sent what is published to $client.ID
    #[arg(long, value_name = "ID")]
    client: Option<String>,

    /// Resume after the message with this EPOCH:SEQ, the last one received; given once per topic, in their order (empty: not that one)
    #[arg(long, value_name = "EPOCH:SEQ")]
    since: Vec<String>,

    /// Come back when the connection is lost, and go on where it was; else that is the end
    #[arg(long)]
    reconnect: bool,

    /// Where to fetch what udp:// loses: the same server, as tcp://HOST:PORT or ws://HOST:PORT
    #[arg(long, value_name = "URL")]
    repair: Option<String>,

    /// Print payloads only, byte for byte, each followed by a newline
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Print a recording, one JSON object a line, which `stentor replay` can publish again; answers and events as they come
    #[arg(long)]
    json: bool,

    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Runs the command until it ends by itself or Ctrl-C ends it.
pub(crate) async fn run(args: SubArgs) -> Result<(), Failure> {
    let wishes = wishes(&args.topics, &args.since)?;
    let mode = match (args.raw, args.json) {
        (true, _) => Mode::Raw,
        (_, true) => Mode::Json,
        _ => Mode::Human { colour: colour(&io::stdout()) },
    };
    let mut builder = Client::builder(&args.server.url).reconnect(args.reconnect);
    if let Some(id) = args.client {
        builder = builder.identity(id);
    }
    if let Some(url) = args.repair {
        builder = builder.repair(url);
    }
    let mut client = builder.connect().await?;
    let mut printer = Printer::new(io::stdout());
    let followed = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        followed = follow(&mut client, wishes, mode, args.count, &mut printer) => followed,
    };
    client.close().await;
    let printed = timeout(FAREWELL_WAIT, printer.finish()).await.unwrap_or(Ok(()));
    followed.and(printed)
}

/// What is subscribed to, and from where.
fn wishes(topics: &[String], since: &[String]) -> Result<Vec<Wish>, Failure> {
    if !since.is_empty() && since.len() != topics.len() {
        return Err(Failure::usage(format!(
            "{} topics and {} times --since; give --since once per topic, in their order (--since= for none)",
            topics.len(),
            since.len()
        )));
    }
    let since = since.iter().map(String::as_str).chain(std::iter::repeat(""));
    let wishes = topics.iter().zip(since).map(|(topic, since)| {
        let place = (!since.is_empty()).then(|| since.parse()).transpose();
        let place = place.map_err(|error| Failure::usage(format!("--since {since:?} is {error}")))?;
        Ok(Wish { topic: topic.clone(), since: place })
    });
    wishes.collect()
}

async fn follow(
    client: &mut Client,
    wishes: Vec<Wish>,
    mode: Mode,
    count: Option<u64>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    if let Err(error) = client.subscribe(wishes).await {
        while let Some(event) = client.received() {
            record(client, &event, mode, printer);
        }
        return ended(error);
    }
    let (mut first, mut t) = (None, String::new());
    let mut left = count.unwrap_or(u64::MAX);
    loop {
        let event = match client.next().now_or_never() {
            Some(event) => event,
            None => {
                if !printer.flush().await {
                    return Ok(());
                }
                client.next().await
            }
        };
        if printer.batch.is_empty() {
            t.clear();
        }
        match event {
            Ok(Event::Message(message)) => {
                if t.is_empty() {
                    // What is printed together came together.
                    let now = Instant::now();
                    t = seconds(now - *first.get_or_insert(now));
                }
                mode.print(&mut printer.batch, &t, &message);
                left -= 1;
            }
            Ok(event) => {
                record(client, &event, mode, printer);
                tell(client, &event, mode);
            }
            Err(error) => return ended(error),
        }
        if left == 0 || (printer.batch.len() >= BATCH_BYTES && !printer.flush().await) {
            return Ok(());
        }
    }
}

fn ended(error: ClientError) -> Result<(), Failure> {
    match error {
        ClientError::Closed { closed } if closed.is_normal() => {
            remark(&format!("the server closed the connection: {closed}"));
            Ok(())
        }
        error => Err(error.into()),
    }
}

/// Puts the server's own words into a recording; where the client says something itself, words like those.
fn record(client: &Client, event: &Event, mode: Mode, printer: &mut Printer) {
    if mode == Mode::Json
        && let Some(words) = client.words().map(str::to_owned).or_else(|| own_words(event))
    {
        one_line(&mut printer.batch, words.as_bytes());
        printer.batch.push(b'\n');
    }
}

fn own_words(event: &Event) -> Option<String> {
    let words = match event {
        Event::Gap { topic, from, to, reason } => {
            json!({"event": "gap", "topic": topic, "from": from, "to": to, "reason": reason})
        }
        Event::Epoch { topic, head } => {
            json!({"event": "epoch", "topic": topic, "epoch": head.epoch, "seq": head.seq})
        }
        _ => return None,
    };
    Some(words.to_string())
}

/// Tells what came besides messages.
fn tell(client: &Client, event: &Event, mode: Mode) {
    match event {
        Event::Disconnected { why, retry_in } => {
            let why = why.to_string();
            let what = why.split("; ").next().unwrap_or(&why);
            remark(&format!("{what}; connecting again in {:.1} s", retry_in.as_secs_f64()));
        }
        Event::Reconnected => remark("connected again"),
        Event::Subscribed { .. } => {
            let said: Value = serde_json::from_str(client.words().unwrap_or_default()).unwrap_or_default();
            let parts = |key: &str| said[key].as_array().cloned().unwrap_or_default();
            parts("err").iter().for_each(|refused| remark(&format!("not subscribed: {}", refusal(refused))));
            if mode != Mode::Json {
                parts("ok").iter().for_each(|granted| remark(&grant(granted)));
            }
        }
        event if mode != Mode::Json => {
            if let Some(words) = client.words().map(str::to_owned).or_else(|| own_words(event)) {
                remark(&words);
            }
        }
        _ => {}
    }
}

/// `subscribed trade.BTCUSDT class=event epoch=k3f9 seq=88410`: whatever the server granted, in its own words.
fn grant(granted: &Value) -> String {
    let words = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut line = format!("subscribed {}", words(&granted["topic"]));
    for (key, value) in granted.as_object().into_iter().flatten().filter(|(key, _)| *key != "topic") {
        // Writing to a string cannot fail.
        let _ = write!(line, " {key}={}", words(value));
    }
    line
}

fn refusal(refused: &Value) -> String {
    let parts = ["topic", "code", "message"].map(|key| refused[key].as_str());
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    if parts.is_empty() { refused.to_string() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use stentor::client::{Message, Place};
    use stentor::{Payload, TopicName};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::Message as Frame;

    /// Each of the messages as `mode` prints it, one after the other.
    fn printed(mode: Mode) -> String {
        let mut out = Vec::new();
        for (n, message) in messages().iter().enumerate() {
            mode.print(&mut out, &seconds(Duration::from_millis(1500) * n as u32), message);
        }
        String::from_utf8(out).unwrap()
    }

    const ENVELOPES: [&str; 6] = [
        r#"{"stream":"t\u0031","seq":7,"data":{"p":1.10, "s":"\u00e9"}}"#,
        r#"{"stream":"b","seq":8,"data":null}"#,
        r#"{"stream":"b","seq":9,"text":"two\nlines"}"#,
        r#"{"stream":"b","seq":10,"base64":"aGk="}"#,
        "{\"stream\":\"b\",\"seq\":11,\"data\": {\n}\n}",
        r#"{"stream":"b","seq":12,"snap":true,"data":1}"#,
    ];

    /// What the envelopes hold.
    fn messages() -> Vec<Message> {
        let payloads = [
            Payload::text(r#"{"p":1.10, "s":"\u00e9"}"#),
            Payload::text("null"),
            Payload::text("two\nlines"),
            Payload::binary("hi"),
            Payload::text(" {\n}\n"),
            Payload::text("1"),
        ];
        let message = |(n, payload): (usize, Payload)| {
            let topic = TopicName::try_from(if n == 0 { "t1" } else { "b" }).unwrap();
            Message { topic, seq: 7 + n as u64, payload, is_snapshot: n == 5 }
        };
        payloads.into_iter().enumerate().map(message).collect()
    }

    #[test]
    fn raw_is_the_payload_byte_for_byte() {
        let expected = "{\"p\":1.10, \"s\":\"\\u00e9\"}\nnull\ntwo\nlines\nhi\n {\n}\n\n1\n";
        assert_eq!(printed(Mode::Raw), expected);
    }

    #[test]
    fn a_line_for_eyes_is_one_line_and_steers_no_terminal() {
        let expected = "t1 7 {\"p\":1.10, \"s\":\"\\u00e9\"}\nb 8 null\nb 9 two\\nlines\nb 10 base64:aGk=\nb 11 {\\n}\nb 12 snap 1\n";
        assert_eq!(printed(Mode::Human { colour: false }), expected);
    }

    #[test]
    fn json_is_a_recording_that_reads_back() {
        let text = printed(Mode::Json);
        assert!(text.starts_with(r#"{"t":0.000000,"topic":"t1","seq":7,"data":{"p":1.10, "s":"\u00e9"}}"#));
        assert!(text.contains("\n{\"t\":1.500000,\"topic\":\"b\",\"seq\":8,\"data\":null}\n"));
        assert!(text.contains("\"topic\":\"b\",\"seq\":12,\"snap\":true,\"data\":1}\n"));
        let records: Vec<_> =
            crate::cli::recording::Recording::new(text.as_bytes(), "r").map(Result::unwrap).collect();
        assert_eq!(records.len(), messages().len());
        assert_eq!(records[0].topic, "t1");
    }

    #[test]
    fn a_position_is_given_for_every_topic_or_for_none() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let plain = wishes(&words(&["a", "b"]), &[]).unwrap();
        assert_eq!(plain, ["a", "b"].map(Wish::from));
        let since = wishes(&words(&["a", "b"]), &words(&["", "k3:f9:12"])).unwrap();
        let place = Place { epoch: "k3:f9".into(), seq: 12 };
        assert_eq!(since, ["a".into(), ("b", place).into()]);
        for wrong in [&["e:1"][..], &["e:1", "e"], &["e:1", ":1"], &["e:1", "e:x"]] {
            assert_eq!(wishes(&words(&["a", "b"]), &words(wrong)).unwrap_err().code(), 2);
        }
    }

    #[test]
    fn a_grant_says_where_to_resume() {
        let granted = json!({"class": "event", "topic": "b", "epoch": "k3f9", "seq": 7, "recovered": true});
        assert_eq!(grant(&granted), "subscribed b class=event epoch=k3f9 recovered=true seq=7");
    }

    /// Follows a server that says `lines` after the subscription and closes; returns what was printed too.
    async fn followed(lines: &[&str], count: Option<u64>) -> (Result<(), Failure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = async {
            let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap().is_text());
            for line in lines {
                let _ = socket.feed(Frame::text(*line)).await;
            }
            let _ = socket.close(None).await;
            while let Some(Ok(_)) = socket.next().await {}
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut printer = Printer::new(std::fs::File::create(&path).unwrap());
        let client = async {
            let mut client = Client::builder(&url).reconnect(false).connect().await.unwrap();
            follow(&mut client, vec!["b".into()], Mode::Json, count, &mut printer).await
        };
        let (_, result) = tokio::join!(server, client);
        printer.finish().await.unwrap();
        (result, std::fs::read_to_string(&path).unwrap())
    }

    const ACK: &str =
        r#"{"event":"ack","op":"subscribe","id":1,"ok":[{"topic":"b","epoch":"e","seq":7}],"err":[]}"#;

    #[tokio::test]
    async fn answers_events_and_messages_are_printed_in_the_order_they_came() {
        let gap = r#"{"event":"gap","topic":"b","from":1,"to":2,"reason":"evicted"}"#;
        let (result, text) = followed(&[ACK, gap, ENVELOPES[1]], None).await;
        assert_eq!(result, Ok(()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], [ACK, gap]);
        assert!(lines.len() == 3 && lines[2].contains("\"seq\":8"), "{text}");
    }

    #[tokio::test]
    async fn count_ends_after_that_many_messages() {
        let (result, text) = followed(&[ACK, ENVELOPES[1], ENVELOPES[2], ENVELOPES[3]], Some(2)).await;
        assert_eq!(result, Ok(()));
        assert_eq!(text.lines().count(), 3);
    }

    #[tokio::test]
    async fn a_subscription_refused_whole_is_a_failure_and_in_part_is_not() {
        let refusal = r#"{"topic":"x","code":"forbidden","message":"not yours"}"#;
        let part = ACK.replace("\"err\":[]", &format!("\"err\":[{refusal}]"));
        assert_eq!(followed(&[&part], None).await.0, Ok(()));
        let whole = format!(r#"{{"event":"ack","id":1,"ok":[],"err":[{refusal}]}}"#);
        let line = followed(&[&whole], None).await.0.unwrap_err().to_string();
        assert!(line.contains("x: forbidden: not yours"), "{line}");
    }

    /// A pipe whose reader went away.
    struct Gone;

    impl io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_reader_that_went_away_is_noticed_and_is_no_failure() {
        let mut printer = Printer::new(Gone);
        let noticed = async {
            loop {
                printer.batch.extend(b"line\n");
                if !printer.flush().await {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(10), noticed).await.unwrap();
        assert_eq!(printer.finish().await, Ok(()));
    }
}
