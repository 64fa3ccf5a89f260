//! Pages of the log that the projectors share: they follow each other closely, so that what one has read the others
//! find here. A projector that is far behind reads for itself.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::domain::event::RecordedEvent;
use crate::domain::ids::Position;
use crate::limits::PROJECTION_PAGE;
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
    recent: Mutex<VecDeque<Arc<[RecordedEvent]>>>,
}

impl Pages {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, recent: Mutex::new(VecDeque::with_capacity(KEPT)) }
    }

    /// Events beyond a position, at most [`PROJECTION_PAGE`]; empty at the end of the log.
    pub(super) async fn after(&self, after: Position) -> Result<Page, StoreError> {
        // held while one reads: the others wait for the same page instead of reading it too
        let mut recent = self.recent.lock().await;
        let next = Position(after.0 + 1);
        for events in recent.iter() {
            if let Ok(from) = events.binary_search_by_key(&next, |event| event.position) {
                return Ok(Page { events: Arc::clone(events), from });
            }
        }
        let events = self.read(after).await?;
        let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
        if !events.is_empty() && bytes <= KEPT_BYTES {
            recent.truncate(KEPT - 1);
            recent.push_front(Arc::clone(&events));
        }
        Ok(Page { events, from: 0 })
    }

    /// The same without keeping it: for who is far behind.
    pub(super) async fn read(&self, after: Position) -> Result<Arc<[RecordedEvent]>, StoreError> {
        let events = self.store.read_all(after, PROJECTION_PAGE, &EventFilter::default()).await?;
        Ok(events.into())
    }
}
