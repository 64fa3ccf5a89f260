//! Pages of the log that the projectors share: they follow each other closely, so that what one has read the others
//! find here. A projector that is far behind reads for itself.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::domain::event::RecordedEvent;
use crate::domain::ids::Position;
use crate::limits::{FOLLOW_PACE, PROJECTION_PAGE};
use crate::ports::EventStore;
use crate::ports::event_store::{EventFilter, StoreError};

/// Pages that are kept.
const KEPT: usize = 4;
/// Bytes of payloads of a page that is kept; larger ones are read by each projector for itself.
const KEPT_BYTES: usize = 4 << 20;

/// A page, and from where in it the reader goes on.
#[derive(Debug, Clone)]
pub(super) struct Page {
    events: Arc<[RecordedEvent]>,
    from: usize,
}

impl Page {
    /// The events beyond what was asked for.
    pub(super) fn events(&self) -> &[RecordedEvent] {
        &self.events[self.from..]
    }
}

/// The last pages that were read.
pub(super) struct Pages {
    store: Arc<dyn EventStore>,
    recent: Mutex<Recent>,
    hurry: Notify,
}

#[derive(Default)]
struct Recent {
    pages: VecDeque<Arc<[RecordedEvent]>>,
    /// When the end of the log may be read again.
    rest: Option<Instant>,
}

impl Recent {
    /// What is known beyond a position.
    fn beyond(&self, after: Position) -> Option<Page> {
        let next = Position(after.0 + 1);
        self.pages.iter().find_map(|events| {
            let from = events.binary_search_by_key(&next, |event| event.position).ok()?;
            Some(Page { events: Arc::clone(events), from })
        })
    }
}

impl Pages {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, recent: Mutex::default(), hurry: Notify::new() }
    }

    /// Events beyond a position, at most [`PROJECTION_PAGE`]; empty at the end of the log.
    pub(super) async fn after(&self, after: Position) -> Result<Page, StoreError> {
        // held while one reads: the others wait for the same page instead of reading it too
        let mut recent = self.recent.lock().await;
        if let Some(page) = recent.beyond(after) {
            return Ok(page);
        }
        let events = self.read(after).await?;
        recent.rest = (events.len() < PROJECTION_PAGE).then(|| Instant::now() + FOLLOW_PACE);
        let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
        if !events.is_empty() && bytes <= KEPT_BYTES {
            recent.pages.truncate(KEPT - 1);
            recent.pages.push_front(Arc::clone(&events));
        }
        Ok(Page { events, from: 0 })
    }

    /// Waits until it is time to look beyond a position: the end of a log that grows all the time is read every
    /// [`FOLLOW_PACE`], unless somebody is in a hurry.
    pub(super) async fn rest(&self, after: Position) {
        let hurried = self.hurry.notified();
        let rest = {
            let recent = self.recent.lock().await;
            recent.rest.filter(|_| recent.beyond(after).is_none())
        };
        if let Some(rest) = rest {
            tokio::select! {
                () = tokio::time::sleep_until(rest) => {}
                () = hurried => {}
            }
        }
    }

    /// Somebody waits for what is at the end of the log.
    pub(super) fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    /// The same as [`Pages::after`] without keeping it: for who is far behind.
    pub(super) async fn read(&self, after: Position) -> Result<Arc<[RecordedEvent]>, StoreError> {
        let events = self.store.read_all(after, PROJECTION_PAGE, &EventFilter::default()).await?;
        Ok(events.into())
    }
}
