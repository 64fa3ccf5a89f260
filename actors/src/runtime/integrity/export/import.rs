//! Takes a verified export into an empty store, in pages of whole commits, and goes on where it was broken off. It verifies
//! again as it goes: between the two readings a file may change. Never in here: files.

use std::collections::BTreeMap;

use super::read::{ExportReader, Item};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Position, StreamId};
use crate::domain::integrity::merkle::{Hash, Tile, TreeBuilder};
use crate::domain::integrity::verify::{Fault, Trusted};
use crate::limits::{IMPORT_PAGE, VERIFY_PAGE_BYTES};
use crate::ports::ImportStore;
use crate::ports::event_store::StoreError;
use crate::ports::import_store::{ImportPage, ImportState};
use crate::ports::integrity_store::StreamEnd;

/// Why an export is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It does not verify.
    #[error("{0}")]
    Fault(Box<Fault>),
    /// The store does not answer, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A node has used the store.
    #[error("a node has used this store: import into a new one")]
    Claimed,
    /// The store holds something else.
    #[error("the store holds {0} events that are not the first ones of this export: import into a new store")]
    Other(Position),
    /// A part of a log has no place in a store.
    #[error(
        "this is an export of a part of a log: only a whole one, without --stream and --after, can be imported"
    )]
    Part,
}

impl From<Fault> for ImportError {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

/// An import that is under way.
pub struct Importer<'a> {
    store: &'a dyn ImportStore,
    reader: ExportReader,
    /// What the store held when this began.
    held: ImportState,
    stored: Position,
    tree: TreeBuilder,
    tiles: Vec<Tile>,
    page: ImportPage,
    bytes: usize,
    ends: BTreeMap<StreamId, StreamEnd>,
}

impl<'a> Importer<'a> {
    /// Begins, or goes on with what was broken off.
    ///
    /// # Errors
    /// When a node has used the store, or it does not answer.
    pub async fn begin(store: &'a dyn ImportStore, trusted: Vec<Trusted>) -> Result<Self, ImportError> {
        let held = store.import_state().await?;
        if held.claimed {
            return Err(ImportError::Claimed);
        }
        Ok(Self {
            store,
            reader: ExportReader::new(trusted),
            held,
            stored: held.position,
            tree: TreeBuilder::default(),
            tiles: Vec::new(),
            page: ImportPage::default(),
            bytes: 0,
            ends: BTreeMap::new(),
        })
    }

    /// The position of the last event that is stored, or was before.
    #[must_use]
    pub const fn stored(&self) -> Position {
        self.stored
    }

    /// Takes the next line of the export.
    ///
    /// # Errors
    /// When it does not verify, or the store holds something else.
    pub async fn line(&mut self, text: &str) -> Result<(), ImportError> {
        // as it stands before the line: what is stored ends with a commit
        let digest = self.reader.verifier().digest();
        match self.reader.line(text)? {
            Item::Header(header) if header.stream.is_some() || header.after.0 > 0 => Err(ImportError::Part),
            Item::Header(_) => Ok(()),
            Item::Event(event) => self.event(event, digest).await,
            Item::Checkpoint(checkpoint) => {
                if checkpoint.size > self.held.position.0 {
                    self.page.tiles.append(&mut self.tiles);
                    self.page.checkpoints.push(checkpoint);
                } else {
                    self.tiles.clear();
                }
                Ok(())
            }
            Item::End => {
                self.reader.finish()?;
                let digest = self.reader.verifier().digest();
                let end = self.reader.verifier().position();
                if end < self.held.position || (end == self.held.position && digest != self.held.digest) {
                    return Err(ImportError::Other(self.held.position));
                }
                self.store_page(digest).await
            }
        }
    }

    async fn event(&mut self, event: RecordedEvent, before: Option<Hash>) -> Result<(), ImportError> {
        let previous = Position(event.position.0 - 1);
        let begins_commit = self.reader.verifier().begins_commit();
        if previous == self.held.position && previous.0 > 0 && (!begins_commit || before != self.held.digest)
        {
            return Err(ImportError::Other(self.held.position));
        }
        if begins_commit && (self.page.events.len() >= IMPORT_PAGE || self.bytes >= VERIFY_PAGE_BYTES) {
            self.store_page(before).await?;
        }
        let tiles = &mut self.tiles;
        self.tree.append(event.hashes.leaf.0, |tile| tiles.push(tile));
        if event.position > self.held.position {
            self.bytes += event.payload.len();
            let (stream, version, leaf) = (event.stream.clone(), event.version, event.hashes.leaf);
            self.ends.insert(stream.clone(), StreamEnd { stream, version, leaf });
            self.page.events.push(event);
        }
        Ok(())
    }

    async fn store_page(&mut self, digest: Option<Hash>) -> Result<(), ImportError> {
        let mut page = std::mem::take(&mut self.page);
        let Some(last) = page.events.last().map(|event| event.position) else { return Ok(()) };
        page.ends = std::mem::take(&mut self.ends).into_values().collect();
        page.digest = digest;
        self.bytes = 0;
        self.store.import(self.stored, page).await?;
        self.stored = last;
        Ok(())
    }
}
