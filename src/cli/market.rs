//! One symbol of the synthetic feed: a book that moves, and the messages that tell of it. Pure.

use fastrand::Rng;
use std::fmt::Write;
use std::sync::Arc;

/// Levels of a book that are published, a side.
const DEPTH: usize = 7;
/// More changes than this make a snapshot the shorter message.
const CHANGES_MAX: usize = 2 * DEPTH;

/// What every message carries: its time and the exchange's update number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) ms: u64,
    pub(super) update: u64,
}

impl Stamp {
    /// When the matching engine did it, a few milliseconds before the message.
    fn matched_ms(self) -> u64 {
        self.ms - 1 - self.update % 8
    }
}

/// One symbol: its book, and what of it was last published.
#[derive(Debug)]
pub(super) struct Market {
    symbol: &'static str,
    decimals: u32,
    /// Decimals of a quantity: the cheaper a coin, the more of them make a trade.
    lot_decimals: u32,
    /// The price it started from; it never strays far.
    anchor: i64,
    pub(super) now: Ladder,
    /// The book as whoever follows `book.SYM` has it.
    shown: Option<Ladder>,
    shown_update: u64,
    trade_id: u64,
    pub(super) trade: Arc<str>,
    pub(super) bbo: Arc<str>,
    pub(super) book: Arc<str>,
}

impl Market {
    pub(super) fn new((symbol, decimals, anchor): (&'static str, u32, i64), rng: &mut Rng) -> Self {
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
    pub(super) fn trade(&mut self, stamp: Stamp, drift: i64, rng: &mut Rng) -> String {
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
    pub(super) fn bbo(&mut self, stamp: Stamp, drift: i64, rng: &mut Rng) -> String {
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
    pub(super) fn book(&mut self, stamp: Stamp, rng: &mut Rng) -> String {
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

    pub(super) fn price(&self, units: i64) -> Decimal {
        Decimal(units, self.decimals)
    }

    pub(super) fn lots(&self, quantity: u32) -> Decimal {
        Decimal(quantity.into(), self.lot_decimals)
    }
}

/// A price, in units of its last decimal, and the quantity there, in lots; 0 when the level is gone.
pub(super) type Level = (i64, u32);

/// The best [`DEPTH`] prices of each side, one tick apart, and their quantities, best first. Invariant: `bid < ask`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ladder {
    pub(super) bid: i64,
    pub(super) ask: i64,
    pub(super) bids: [u32; DEPTH],
    pub(super) asks: [u32; DEPTH],
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

    pub(super) fn bid_levels(&self) -> impl Iterator<Item = Level> {
        (0..).zip(self.bids).map(|(level, quantity)| (self.bid - level, quantity))
    }

    pub(super) fn ask_levels(&self) -> impl Iterator<Item = Level> {
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
pub(super) struct Decimal(i64, u32);

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
