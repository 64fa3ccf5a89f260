//! Writes an export of a store, page by page as it is taken, so that an export of any length costs the memory of a page.
//! What is in the log when it begins is in it; nothing is locked. Never in here: where the lines go.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;

use super::line::{CheckpointLine, Encoded, EventLine, FORMAT, Footer, Header, Line};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Position, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::domain::integrity::merkle::ProofPlan;
use crate::limits::{VERIFY_CHECKPOINTS, VERIFY_PAGE, VERIFY_PAGE_BYTES};
use crate::ports::event_store::{EventFilter, StoreError};
use crate::ports::integrity_store::{LogState, StoredCheckpoint};
use crate::ports::{EventStore, IntegrityStore};
use crate::runtime::integrity::tree::{SealedTree, TreeError};

/// What to export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportQuery {
    /// Only this stream.
    pub stream: Option<StreamId>,
    /// Only what is beyond this position.
    pub after: Position,
}

/// Why there is no export, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sealed tree cannot be read.
    #[error(transparent)]
    Tree(TreeError),
    /// What was asked for cannot be proven yet.
    #[error(
        "after {after}: only {sealed} events are sealed so far, and an export can only begin behind a sealed event; choose a smaller one, or wait a second"
    )]
    NotSealed {
        /// What was asked for.
        after: Position,
        /// How far the log is sealed.
        sealed: u64,
    },
}

impl From<TreeError> for ExportError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Store(error) => Self::Store(error),
            other => Self::Tree(other),
        }
    }
}

/// An export that is being written.
pub struct Exporter {
    events: Arc<dyn EventStore>,
    integrity: Arc<dyn IntegrityStore>,
    filter: EventFilter,
    state: LogState,
    after: Position,
    /// Whether it begins with the first event, so that every stream does too.
    from_first: bool,
    /// Streams whose leaf before their first event here was told.
    introduced: HashSet<StreamId>,
    checkpoints: VecDeque<StoredCheckpoint>,
    /// The largest checkpoint that was read; none are left when it stays the same.
    checkpoints_read: u64,
    checkpoints_ended: bool,
    header: Option<Header>,
    written: Footer,
    limit: usize,
    ended: bool,
}

impl Exporter {
    /// Begins an export of what is in the log now.
    ///
    /// # Errors
    /// When the store does not answer, or the log is not sealed up to the beginning.
    pub async fn begin(
        events: Arc<dyn EventStore>,
        integrity: Arc<dyn IntegrityStore>,
        query: ExportQuery,
        now: Timestamp,
    ) -> Result<Self, ExportError> {
        let state = integrity.log_state().await?;
        let sealed = state.sealed.as_ref().map_or(0, |sealed| sealed.size);
        let ExportQuery { stream, after } = query;
        let mut tree = Vec::new();
        if stream.is_none() {
            if after.0 > sealed {
                return Err(ExportError::NotSealed { after, sealed });
            }
            let parts = SealedTree::new(&*integrity, sealed).parts_at(after.0).await?;
            tree.extend(parts.into_iter().map(Encoded));
        }
        let header = Header {
            format: FORMAT,
            exported_at: now,
            stream: stream.clone(),
            after,
            position: state.position,
            digest: state.digest.map(Encoded),
            tree,
        };
        Ok(Self {
            events,
            integrity,
            filter: EventFilter { stream, ..EventFilter::default() },
            state,
            after,
            from_first: after.0 == 0,
            introduced: HashSet::new(),
            checkpoints: VecDeque::new(),
            checkpoints_read: after.0,
            checkpoints_ended: false,
            header: Some(header),
            written: Footer::default(),
            limit: VERIFY_PAGE,
            ended: false,
        })
    }

    /// How far it has come, and how far it goes.
    #[must_use]
    pub const fn progress(&self) -> (Position, Position) {
        (self.after, self.state.position)
    }

