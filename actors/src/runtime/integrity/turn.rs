//! One turn of the sealer: looks how far log and seals have come, compares them with what was seen before, seals what is
//! new and copies the checkpoint outside. A contradiction is an alarm and seals nothing. No timer and no mailbox here.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::sealer::IntegrityPorts;
use super::status::SealerStatus;
use super::tree::{SealedTree, TreeError, leaves};
use crate::domain::integrity::checkpoint::Checkpoint;
use crate::domain::integrity::merkle::{Hash, Tile, TreeBuilder, empty_root};
use crate::domain::integrity::note::{KeyName, NoteError, SignedNote, VerifierKey};
use crate::limits::{SEAL_EVENTS, SEAL_PAGE, WITNESS_LEAVES};
use crate::ports::batch::whole_micros;
use crate::ports::checkpoints::{OutsideError, Published, TrustedKey};
use crate::ports::event_store::StoreError;
use crate::ports::integrity_store::{LogState, Seal, SealOutcome, StoredCheckpoint};
use crate::ports::{Clock, IntegrityStore};

/// Why a turn came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
    /// The store does not answer; the next turn may find it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copies outside cannot be read, so nothing can be compared with them.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// A note could not be put together.
    #[error("a checkpoint cannot be signed")]
    Note(#[source] NoteError),
    /// The log contradicts what was sealed.
    #[error("{0}")]
    Alarm(String),
}

impl From<TreeError> for TurnError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Store(error) => Self::Store(error),
            other => Self::Alarm(other.to_string()),
        }
    }
}

/// A checkpoint that must stay true: it was seen outside, or sealed by this node.
#[derive(Debug, Clone, Copy)]
struct Seen {
    size: u64,
    root: Hash,
}

/// What the sealer knows between two turns.
#[derive(Default)]
pub(super) struct Memory {
    /// Whether the copies outside were looked at.
    looked_outside: bool,
    /// The origin of the copies outside.
    outside_origin: Option<KeyName>,
    seen: Option<Seen>,
    /// Whether the log was compared with it.
    agreed: bool,
    /// The tree as it is sealed in the store.
    tree: Option<TreeBuilder>,
    /// A checkpoint that is not yet copied outside.
    unpublished: Option<StoredCheckpoint>,
}

/// Does one turn, in which only the node that `seals` adds a seal; true when there is more to seal at once.
pub(super) async fn turn(
    ports: &IntegrityPorts,
    clock: &dyn Clock,
    status: &SealerStatus,
    memory: &mut Memory,
    seals: bool,
) -> Result<bool, TurnError> {
    if !memory.looked_outside {
        memory.look_outside(ports, status).await?;
    }
    let state = ports.store.log_state().await?;
    status.position.store(state.position.0, Relaxed);
    let tree = memory.settled(ports, &state).await?;
    let sealed = tree.size();
    status.sealed.store(sealed, Relaxed);
    if let Some(latest) = state.sealed.as_ref().filter(|latest| status.published.load(Relaxed) < latest.size)
    {
        // by another node's hand too: what this one would not believe, it does not keep as evidence
        believe(&latest.note, &ports.signer.trusted()).map_err(|why| {
            TurnError::Alarm(format!(
                "the latest checkpoint in the store is not to be believed: {why}; is integrity.key_file the same on every node?"
            ))
        })?;
        memory.unpublished = Some(latest.clone());
    }
    let more = if seals && state.position.0 > sealed {
        let origin = memory.origin(ports, &state)?;
        let (tree, seal) = extended(ports, clock, tree, &state, origin).await?;
        memory.seal(ports, status, tree, seal).await?;
        status.position.load(Relaxed) > status.sealed.load(Relaxed)
    } else {
        false
    };
    memory.publish(ports, status).await;
    Ok(more)
}

