//! Why connections end: close codes as clients see them, and reasons as metrics count them.

/// A WebSocket close code. 4000 to 4499 mean reconnect, 4500 to 4999 mean do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Normal end.
    pub const NORMAL: Self = Self(1000);
    /// The frames break RFC 6455.
    pub const PROTOCOL: Self = Self(1002);
    /// A text message is not UTF-8.
    pub const NOT_UTF8: Self = Self(1007);
    /// A message is larger than the server takes.
    pub const TOO_BIG: Self = Self(1009);
    /// The server restarts: reconnect, elsewhere or a little later.
    pub const RESTART: Self = Self(1012);
    /// No room now: come back a little later.
    pub const TRY_LATER: Self = Self(1013);
    /// Behind its limits; the reason names the last sequence delivered.
    pub const SLOW_CONSUMER: Self = Self(4001);
    /// Of a topic there is neither what is missing nor a snapshot to begin from.
    pub const CANNOT_RESUME: Self = Self(4002);
    /// Nothing came from the client for too long, not even a pong.
    pub const NO_PONG: Self = Self(4003);
    /// Operations come faster than the limit.
    pub const RATE_LIMITED: Self = Self(4005);
    /// More than the limits allow: do not come back for the same.
    pub const LIMIT: Self = Self(4503);
    /// A newer session has the same identity: do not come back.
    pub const REPLACED: Self = Self(4504);
    /// Closed by the operator.
    pub const OPERATOR: Self = Self(1001);
    /// The server failed this one connection; the others live on.
    pub const INTERNAL: Self = Self(1011);
}

/// Why a connection ended: the `reason` label of `stentor_connections_dropped_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The client closed, or went away between messages.
    Client,
    /// The socket failed: reset, broken pipe, time-out of the kernel.
    Socket,
    /// Behind its limits (4001).
    SlowConsumer,
    /// Too far behind on a topic of which there is no snapshot (4002).
    CannotResume,
    /// Silent for too long (4003).
    NoPong,
    /// A message took longer from its first byte to its last than it may (4003).
    ReadDeadline,
    /// A subscription by datagram was not renewed in time (4003).
    LeaseExpired,
    /// Broke RFC 6455 (1002, 1007).
    Protocol,
    /// Sent a message over the limit (1009).
    TooBig,
    /// Too many operations (4005).
    RateLimited,
    /// Its patterns match more topics than one connection's may (4503).
    Limit,
    /// A newer session of the same identity took its place (4504).
    Replaced,
    /// Another session had its identity already (4503).
    IdentityTaken,
    /// Closed through `DELETE /connections/<id>`.
    Operator,
    /// The server is going down (1012).
    Shutdown,
    /// A bug in this connection's code; caught and counted.
    Panic,
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = 16;

    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Client,
        Self::Socket,
        Self::SlowConsumer,
        Self::CannotResume,
        Self::NoPong,
        Self::ReadDeadline,
        Self::LeaseExpired,
        Self::Protocol,
        Self::TooBig,
        Self::RateLimited,
        Self::Limit,
        Self::Replaced,
        Self::IdentityTaken,
        Self::Operator,
        Self::Shutdown,
        Self::Panic,
    ];

    /// As in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Socket => "socket",
            Self::SlowConsumer => "slow_consumer",
            Self::CannotResume => "cannot_resume",
            Self::NoPong => "no_pong",
            Self::ReadDeadline => "read_deadline",
            Self::LeaseExpired => "lease_expired",
            Self::Protocol => "protocol",
            Self::TooBig => "too_big",
            Self::RateLimited => "rate_limited",
            Self::Limit => "limit",
            Self::Replaced => "replaced",
            Self::IdentityTaken => "identity_taken",
            Self::Operator => "operator",
            Self::Shutdown => "shutdown",
            Self::Panic => "panic",
        }
    }

    /// What the client is told, where it is told anything by us.
    pub fn code(self) -> CloseCode {
        match self {
            Self::Client | Self::Socket => CloseCode::NORMAL,
            Self::SlowConsumer => CloseCode::SLOW_CONSUMER,
            Self::CannotResume => CloseCode::CANNOT_RESUME,
            Self::NoPong | Self::ReadDeadline | Self::LeaseExpired => CloseCode::NO_PONG,
            Self::Protocol => CloseCode::PROTOCOL,
            Self::TooBig => CloseCode::TOO_BIG,
            Self::RateLimited => CloseCode::RATE_LIMITED,
            Self::Limit | Self::IdentityTaken => CloseCode::LIMIT,
            Self::Replaced => CloseCode::REPLACED,
            Self::Operator => CloseCode::OPERATOR,
            Self::Shutdown => CloseCode::RESTART,
            Self::Panic => CloseCode::INTERNAL,
        }
    }
}
