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

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

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
/// Levels of a book that are published, a side.
const DEPTH: usize = 7;
/// More changes than this make a snapshot the shorter message.
const CHANGES_MAX: usize = 2 * DEPTH;
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

/// What every message carries: its time and the exchange's update number.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    ms: u64,
    update: u64,
}

impl Stamp {
    /// When the matching engine did it, a few milliseconds before the message.
    fn matched_ms(self) -> u64 {
        self.ms - 1 - self.update % 8
    }
}

/// One symbol: its book, and what of it was last published.
#[derive(Debug)]
struct Market {
    symbol: &'static str,
    decimals: u32,
    /// Decimals of a quantity: the cheaper a coin, the more of them make a trade.
    lot_decimals: u32,
    /// The price it started from; it never strays far.
    anchor: i64,
    now: Ladder,
    /// The book as whoever follows `book.SYM` has it.
    shown: Option<Ladder>,
    shown_update: u64,
    trade_id: u64,
    trade: Arc<str>,
    bbo: Arc<str>,
    book: Arc<str>,
}

impl Market {
    fn new((symbol, decimals, anchor): (&'static str, u32, i64), rng: &mut Rng) -> Self {
        Self {
            symbol,
            decimals,
            lot_decimals: match anchor / 10_i64.pow(decimals) {
                1000.. => 3,
                10.. => 2,
                _ => 0,
            },
            anchor,
            now: Ladder::new(anchor, anchor + 1, rng),
            shown: None,
            shown_update: 0,
            trade_id: rng.u64(100_000_000..900_000_000),
            trade: format!("trade.{symbol}").into(),
            bbo: format!("bbo.{symbol}").into(),
            book: format!("book.{symbol}").into(),
        }
    }

    /// A trade takes from the best level; one that takes all of it moves the price.
    fn trade(&mut self, stamp: Stamp, drift: i64, rng: &mut Rng) -> String {
        let buy = if drift != 0 && rng.f64() < 0.8 { drift > 0 } else { rng.bool() };
        let now = &mut self.now;
        let (price, best) = if buy { (now.ask, &mut now.asks[0]) } else { (now.bid, &mut now.bids[0]) };
        let quantity = rng.u32(1..4_000).min(*best);
        *best -= quantity;
        if *best == 0 {
            let (bid, ask) = if buy { (now.bid, now.ask + 1) } else { (now.bid - 1, now.ask) };
            // The other side follows when the spread gets wide.
            let (bid, ask) = match (ask - bid > 4, buy) {
                (true, true) => (bid + 1, ask),
                (true, false) => (bid, ask - 1),
                (false, _) => (bid, ask),
            };
            now.move_to(bid, ask, rng);
        }
        let fills = rng.u64(0..4);
        let (first, last) = (self.trade_id + 1, self.trade_id + 1 + fills);
        self.trade_id = last;
        format!(
            r#"{{"e":"aggTrade","E":{},"a":{},"s":"{}","p":"{}","q":"{}","f":{first},"l":{last},"T":{},"m":{}}}"#,
            stamp.ms,
            stamp.update,
            self.symbol,
            self.price(price),
            self.lots(quantity),
            stamp.matched_ms(),
            !buy
        )
    }

    /// The quote moves, or its quantity changes.
    fn bbo(&mut self, stamp: Stamp, drift: i64, rng: &mut Rng) -> String {
        // A coarse price moves less often: a burst must not take a tenth off a cheap coin.
        if rng.f64() < (self.anchor as f64 / 40_000.0).clamp(0.1, 0.6) {
            let step = rng.i64(1..=3);
            let step = match self.now.bid - self.anchor {
                away if away > self.anchor / 6 => -step,
                away if away < -self.anchor / 6 => step,
                _ if drift != 0 && rng.f64() < 0.8 => drift * step,
                _ => step * if rng.bool() { 1 } else { -1 },
            };
            let bid = self.now.bid + step;
            // One tick is the usual spread.
            let spread = rng.i64(1..=4).min(rng.i64(1..=3));
            self.now.move_to(bid, bid + spread, rng);
        } else if rng.bool() {
            self.now.bids[0] = quantity(rng);
        } else {
            self.now.asks[0] = quantity(rng);
        }
        format!(
            r#"{{"e":"bookTicker","u":{},"s":"{}","b":"{}","B":"{}","a":"{}","A":"{}","T":{},"E":{}}}"#,
            stamp.update,
            self.symbol,
            self.price(self.now.bid),
            self.lots(self.now.bids[0]),
            self.price(self.now.ask),
            self.lots(self.now.asks[0]),
            stamp.matched_ms(),
            stamp.ms
        )
    }

    /// Some levels change, and all that changed since the last message of the book is told.
    fn book(&mut self, stamp: Stamp, rng: &mut Rng) -> String {
        for _ in 0..rng.usize(1..=4) {
            let side = if rng.bool() { &mut self.now.bids } else { &mut self.now.asks };
            side[rng.usize(..DEPTH)] = quantity(rng);
        }
        let shown = self.shown.replace(self.now).filter(|_| rng.u8(..) != 0);
        let before = std::mem::replace(&mut self.shown_update, stamp.update);
        let changes = shown.map(|shown| self.now.since(&shown));
        let mut data = String::with_capacity(512);
        let (bids, asks) = match changes {
            Some((bids, asks)) if bids.len() + asks.len() <= CHANGES_MAX => {
                self.open(&mut data, "depthUpdate", stamp);
                put(&mut data, format_args!(r#""U":{},"u":{},"pu":{before},"#, before + 1, stamp.update));
                (bids, asks)
            }
            _ => {
                self.open(&mut data, "depthSnapshot", stamp);
                put(&mut data, format_args!(r#""u":{},"#, stamp.update));
                (self.now.bid_levels().collect(), self.now.ask_levels().collect())
            }
        };
        self.levels(&mut data, "b", &bids);
        data.push(',');
        self.levels(&mut data, "a", &asks);
        data.push('}');
        data
    }

    fn open(&self, data: &mut String, event: &str, stamp: Stamp) {
        let (ms, matched) = (stamp.ms, stamp.matched_ms());
        put(data, format_args!(r#"{{"e":"{event}","E":{ms},"T":{matched},"s":"{}","#, self.symbol));
    }

    fn levels(&self, data: &mut String, side: &str, levels: &[Level]) {
        put(data, format_args!(r#""{side}":["#));
        for (n, &(price, quantity)) in levels.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let price = self.price(price);
            // As exchanges write it: nothing left is "0".
            match quantity {
                0 => put(data, format_args!(r#"{comma}["{price}","0"]"#)),
                _ => put(data, format_args!(r#"{comma}["{price}","{}"]"#, self.lots(quantity))),
            }
        }
        data.push(']');
    }

    fn price(&self, units: i64) -> Decimal {
        Decimal(units, self.decimals)
    }

    fn lots(&self, quantity: u32) -> Decimal {
        Decimal(quantity.into(), self.lot_decimals)
    }
}

/// A price, in units of its last decimal, and the quantity there, in lots; 0 when the level is gone.
type Level = (i64, u32);

/// The best [`DEPTH`] prices of each side, one tick apart, and their quantities, best first. Invariant: `bid < ask`.
#[derive(Debug, Clone, Copy)]
struct Ladder {
    bid: i64,
    ask: i64,
    bids: [u32; DEPTH],
    asks: [u32; DEPTH],
}

impl Ladder {
    fn new(bid: i64, ask: i64, rng: &mut Rng) -> Self {
        Self {
            bid,
            ask,
            bids: [(); DEPTH].map(|()| quantity(rng)),
            asks: [(); DEPTH].map(|()| quantity(rng)),
        }
    }

    /// Moves the best prices. A price that stays in the ladder, on its side, keeps its quantity.
    fn move_to(&mut self, bid: i64, ask: i64, rng: &mut Rng) {
        let old = *self;
        *self = Self::new(bid, ask, rng);
        for level in 0..DEPTH {
            let kept = |quantity: Option<u32>| quantity.filter(|&quantity| quantity > 0);
            self.bids[level] = kept(old.bid_at(bid - level as i64)).unwrap_or(self.bids[level]);
            self.asks[level] = kept(old.ask_at(ask + level as i64)).unwrap_or(self.asks[level]);
        }
    }

    /// The levels of each side that are not as they were `then`.
    fn since(&self, then: &Self) -> (Vec<Level>, Vec<Level>) {
        let gone = then.bid_levels().filter(|level| self.bid_at(level.0).is_none());
        let new = self.bid_levels().filter(|level| then.bid_at(level.0) != Some(level.1));
        let bids = gone.map(|level| (level.0, 0)).chain(new).collect();
        let gone = then.ask_levels().filter(|level| self.ask_at(level.0).is_none());
        let new = self.ask_levels().filter(|level| then.ask_at(level.0) != Some(level.1));
        let asks = gone.map(|level| (level.0, 0)).chain(new).collect();
        (bids, asks)
    }

    fn bid_levels(&self) -> impl Iterator<Item = Level> {
        (0..).zip(self.bids).map(|(level, quantity)| (self.bid - level, quantity))
    }

    fn ask_levels(&self) -> impl Iterator<Item = Level> {
        (0..).zip(self.asks).map(|(level, quantity)| (self.ask + level, quantity))
    }

    fn bid_at(&self, price: i64) -> Option<u32> {
        usize::try_from(self.bid - price).ok().and_then(|level| self.bids.get(level)).copied()
    }

    fn ask_at(&self, price: i64) -> Option<u32> {
        usize::try_from(price - self.ask).ok().and_then(|level| self.asks.get(level)).copied()
    }
}

/// A quantity at a level, in lots: mostly small, never none.
fn quantity(rng: &mut Rng) -> u32 {
    1 + rng.u32(..40_000).min(rng.u32(..40_000))
}

/// A non-negative number in units of its last decimal, written with that many decimals.
struct Decimal(i64, u32);

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.1 == 0 {
            return write!(f, "{}", self.0);
        }
        let unit = 10_i64.pow(self.1);
        write!(f, "{}.{:0width$}", self.0 / unit, self.0 % unit, width = self.1 as usize)
    }
}

fn put(data: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = data.write_fmt(text);
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
