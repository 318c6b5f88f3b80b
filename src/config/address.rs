//! Addresses that may be left out: an empty text says nowhere.

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};
use std::net::SocketAddr;

pub(super) fn serialize<S: Serializer>(
    address: &Option<SocketAddr>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    address.map(|address| address.to_string()).unwrap_or_default().serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let invalid = |_| de::Error::custom("it is an address and a port, such as 127.0.0.1:7401, or empty");
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(invalid) }
}
