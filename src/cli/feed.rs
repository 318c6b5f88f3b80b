//! The synthetic market feed: an endless, deterministic series of trades, quotes and book changes that `demo` publishes.
//!
//! Contract: pure; no clock and no input or output. A seed names a series, the same on every machine. Times never go back.
//! For each of [`SYMBOLS`] there are three topics, which agree with each other because one [`Market`] speaks in all three:
//!
//! ```text
//! trade.SYM   a trade, at the price that was best just before it
//! bbo.SYM     best bid and offer: bid < ask, always
//! book.SYM    what changed in the best seven levels since the last message here; a snapshot at first and now and then
//! ```
//!
//! The load is shaped like the recorded feeds it stands for: quiet most of the time (some 90 messages a second), and about
//! once a second 100 ms at 10 to 50 times that rate, mostly about one symbol; some 300 messages a second over a minute. Symbols
//! have Zipf popularity. Payloads have 120 to 500 bytes and the members of a large exchange's futures streams.

use std::sync::Arc;
use std::time::Duration;

use super::market::{Market, Stamp};
use fastrand::Rng;

/// Symbol, decimals of its price, and the price to start from, in units of the last decimal.
const SYMBOLS: [(&str, u32, i64); 32] = [
    ("BTCUSDT", 1, 641_235),
    ("ETHUSDT", 2, 318_044),
    ("SOLUSDT", 3, 151_270),
    ("XRPUSDT", 4, 5_921),
    ("BNBUSDT", 2, 58_812),
    ("DOGEUSDT", 5, 12_377),
    ("ADAUSDT", 4, 4_415),
    ("TRXUSDT", 5, 13_048),
    ("AVAXUSDT", 3, 27_905),
    ("LINKUSDT", 3, 13_661),
    ("TONUSDT", 4, 71_880),
    ("DOTUSDT", 3, 6_204),
    ("LTCUSDT", 2, 7_142),
    ("BCHUSDT", 2, 39_356),
    ("NEARUSDT", 3, 5_233),
    ("UNIUSDT", 3, 8_018),
    ("APTUSDT", 4, 68_950),
    ("ATOMUSDT", 3, 6_617),
    ("FILUSDT", 3, 4_340),
    ("ETCUSDT", 3, 22_871),
    ("XLMUSDT", 5, 9_906),
    ("ICPUSDT", 3, 8_562),
    ("ARBUSDT", 4, 7_783),
    ("OPUSDT", 4, 17_620),
    ("INJUSDT", 3, 23_449),
    ("AAVEUSDT", 2, 9_637),
    ("ALGOUSDT", 4, 1_398),
    ("SUSHIUSDT", 4, 6_925),
    ("EOSUSDT", 4, 5_574),
    ("CTKUSDT", 5, 61_240),
    ("KEEPUSDT", 4, 2_443),
    ("AKROUSDT", 5, 1_733),
];

/// Messages a second between bursts.
const QUIET_RATE: f64 = 90.0;
/// Length of a burst, in seconds, as an exchange's fastest book stream is batched.
const BURST_SECONDS: f64 = 0.1;
/// How many times the quiet rate a burst has at least; the most is [`BURST_SPAN`] times that.
const BURST_FACTOR: f64 = 10.0;
const BURST_SPAN: f64 = 5.0;
/// Share of a burst's messages that are about the symbol that caused it.
const MOVER_SHARE: f64 = 0.7;
/// The time the feed begins at, in milliseconds since 1970: 2026-01-01. Fixed, since a seed must name one series.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// One message of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tick {
    /// When it is to be published, since the feed's start; never before the one ahead of it.
    pub(crate) at: Duration,
    /// `trade.SYM`, `bbo.SYM` or `book.SYM`; one allocation for the feed's whole life.
    pub(crate) topic: Arc<str>,
    /// The payload, JSON.
    pub(crate) data: String,
}

/// The endless series of a seed.
#[derive(Debug)]
pub(crate) struct Feed {
    rng: Rng,
    markets: Vec<Market>,
    /// Sum of the popularity of each symbol and of those before it.
    popularity: Vec<f64>,
    at: f64,
    phase: Phase,
    /// When the phase ends, in seconds.
    until: f64,
    /// The exchange's update number, one count over all symbols.
    update: u64,
}