/// The tree with what was added to the log, and the seal over it.
async fn extended(
    ports: &IntegrityPorts,
    clock: &dyn Clock,
    mut tree: TreeBuilder,
    state: &LogState,
    origin: KeyName,
) -> Result<(TreeBuilder, Seal), TurnError> {
    let previous = tree.size();
    let target = state.position.0.min(previous.saturating_add(SEAL_EVENTS));
    let mut tiles = Vec::new();
    extend(&*ports.store, &mut tree, target, |tile| tiles.push(tile)).await?;
    let checkpoint = Checkpoint { origin, size: target, root: tree.root() };
    let text = checkpoint.to_string();
    let signatures = ports.signer.sign(&text);
    let note = SignedNote::new(text, signatures).map_err(TurnError::Note)?.to_string();
    let sealed_at = whole_micros(clock.now());
    let checkpoint = StoredCheckpoint { size: target, root: checkpoint.root, note, sealed_at };
    Ok((tree, Seal { previous, tiles, checkpoint }))
}

async fn extend(
    store: &dyn IntegrityStore,
    tree: &mut TreeBuilder,
    target: u64,
    mut completed: impl FnMut(Tile),
) -> Result<(), TreeError> {
    while tree.size() < target {
        let count = SEAL_PAGE.min(target - tree.size());
        for leaf in leaves(store, tree.size(), count).await? {
            tree.append(leaf, &mut completed);
        }
    }
    Ok(())
}

impl Memory {
    /// After a contradiction everything is read again: what was resolved by an operator's hand is so found.
    pub(super) fn distrust(&mut self) {
        self.tree = None;
        self.agreed = false;
        self.looked_outside = false;
    }

    /// Takes the latest copy outside as seen, if a trusted key has signed it.
    async fn look_outside(&mut self, ports: &IntegrityPorts, status: &SealerStatus) -> Result<(), TurnError> {
        if let Some(text) = ports.outside.latest().await? {
            let checkpoint = believe(&text, &ports.signer.trusted()).map_err(|why| {
                let at = ports.outside.place().at;
                TurnError::Alarm(format!("the latest checkpoint in {at} is not to be believed: {why}"))
            })?;
            status.published.store(checkpoint.size, Relaxed);
            if self.seen.is_none_or(|seen| seen.size <= checkpoint.size) {
                self.agreed = false;
                self.seen = Some(Seen { size: checkpoint.size, root: checkpoint.root });
            }
            self.outside_origin = Some(checkpoint.origin);
        }
        self.looked_outside = true;
        Ok(())
    }

    /// The sealed tree, once it is the one that the latest checkpoint tells of and agrees with what was seen before.
    async fn settled(&mut self, ports: &IntegrityPorts, state: &LogState) -> Result<TreeBuilder, TurnError> {
        let (size, root) =
            state.sealed.as_ref().map_or((0, empty_root()), |latest| (latest.size, latest.root));
        if let Some(tree) = self.tree.as_ref().filter(|tree| tree.size() == size && tree.root() == root)
            && self.agreed
            && self.seen.is_none_or(|seen| seen.size <= state.position.0)
        {
            return Ok(tree.clone());
        }
        if size > state.position.0 {
            let last = state.position.0;
            return Err(TurnError::Alarm(format!(
                "the log ends at position {last}, but the store holds a checkpoint over {size} events: the log was cut"
            )));
        }
        if let Some(mut tree) = self
            .tree
            .take()
            .filter(|tree| self.agreed && tree.size() < size && size - tree.size() <= WITNESS_LEAVES)
        {
            // another node has sealed meanwhile: what it sealed goes on from here if it has this root
            extend(&*ports.store, &mut tree, size, drop).await?;
            if tree.root() == root {
                self.seen = Some(Seen { size, root });
                return Ok(self.tree.insert(tree).clone());
            }
        }
        let mut sealed = SealedTree::new(&*ports.store, size);
        let tree = sealed.builder().await?;
        if tree.root() != root {
            return Err(TurnError::Alarm(format!(
                "the sealed tree of {size} events has another root than its checkpoint: it was changed after it was sealed"
            )));
        }
        if let Some(seen) = self.seen {
            agree(ports, &mut sealed, &tree, state, seen).await?;
        }
        if self.seen.is_none_or(|seen| seen.size < size) {
            self.seen = Some(Seen { size, root });
        }
        self.agreed = true;
        self.tree = Some(tree.clone());
        Ok(tree)
    }

