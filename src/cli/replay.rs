//! `stentor replay`: publishes a recording again, at its own pace, faster, or as fast as the server takes it.
//!
//! Contract:
//! 1. The pace is open-loop: each message has an intended time, counted from the first one of the recording. A message that is
//!    late moves none of those after it, and how late the latest was is reported.
//! 2. Payloads go out byte for byte as they were recorded, in the order of the file; what is due together is written together.
//! 3. Exit code 0 when the server took everything, or after Ctrl-C; 1 when it refused something, even after Ctrl-C.
//! 4. With `--loop`, a pass begins one mean gap after the last message of the pass before: the rate goes on, time does not jump.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use stentor::PublishOptions;
use stentor::client::{self, Purpose, Sender};
use tokio::time::{Instant, sleep_until};

use super::conversation::{ServerArgs, converse};
use super::failure::{Failure, Refusals, remark};
use super::recording::{Record, Recording, line_count};

/// Messages sent in one go at most, before the server's answers are looked at and the bar moves.
const STRETCH: u64 = 256;
/// How often the bar is drawn while nothing is due.
const REDRAW: Duration = Duration::from_millis(200);

/// Publish a recording at its own pace.
#[derive(clap::Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The recording, one `{"t":SECONDS,"topic":"…","data":…}` a line, as `stentor sub --json` prints it
    #[arg(value_name = "FILE.ndjson")]
    file: PathBuf,

    /// How many times faster than recorded, for example 10 or 0.5, or `max`: as fast as the server takes it
    #[arg(long, value_name = "X", default_value = "1")]
    speed: Speed,

    /// Begin again at the end, until Ctrl-C
    #[arg(long = "loop")]
    again: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command until the recording is published or Ctrl-C ends it.
pub(crate) async fn run(args: ReplayArgs) -> Result<(), Failure> {
    // Opened before connecting: a wrong path is the likelier mistake, and the nearer one.
    let recording = Recording::open(&args.file)?;
    let (sender, receiver) = client::open(&args.server.url, Purpose::Publish).await?;
    let bar = bar(&args);
    let mut refusals = Refusals::default();
    let show = |line: &str| bar.suspend(|| remark(line));
    let replay = Replay { args: &args, sender, bar: &bar, tally: Tally::default() };
    let ended = converse(receiver, replay.run(recording), |text| refusals.hear(text, show)).await;
    bar.finish_and_clear();
    let tally = ended?;
    remark(&tally.summary());
    refusals.outcome(tally.sent)
}

/// Hidden unless standard error is a terminal.
fn bar(args: &ReplayArgs) -> ProgressBar {
    let total = if args.again || !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        None
    } else {
        line_count(&args.file)
    };
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{elapsed} {wide_bar} {human_pos}/{human_len} messages, {rate}")
        }
        None => (ProgressBar::no_length(), "{elapsed} {spinner} {human_pos} messages, {rate}"),
    };
    // The template is a constant; were it wrong, the default would do.
    let bar = bar.with_style(
        ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()).with_key("rate", rate),
    );
    if !bar.is_hidden() {
        bar.enable_steady_tick(REDRAW);
    }
    bar
}

/// Whole messages a second; the bar's own figure has four decimals.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // A bar that cannot be drawn is not worth a failure.
    let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
}

/// How fast a recording is published.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    /// This many times faster than recorded.
    Times(f64),
    /// As fast as the server takes it.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            // The bounds keep the sum of all waits within what a clock can say.
            Ok(times) if (0.001..=1e6).contains(&times) => Ok(Self::Times(times)),
            _ => Err("give how many times faster, from 0.001 to 1000000, or max".into()),
        }
    }
}

/// When each message is due: seconds of the recording, turned into seconds since the start of the replay.
#[derive(Debug, Default)]
struct Schedule {
    /// `t` of the recording's first message, which is due at once.
    first: Option<f64>,
    /// Recorded seconds before the pass under way began.
    before: f64,
    /// The latest time in this pass, in recorded seconds since its first message.
    latest: f64,
    /// Messages of this pass.
    messages: u64,
}