/// What the market is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// The usual rate, all symbols by their popularity.
    Quiet,
    /// `factor` times the usual rate, mostly about the market at `mover`, whose price runs in one `direction`.
    Burst { factor: f64, mover: usize, direction: i64 },
}

impl Feed {
    /// The series that `seed` names.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let markets: Vec<Market> = SYMBOLS.iter().map(|symbol| Market::new(*symbol, &mut rng)).collect();
        let mut sum = 0.0;
        let popularity = (1..=markets.len())
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        let until = 0.3 + rng.f64();
        Self { rng, markets, popularity, at: 0.0, phase: Phase::Quiet, until, update: 600_859_600_000 }
    }

    fn popular(&mut self) -> usize {
        let all = self.popularity.last().copied().unwrap_or_default();
        let point = self.rng.f64() * all;
        self.popularity.partition_point(|&sum| sum <= point).min(self.markets.len() - 1)
    }

    /// Moves on to the next message's time. Arrivals have no memory, so a wait that reaches a phase's end is drawn again there.
    fn advance(&mut self) {
        loop {
            let rate = match self.phase {
                Phase::Quiet => QUIET_RATE,
                Phase::Burst { factor, .. } => QUIET_RATE * factor,
            };
            let wait = -(1.0 - self.rng.f64()).ln() / rate;
            if self.at + wait < self.until {
                self.at += wait;
                return;
            }
            self.at = self.until;
            self.phase = match self.phase {
                Phase::Quiet => {
                    self.until += BURST_SECONDS;
                    let direction = if self.rng.bool() { 1 } else { -1 };
                    let factor = BURST_FACTOR * BURST_SPAN.powf(self.rng.f64());
                    Phase::Burst { factor, mover: self.popular(), direction }
                }
                Phase::Burst { .. } => {
                    self.until += 0.6 + 0.6 * self.rng.f64();
                    Phase::Quiet
                }
            };
        }
    }
}