    /// Which log it is: what the first checkpoint said, or the signer's name for a new one.
    fn origin(&self, ports: &IntegrityPorts, state: &LogState) -> Result<KeyName, TurnError> {
        let Some(latest) = &state.sealed else {
            return Ok(self.outside_origin.clone().unwrap_or_else(|| ports.signer.name()));
        };
        let read = latest.note.parse::<SignedNote>().ok().and_then(|note| Checkpoint::of(&note).ok());
        let origin = read.map(|checkpoint| checkpoint.origin).ok_or_else(|| {
            let size = latest.size;
            TurnError::Alarm(format!(
                "the store's checkpoint over {size} events cannot be read: it was changed"
            ))
        })?;
        match &self.outside_origin {
            Some(outside) if *outside != origin => Err(TurnError::Alarm(format!(
                "the store holds the log {origin}, but the checkpoints outside are those of {outside}"
            ))),
            _ => Ok(origin),
        }
    }

    async fn seal(
        &mut self,
        ports: &IntegrityPorts,
        status: &SealerStatus,
        tree: TreeBuilder,
        seal: Seal,
    ) -> Result<(), TurnError> {
        let checkpoint = seal.checkpoint.clone();
        match ports.store.seal(Arc::new(seal)).await? {
            SealOutcome::Sealed => {
                ports.signer.sealed(checkpoint.size).await;
                status.sealed.store(checkpoint.size, Relaxed);
                status.seals.fetch_add(1, Relaxed);
                self.seen = Some(Seen { size: checkpoint.size, root: checkpoint.root });
                self.tree = Some(tree);
                self.unpublished = Some(checkpoint);
            }
            // another node was faster: the next turn reads what it sealed
            SealOutcome::Behind => {}
        }
        Ok(())
    }

    /// Copies the latest checkpoint outside. When that fails sealing goes on: it is tried again every turn.
    async fn publish(&mut self, ports: &IntegrityPorts, status: &SealerStatus) {
        let Some(checkpoint) = &self.unpublished else { return };
        let published = ports.outside.publish(&checkpoint.note, checkpoint.sealed_at).await;
        let error = match published {
            Ok(Published::Written) => {
                status.published.fetch_max(checkpoint.size, Relaxed);
                self.unpublished = None;
                None
            }
            Ok(Published::Changed) => {
                self.looked_outside = false;
                None
            }
            Err(error) => {
                status.failures.fetch_add(1, Relaxed);
                if matches!(error, OutsideError::Damaged(_)) {
                    self.looked_outside = false;
                }
                Some((error.to_string(), error))
            }
        };
        let (shown, error) = error.unzip();
        let before = status.set_outside_error(shown.clone());
        if let Some(error) = error.filter(|_| before != shown) {
            tracing::error!(error = &error as &dyn std::error::Error, "checkpoint not copied outside");
        }
    }
}

/// Whether the log still begins with what was seen.
async fn agree(
    ports: &IntegrityPorts,
    sealed: &mut SealedTree<'_>,
    tree: &TreeBuilder,
    state: &LogState,
    seen: Seen,
) -> Result<(), TurnError> {
    let last = state.position.0;
    if seen.size > last {
        return Err(TurnError::Alarm(format!(
            "the log ends at position {last}, but a checkpoint over {} events was sealed: it was rolled back or cut",
            seen.size
        )));
    }
    let root = if seen.size <= tree.size() {
        sealed.root_at(seen.size).await?
    } else {
        let mut longer = tree.clone();
        extend(&*ports.store, &mut longer, seen.size, drop).await?;
        longer.root()
    };
    if root == seen.root {
        return Ok(());
    }
    Err(TurnError::Alarm(format!(
        "the first {} events have another root than when they were sealed: history was rewritten",
        seen.size
    )))
}

/// The checkpoint of a note, if a key that may still sign one of its size has signed it.
fn believe(note: &str, trusted: &[TrustedKey]) -> Result<Checkpoint, String> {
    let note: SignedNote = note.parse().map_err(|error: NoteError| error.to_string())?;
    let checkpoint = Checkpoint::of(&note).map_err(|error| error.to_string())?;
    let may_sign = |key: &&TrustedKey| key.until.is_none_or(|until| checkpoint.size <= until);
    let keys: Vec<VerifierKey> = trusted.iter().filter(may_sign).map(|trusted| trusted.key.clone()).collect();
    note.verify(&keys).map_err(|error| error.to_string())?;
    Ok(checkpoint)
}
