//! The log as one endless sequence of pages. A page is read when it is asked for and never before, so whoever is slow
//! costs the memory of one page and holds nobody up. Never in here: checkpoints; whoever follows keeps its own place.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::event::RecordedEvent;
use crate::domain::ids::Position;
use crate::limits::{
    FOLLOW_PACE, FOLLOW_PAGE, FOLLOW_PAGE_BYTES, FOLLOW_PAGE_FIRST, FOLLOW_RETRY, FOLLOW_RETRY_MAX,
};
use crate::ports::EventStore;
use crate::ports::event_store::{EventFilter, StoreError};

/// The log of a store, to be followed by any number of readers.
#[derive(Clone)]
pub struct Log {
    store: Arc<dyn EventStore>,
}

impl Log {
    /// The log of `store`.
    #[must_use]
    pub const fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store }
    }

    /// Follows the events that pass `filter` beyond `after`.
    #[must_use]
    pub fn follow(&self, after: Position, filter: EventFilter) -> Follower {
        let (store, head) = (Arc::clone(&self.store), self.store.head_changes());
        Follower { store, head, filter, after, limit: FOLLOW_PAGE_FIRST, most: FOLLOW_PAGE, rest: None }
    }
}

/// Some events in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Those that passed the filter, perhaps none.
    pub events: Vec<RecordedEvent>,
    /// Everything up to here has been looked at: where to go on from, also after a restart.
    pub through: Position,
}

/// A reader of the log, at some position of it.
pub struct Follower {
    store: Arc<dyn EventStore>,
    head: watch::Receiver<Position>,
    filter: EventFilter,
    after: Position,
    /// Events of the next page at most.
    limit: usize,
    /// Events of any page at most.
    most: usize,
    /// When the end of the log may be read again.
    rest: Option<Instant>,
}

impl Follower {
    /// The same with at most so many events to a page; at least one.
    #[must_use]
    pub fn by_pages_of(self, most: usize) -> Self {
        let most = most.clamp(1, FOLLOW_PAGE);
        Self { limit: self.limit.min(most), most, ..self }
    }

    /// Where it is.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.after
    }

    /// The next page: at once while there are stored events, otherwise when there are new ones. Each event comes
    /// once, in order, and none is left out; the end of a log that grows all the time is read every [`FOLLOW_PACE`]. While the store is away it waits. Dropped before it is done, it has not
    /// moved.
    ///
    /// # Errors
    /// When the store fails and waiting does not help.
    pub async fn next(&mut self) -> Result<LogPage, StoreError> {
        let mut pause = FOLLOW_RETRY;
        loop {
            if let Some(rest) = self.rest {
                tokio::time::sleep_until(rest).await;
            }
            // known before the read: whatever passes the filter up to here is in the page or beyond its end
            let head = *self.head.borrow_and_update();
            match self.store.read_all(self.after, self.limit, &self.filter).await {
                Ok(events) => {
                    pause = FOLLOW_RETRY;
                    self.rest = (events.len() < self.limit).then(|| Instant::now() + FOLLOW_PACE);
                    if let Some(page) = self.page(events, head) {
                        return Ok(page);
                    }
                    self.head.changed().await.map_err(|closed| StoreError::Failed {
                        operation: "follow the log",
                        source: Box::new(closed),
                    })?;
                }
                Err(error) if error.retryable() => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        ?pause,
                        "the log cannot be read now, waiting"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(FOLLOW_RETRY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn page(&mut self, events: Vec<RecordedEvent>, head: Position) -> Option<LogPage> {
        let last = events.last().map_or(self.after, |event| event.position);
        let through = if events.len() < self.limit { last.max(head) } else { last };
        if through <= self.after {
            return None;
        }
        self.after = through;
        let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
        // pages grow while events are small, so that the first large ones meet a short page
        self.limit = match bytes {
            _ if bytes > FOLLOW_PAGE_BYTES => (self.limit / 2).max(1),
            _ if bytes < FOLLOW_PAGE_BYTES / 4 => (self.limit * 2).min(self.most),
            _ => self.limit,
        };
        Some(LogPage { events, through })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testkit::MemoryStore;
    use crate::testkit::conformance::{Writer, pipeline};

    async fn world() -> (Writer, Log) {
        let store = Arc::new(MemoryStore::new());
        (Writer::claim_as(Arc::clone(&store) as _, "node-a").await, Log::new(store))
    }

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
    }

    #[tokio::test]
    async fn it_catches_up_and_then_waits_for_what_is_new() {
        let (writer, log) = world().await;
        let stream = pipeline("p");
        writer.commit(&writer.unit(&stream, 0, 200)).await;
        let mut follower = log.follow(Position(3), EventFilter::default());
        let mut seen = Vec::new();
        while seen.len() < 197 {
            seen.extend(soon(follower.next()).await.unwrap().events);
        }
        let waiting = tokio::time::timeout(Duration::from_millis(20), follower.next());
        assert!(waiting.await.is_err(), "nothing is new");
        writer.commit(&writer.unit(&stream, 200, 2)).await;
        seen.extend(soon(follower.next()).await.unwrap().events);
        let positions: Vec<u64> = seen.iter().map(|event| event.position.0).collect();
        assert_eq!(positions, (4..=202).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_does_not_pass_the_filter_is_not_looked_at_again() {
        let (writer, log) = world().await;
        writer.commit(&writer.unit(&pipeline("other"), 0, 10)).await;
        let filter = EventFilter { stream: Some(pipeline("mine")), ..EventFilter::default() };
        let mut follower = log.follow(Position(0), filter);
        let page = soon(follower.next()).await.unwrap();
        assert_eq!((page.events.len(), page.through), (0, Position(10)));
        assert_eq!(follower.position(), Position(10));
        writer.commit(&writer.unit(&pipeline("mine"), 0, 1)).await;
        let page = soon(follower.next()).await.unwrap();
        assert_eq!((page.events.len(), page.through), (1, Position(11)));
    }

    #[tokio::test]
    async fn large_events_come_in_short_pages() {
        let (writer, log) = world().await;
        let mut unit = writer.unit(&pipeline("large"), 0, 2 * FOLLOW_PAGE_FIRST);
        for event in &mut unit.streams[0].events {
            event.payload = vec![0; FOLLOW_PAGE_BYTES / FOLLOW_PAGE_FIRST * 2].into();
        }
        writer.commit(&unit).await;
        let mut follower = log.follow(Position(0), EventFilter::default());
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 2 * FOLLOW_PAGE_FIRST {
            sizes.push(soon(follower.next()).await.unwrap().events.len());
        }
        assert_eq!(sizes[..2], [FOLLOW_PAGE_FIRST, FOLLOW_PAGE_FIRST / 2]);
    }
}