impl Iterator for Feed {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        self.advance();
        let (market, drift) = match self.phase {
            Phase::Burst { mover, direction, .. } if self.rng.f64() < MOVER_SHARE => (mover, direction),
            _ => (self.popular(), 0),
        };
        let at = Duration::from_secs_f64(self.at);
        self.update += self.rng.u64(1..400);
        let stamp = Stamp { ms: EPOCH_MS + at.as_millis() as u64, update: self.update };
        let market = &mut self.markets[market];
        let (topic, data) = match self.rng.u8(..100) {
            0..30 => (market.trade.clone(), market.trade(stamp, drift, &mut self.rng)),
            30..72 => (market.bbo.clone(), market.bbo(stamp, drift, &mut self.rng)),
            _ => (market.book.clone(), market.book(stamp, &mut self.rng)),
        };
        Some(Tick { at, topic, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::{BTreeMap, HashMap};

    /// The first `seconds` of the feed.
    fn feed(seed: u64, seconds: u64) -> Vec<Tick> {
        Feed::new(seed).take_while(|tick| tick.at < Duration::from_secs(seconds)).collect()
    }

    fn number(value: &Value) -> f64 {
        value.as_str().unwrap().parse().unwrap()
    }

    #[test]
    fn a_seed_names_one_series_and_time_never_goes_back() {
        let ticks = feed(1, 20);
        assert_eq!(ticks, feed(1, 20));
        assert_ne!(ticks[..100], feed(2, 20)[..100]);
        assert!(ticks.is_sorted_by_key(|tick| tick.at));
    }

    #[test]
    fn payloads_are_valid_json_of_market_data_size() {
        for tick in feed(2, 60) {
            let data: Value = serde_json::from_str(&tick.data).unwrap();
            let symbol = tick.topic.split_once('.').unwrap().1;
            assert_eq!(data["s"], symbol);
            assert!((120..=500).contains(&tick.data.len()), "{} bytes: {}", tick.data.len(), tick.data);
        }
    }

    #[test]
    fn about_300_messages_a_second_in_bursts_of_10_to_50_times_the_quiet_rate() {
        let seconds = 300;
        let mut feed = Feed::new(3);
        let (mut all, mut bursts, mut quiet) = (0, Vec::new(), 0);
        let mut burst = (0.0, 0);
        while feed.next().is_some_and(|tick| tick.at < Duration::from_secs(seconds)) {
            all += 1;
            match feed.phase {
                Phase::Quiet => quiet += 1,
                Phase::Burst { .. } if feed.until == burst.0 => burst.1 += 1,
                Phase::Burst { .. } => bursts.push(std::mem::replace(&mut burst, (feed.until, 1)).1),
            }
        }
        bursts.remove(0);
        let mean = all / seconds;
        assert!((250..=350).contains(&mean), "{mean} messages a second");
        assert!((270..=330).contains(&bursts.len()), "{} bursts", bursts.len());
        let quiet_rate = f64::from(quiet) / (seconds as f64 - bursts.len() as f64 * BURST_SECONDS);
        let ratios: Vec<f64> = bursts.iter().map(|&n| f64::from(n) / BURST_SECONDS / quiet_rate).collect();
        let (least, most) = ratios.iter().fold((f64::MAX, 0.0_f64), |(a, b), &r| (a.min(r), b.max(r)));
        // Arrivals are random: 10 times 90 a second is 90 messages in a window, give or take thirty.
        assert!((6.0..14.0).contains(&least) && (40.0..60.0).contains(&most), "{least} to {most}");
    }

    #[test]
    fn the_most_popular_symbol_has_many_times_the_traffic_of_the_least() {
        let mut counts = HashMap::<String, usize>::new();
        for tick in feed(4, 300) {
            *counts.entry(tick.topic.split_once('.').unwrap().1.to_owned()).or_default() += 1;
        }
        assert_eq!(counts.len(), SYMBOLS.len());
        let (first, last) = (counts[SYMBOLS[0].0], counts[SYMBOLS[31].0]);
        assert!(first > 10 * last, "{first} and {last}");
    }

    #[test]
    fn trades_quotes_and_books_agree_and_bid_is_below_ask() {
        let mut feed = Feed::new(5);
        let mut books = HashMap::<String, [BTreeMap<String, f64>; 2]>::new();
        let mut updates = HashMap::<String, u64>::new();
        let mut snapshots = 0;
        for _ in 0..100_000 {
            let best: Vec<(i64, i64)> =
                feed.markets.iter().map(|market| (market.now.bid, market.now.ask)).collect();
            let tick = feed.next().unwrap();
            let data: Value = serde_json::from_str(&tick.data).unwrap();
            let (class, symbol) = tick.topic.split_once('.').unwrap();
            let index = SYMBOLS.iter().position(|entry| entry.0 == symbol).unwrap();
            let market = &feed.markets[index];
            let now = market.now;
            assert!(0 < now.bid && now.bid < now.ask);
            assert!(now.bids.iter().chain(&now.asks).all(|&quantity| quantity > 0));
            match class {
                "trade" => {
                    let price = if data["m"] == true { best[index].0 } else { best[index].1 };
                    assert_eq!(data["p"], market.price(price).to_string());
                }
                "bbo" => {
                    assert!(number(&data["b"]) < number(&data["a"]));
                    assert_eq!(data["b"], market.price(now.bid).to_string());
                    assert_eq!(data["a"], market.price(now.ask).to_string());
                }
                _ => {
                    let book = books.entry(symbol.to_owned()).or_default();
                    if data["e"] == "depthSnapshot" {
                        *book = Default::default();
                        snapshots += 1;
                    } else {
                        assert_eq!(data["pu"], updates[symbol]);
                    }
                    updates.insert(symbol.to_owned(), data["u"].as_u64().unwrap());
                    for (side, levels) in book.iter_mut().zip([&data["b"], &data["a"]]) {
                        for level in levels.as_array().unwrap() {
                            let price = level[0].as_str().unwrap().to_owned();
                            match number(&level[1]) {
                                0.0 => assert!(side.remove(&price).is_some()),
                                quantity => drop(side.insert(price, quantity)),
                            }
                        }
                    }
                    // Whoever follows the book has exactly the market's.
                    for (side, levels) in
                        book.iter().zip([now.bid_levels().collect::<Vec<_>>(), now.ask_levels().collect()])
                    {
                        let expected = levels.iter().map(|&(price, quantity)| {
                            (
                                market.price(price).to_string(),
                                market.lots(quantity).to_string().parse::<f64>().unwrap(),
                            )
                        });
                        assert_eq!(*side, expected.collect());
                    }
                }
            }
        }
        assert!((100..10_000).contains(&snapshots), "{snapshots} snapshots");
    }
}
