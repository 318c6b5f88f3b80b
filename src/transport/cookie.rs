//! Cookies: proof that a datagram's sender is where it says, without remembering anybody who has not proved it.
//!
//! Contract: whoever shows a cookie has received what was sent to its address lately. One is good for the address it
//! was made for, for at least [`WINDOW_S`] seconds and at most twice that. Keyed hashing with a key of the process, as
//! Linux makes its SYN cookies.

use crate::clock::Moment;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::str::FromStr;

/// Seconds for which cookies are the same.
const WINDOW_S: u32 = 60;

/// See the module. On the wire: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie(u64);

/// Makes cookies and knows its own.
#[derive(Debug, Default)]
pub(crate) struct Jar {
    key: RandomState,
}

impl Jar {
    /// The cookie of an address for now.
    pub(crate) fn bake(&self, address: SocketAddr, now: Moment) -> Cookie {
        self.of_window(address, now.secs() / WINDOW_S)
    }

    /// True exactly when it was baked for that address in this window or the one before.
    pub(crate) fn is_fresh(&self, cookie: Cookie, address: SocketAddr, now: Moment) -> bool {
        let window = now.secs() / WINDOW_S;
        cookie == self.of_window(address, window)
            || window > 0 && cookie == self.of_window(address, window - 1)
    }

    fn of_window(&self, address: SocketAddr, window: u32) -> Cookie {
        Cookie(self.key.hash_one((address, window)))
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is no cookie: not 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCookie;

impl FromStr for Cookie {
    type Err = NoCookie;

    fn from_str(text: &str) -> Result<Self, NoCookie> {
        let is_shaped = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_shaped).map(Self).ok_or(NoCookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_micros(secs * 1_000_000)
    }

    #[test]
    fn a_cookie_is_good_for_its_address_and_for_a_while() {
        let jar = Jar::default();
        let [here, there] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let cookie = jar.bake(here, at(90));
        assert_eq!(cookie.to_string().parse(), Ok(cookie));
        for (now, address, good) in
            [(90, here, true), (179, here, true), (180, here, false), (90, there, false), (59, here, false)]
        {
            assert_eq!(jar.is_fresh(cookie, address, at(now)), good, "{now} {address}");
        }
        assert!(!Jar::default().is_fresh(cookie, here, at(90)), "another process's");
        for wrong in ["", "123", "00000000000000000", "+000000000000000", "000000000000000g"] {
            assert_eq!(wrong.parse::<Cookie>(), Err(NoCookie), "{wrong:?}");
        }
    }
}