    /// The next lines; none at the end.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn next(&mut self) -> Result<Option<String>, ExportError> {
        let mut lines = String::new();
        if let Some(header) = self.header.take() {
            push(&mut lines, &Line::Export(header));
            if let (Some(_), Some(sealed)) = (&self.filter.stream, self.state.sealed.clone()) {
                self.checkpoint(&mut lines, sealed);
            }
            return Ok(Some(lines));
        }
        if self.ended {
            return Ok(None);
        }
        let page = self.events.read_all(self.after, self.limit, &self.filter).await?;
        let whole = page.len() < self.limit;
        let bytes: usize = page.iter().map(|event| event.payload.len()).sum();
        self.limit = match bytes {
            _ if bytes > VERIFY_PAGE_BYTES => (self.limit / 2).max(1),
            _ if bytes < VERIFY_PAGE_BYTES / 4 => (self.limit * 2).min(VERIFY_PAGE),
            _ => self.limit,
        };
        for event in page {
            if event.position > self.state.position {
                self.ended = true;
                break;
            }
            self.after = event.position;
            self.event(&mut lines, event).await?;
        }
        if whole || self.ended || self.after == self.state.position {
            self.ended = true;
            push(&mut lines, &Line::End(self.written));
        }
        Ok(Some(lines))
    }

    async fn event(&mut self, lines: &mut String, event: RecordedEvent) -> Result<(), ExportError> {
        let (position, sealed) = (event.position, self.state.sealed.as_ref().map_or(0, |sealed| sealed.size));
        let previous = self.introduction(&event).await?;
        let mut line = EventLine::of(event);
        line.previous_leaf = previous.map(|leaf| Encoded(leaf.0));
        if self.filter.stream.is_some() && position.0 <= sealed {
            line.proof = Some(self.proof(position.0 - 1, sealed).await?);
        }
        push(lines, &Line::Event(Box::new(line)));
        self.written.events += 1;
        if self.filter.stream.is_none() {
            while let Some(checkpoint) = self.checkpoint_at(position).await? {
                self.checkpoint(lines, checkpoint);
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, lines: &mut String, stored: StoredCheckpoint) {
        let StoredCheckpoint { note, sealed_at, .. } = stored;
        push(lines, &Line::Checkpoint(CheckpointLine { note, sealed_at }));
        self.written.checkpoints += 1;
    }

    /// The leaf before an event, for the first one of a stream that began before the export.
    async fn introduction(&mut self, event: &RecordedEvent) -> Result<Option<LeafHash>, StoreError> {
        if event.version.0 == 1 || self.from_first || self.introduced.contains(&event.stream) {
            return Ok(None);
        }
        self.introduced.insert(event.stream.clone());
        let before = Version(event.version.0 - 2);
        let before = self.events.read_stream(&event.stream, before, 1).await?;
        Ok(before.first().map(|event| event.hashes.leaf))
    }

    async fn proof(&self, index: u64, size: u64) -> Result<Vec<Encoded>, ExportError> {
        let plan = ProofPlan::inclusion(index, size).expect("below the size");
        let hashes = SealedTree::new(&*self.integrity, size).prove(&plan).await?;
        Ok(hashes.into_iter().map(Encoded).collect())
    }

    /// The checkpoint whose last event is at a position.
    async fn checkpoint_at(&mut self, position: Position) -> Result<Option<StoredCheckpoint>, StoreError> {
        if self.checkpoints.is_empty() && !self.checkpoints_ended {
            let page = self.integrity.checkpoints(self.checkpoints_read, VERIFY_CHECKPOINTS).await?;
            self.checkpoints_ended = page.is_empty();
            self.checkpoints_read = page.last().map_or(self.checkpoints_read, |last| last.size);
            self.checkpoints = page.into();
        }
        Ok(self.checkpoints.pop_front_if(|next| next.size <= position.0))
    }
}

fn push(lines: &mut String, line: &Line) {
    let text = serde_json::to_string(line).expect("lines can always be written");
    writeln!(lines, "{text}").expect("a text takes everything");
}