impl Schedule {
    /// Recorded seconds from the start of the replay to this message.
    fn due(&mut self, t: f64) -> f64 {
        let since = t - *self.first.get_or_insert(t);
        self.latest = self.latest.max(since);
        self.messages += 1;
        self.before + since.max(0.0)
    }

    /// Begins the next pass. True exactly when the one before had messages.
    fn again(&mut self) -> bool {
        let messages = self.messages;
        // A recording without duration is repeated once a second: it has no rate to keep.
        let gap = if self.latest > 0.0 { self.latest / (messages.max(2) - 1) as f64 } else { 1.0 };
        *self = Self { first: None, before: self.before + self.latest + gap, latest: 0.0, messages: 0 };
        messages > 0
    }
}

/// What was sent and when.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    elapsed: Duration,
    /// The most any message was behind its intended time; none when there was no pace.
    late: Option<Duration>,
}

impl Tally {
    fn summary(&self) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { (self.sent as f64 / seconds) as u64 } else { self.sent };
        let plural = if self.sent == 1 { "" } else { "s" };
        let mut line = format!(
            "replayed {} message{plural} in {seconds:.1} s ({}/s)",
            HumanCount(self.sent),
            HumanCount(rate)
        );
        if let Some(late) = self.late {
            // Writing to a string cannot fail.
            let _ = write!(line, ", at most {:.1} ms late", late.as_secs_f64() * 1e3);
        }
        line
    }
}

/// A replay under way.
struct Replay<'a> {
    args: &'a ReplayArgs,
    sender: Sender,
    bar: &'a ProgressBar,
    tally: Tally,
}

