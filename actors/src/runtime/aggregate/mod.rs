//! Aggregates as actors: one actor per stream decides, commits, applies and replies, one message after the other.
//!
//! The actor awaits the committer inside its handler, so its mailbox is the stash; a reply is sent only after the
//! commit. When the outcome of a commit is unknown or another writer was first, the state is dropped and reloaded.

mod actor;
mod directory;
mod handle;
mod recover;
mod snapshots;

pub(super) use actor::from_first;
pub use directory::{Directory, Shared};
pub use handle::{Identity, Submission, SubmitError, Submitted};
pub use recover::{At, Fold, replay};
pub use snapshots::{SnapshotMetrics, Snapshots};
