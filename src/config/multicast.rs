//! `multicast` of a `[[topic]]`: where its messages go beside their subscribers.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// `multicast = { group = "239.1.2.3:7410", interface = "10.0.0.1", ttl = 1 }`. Read at the start only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multicast {
    /// The group and the port; an IPv6 group names its interface itself, as in `[ff02::1234%2]:7410`.
    pub group: SocketAddr,
    /// The address of the interface that an IPv4 group is reached by; without it the system chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Ipv4Addr>,
    /// Routers that the datagrams may pass, and one. 1: they stay in this network.
    #[serde(default = "one")]
    pub ttl: u32,
}

fn one() -> u32 {
    1
}

impl Multicast {
    /// What is wrong with it by itself.
    pub(super) fn fault(&self) -> Option<String> {
        if !self.group.ip().is_multicast() || self.group.port() == 0 {
            return Some(format!(
                "multicast: {} is no group with a port, such as 239.1.2.3:7410",
                self.group
            ));
        }
        if self.interface.is_some() && self.group.is_ipv6() {
            return Some(
                "multicast: an IPv6 group names its interface itself, as in [ff02::1234%2]:7410".into(),
            );
        }
        (self.ttl > 255).then(|| "multicast: ttl is at most 255".into())
    }
}
