//! Appends that wait for their turn, and what goes into one transaction. A caller may take its append back while it waits:
//! it is certainly not stored then. Never in here: sending anything.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::CommitResult;
use crate::domain::ids::StreamId;
use crate::limits::COMMIT_BATCH;
use crate::ports::batch::MAX_BATCH_BYTES;
use crate::ports::event_store::Append;

/// An append, and who waits for what becomes of it.
pub(super) struct Waiting {
    pub(super) append: Append,
    pub(super) reply: oneshot::Sender<CommitResult>,
    pub(super) turn: Turn,
    /// How long it may wait while it is certainly not stored.
    pub(super) patience: Instant,
    pub(super) room: OwnedSemaphorePermit,
}

/// Whether an append is still its caller's, or the committer's: whoever asks first has it for good.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Takes it; false when the other has it.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Takes what goes into one transaction, in order: each stream at most once, so that the store need not order
/// units among themselves, and no more than it takes at once. What names a stream again waits for the next batch; what
/// its caller took back is dropped.
pub(super) fn take_batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (mut batch, mut later) = (Vec::new(), VecDeque::new());
    let mut taken: HashSet<StreamId> = HashSet::new();
    let mut room = MAX_BATCH_BYTES;
    while batch.len() < COMMIT_BATCH {
        let Some(next) = waiting.pop_front() else { break };
        if next.turn.is_taken() {
            continue;
        }
        let streams = || next.append.streams.iter();
        let bytes: usize = streams().flat_map(|s| &s.events).map(|e| e.payload.len()).sum();
        if bytes > room {
            later.push_back(next);
            break;
        }
        let waits = streams().any(|s| taken.contains(&s.stream));
        // the streams of what waits are taken too, so that the units of a stream keep their order
        taken.extend(streams().map(|s| s.stream.clone()));
        if waits {
            later.push_back(next);
        } else if next.turn.take() {
            room -= bytes;
            batch.push(next);
        }
    }
    later.append(waiting);
    *waiting = later;
    batch
}
