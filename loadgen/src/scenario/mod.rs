//! What can be asked of a server, a file each.

pub(crate) mod churn;
pub(crate) mod connections;
pub(crate) mod contest;
pub(crate) mod fanout;
pub(crate) mod knee;
pub(crate) mod slow;
pub(crate) mod soak;
mod stage;
pub(crate) mod storm;

use crate::clock::Clock;
use crate::crowd;
use crate::fleet::FleetError;
use crate::handshake::Opened;
use crate::measure::seconds_between;
use crate::progress::Progress;
use crate::target::{Call, Target};
use fanout::{RunError, resolve};

/// The server under test, and by what a run of it is timed and followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) target: &'a Target,
    /// Its process, where it can be watched.
    pub(crate) pid: Option<u32>,
    pub(crate) clock: Clock,
    pub(crate) progress: Progress,
}

impl Subject<'_> {
    /// Opens `count` connections that are no subscribers of the run.
    pub(crate) async fn open_crowd(self, call: &Call, count: usize) -> Result<Vec<Opened>, RunError> {
        let server = resolve(&self.target.address).await?;
        let from_ns = self.clock.now_ns();
        let phase = self.progress.phase("crowd", count as u64);
        let opened = crowd::open_all(server, call, count, &mut |opened| phase.at(opened)).await;
        let opened = opened.map_err(|source| FleetError::Crowd { wanted: count as u64, source })?;
        phase.done(seconds_between(from_ns, self.clock.now_ns()), count as u64, "connections beside");
        Ok(opened)
    }
}