impl Replay<'_> {
    async fn run(
        mut self,
        recording: impl Iterator<Item = Result<Record, Failure>>,
    ) -> Result<Tally, Failure> {
        let start = Instant::now();
        let ended = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Ok(()),
            ended = self.publish(recording, start) => ended,
        };
        self.tally.elapsed = start.elapsed();
        self.bar.set_position(self.tally.sent);
        // Also after a bad line: what came before it is to be accepted.
        let closed = self.sender.close().await;
        ended.and(closed.map_err(Failure::from)).map(|()| self.tally)
    }

    async fn publish(
        &mut self,
        mut recording: impl Iterator<Item = Result<Record, Failure>>,
        start: Instant,
    ) -> Result<(), Failure> {
        let mut schedule = Schedule::default();
        self.pass(&mut recording, &mut schedule, start).await?;
        while self.args.again {
            if !schedule.again() {
                return Err(Failure::run(format!(
                    "{} holds no messages to repeat; give another recording",
                    self.args.file.display()
                )));
            }
            self.pass(&mut Recording::open(&self.args.file)?, &mut schedule, start).await?;
        }
        Ok(())
    }

    async fn pass(
        &mut self,
        recording: &mut impl Iterator<Item = Result<Record, Failure>>,
        schedule: &mut Schedule,
        start: Instant,
    ) -> Result<(), Failure> {
        for record in recording {
            let record = record?;
            let due = schedule.due(record.t);
            if let Speed::Times(times) = self.args.speed {
                self.wait_until(start, Duration::from_secs_f64(due / times)).await?;
            }
            self.sender.publish(&record.topic, &record.payload, &PublishOptions::default()).await?;
            self.tally.sent += 1;
            if self.tally.sent.is_multiple_of(STRETCH) {
                self.bar.set_position(self.tally.sent);
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Waits until a message is due, and writes what was gathered before it if there is anything to wait for.
    async fn wait_until(&mut self, start: Instant, due: Duration) -> Result<(), Failure> {
        let now = start.elapsed();
        let late = self.tally.late.get_or_insert_default();
        *late = (*late).max(now.saturating_sub(due));
        if now < due {
            self.sender.flush().await?;
            self.bar.set_position(self.tally.sent);
            sleep_until(start + due).await;
            // The timer has its own lateness, up to a millisecond, and it counts.
            let late = self.tally.late.get_or_insert_default();
            *late = (*late).max(start.elapsed().saturating_sub(due));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::Message;

    #[test]
    fn a_speed_is_a_factor_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        for wrong in ["0", "-1", "NaN", "inf", "fast", "1e9"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn time_continues_from_pass_to_pass() {
        let mut schedule = Schedule::default();
        let pass = |schedule: &mut Schedule| [5.0, 5.5, 5.25, 7.0].map(|t| schedule.due(t));
        assert_eq!(pass(&mut schedule), [0.0, 0.5, 0.25, 2.0]);
        assert!(schedule.again());
        // Four messages in two seconds: the mean gap is two thirds of a second.
        assert_eq!(pass(&mut schedule).map(|t| (t * 1e3).round()), [2667.0, 3167.0, 2917.0, 4667.0]);
    }

    #[test]
    fn a_recording_without_duration_is_repeated_once_a_second_and_an_empty_one_never() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.due(3.0), 0.0);
        assert!(schedule.again());
        assert_eq!(schedule.due(3.0), 1.0);
        assert!(schedule.again());
        assert!(!schedule.again());
    }

    /// Replays `text` against a server that refuses messages holding "bad"; returns what it was sent.
    async fn replay(text: &str, speed: Speed) -> (Result<(), Failure>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r.ndjson");
        std::fs::write(&file, text).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
            let mut taken = Vec::new();
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Text(text) = message {
                    if text.contains("bad") {
                        let refusal = r#"{"event":"error","code":"no","message":"way"}"#;
                        socket.send(Message::text(refusal)).await.unwrap();
                    }
                    taken.push(text.to_string());
                }
            }
            taken
        });
        let result = run(ReplayArgs { file, speed, again: false, server: ServerArgs { url } }).await;
        (result, server.await.unwrap())
    }

    #[tokio::test]
    async fn every_message_goes_out_in_order_and_byte_for_byte() {
        let text = concat!(
            r#"{"t":0,"topic":"a\"b","data":{"p":1.10, "q":[ ]}}"#,
            "\n",
            r#"{"t":0.01,"topic":"t","text":"l\n2"}"#,
            "\n",
            r#"{"t":0.01,"topic":"t","base64":"AP8="}"#,
        );
        for speed in [Speed::Max, Speed::Times(10.0)] {
            let (result, taken) = replay(text, speed).await;
            assert_eq!(result, Ok(()));
            let expected = [
                r#"{"op":"publish","topic":"a\"b","data":{"p":1.10, "q":[ ]}}"#,
                r#"{"op":"publish","topic":"t","text":"l\n2"}"#,
                r#"{"op":"publish","topic":"t","base64":"AP8="}"#,
            ];
            assert_eq!(taken, expected);
        }
    }

    #[tokio::test]
    async fn refused_messages_are_counted_and_the_rest_still_goes_out() {
        let line = |data: u32, topic: &str| format!("{{\"t\":0,\"topic\":\"{topic}\",\"data\":{data}}}\n");
        let text: String = (0..5_000).map(|n| line(n, if n % 2 == 0 { "bad" } else { "good" })).collect();
        let (result, taken) = replay(&text, Speed::Max).await;
        let line = result.unwrap_err().to_string();
        assert!(line.contains("2500 of 5000") && line.contains("no: way"), "{line}");
        assert_eq!(taken.len(), 5_000);
    }

    #[tokio::test]
    async fn a_bad_line_is_reported_after_what_came_before_it_was_published() {
        let (result, taken) = replay("{\"t\":0,\"topic\":\"t\",\"data\":1}\n{oops\n", Speed::Max).await;
        let line = result.unwrap_err().to_string();
        assert!(line.contains("r.ndjson line 2"), "{line}");
        assert_eq!(taken.len(), 1);
    }
}
