//! `[identity]`: who sessions are, and how many may be the same.

use serde::{Deserialize, Serialize};

/// `[identity]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentitySettings {
    /// Believe `?client=ID`: only behind a proxy that sets it, or among friends. Else it is ignored.
    pub trust_client: bool,
    /// What becomes of a second session with the same identity.
    pub second_session: SecondSession,
}

/// What becomes of a second session with the same identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondSession {
    /// Both go on: what is published to `$client.<ID>` reaches a group.
    #[default]
    Allow,
    /// The first is closed with 4504.
    Replace,
    /// The second is closed with 4503.
    Refuse,
}
