//! From a stream to the state of its aggregate: as it is now, from its snapshot and the events after it, or as it was
//! at a moment of the past, from its beginning. Reads and folds; never in here: replies, and anything that writes.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::directory::Shared;
use super::handle::SubmitError;
use super::snapshots;
use crate::domain::aggregate::{Aggregate, Recorded};
use crate::domain::codec::EventSet;
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::limits::{RECOVERY_PAGE, SNAPSHOT_MIN_EVENTS};
use crate::ports::event_store::StoreError;

/// A moment in the history of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// After the event of this version, from 1.
    Version(Version),
    /// After the last event that was recorded at this time or before it.
    Time(Timestamp),
}

/// The state of an aggregate after some of its events.
#[derive(Debug)]
pub struct Fold<A> {
    /// The state.
    pub state: A,
    /// The last event in it; `None` before the first.
    pub last: Option<RecordedEvent>,
}

/// An aggregate as it is now.
pub(super) struct Recovered<A> {
    pub(super) fold: Fold<A>,
    /// The version of the snapshot it was recovered from; 0 without one.
    pub(super) snapshot: Version,
    /// How long it took.
    pub(super) took: Duration,
}

/// The aggregate of a stream as it is now.
///
/// # Errors
/// When the store is away, or an event cannot be read by this version.
pub(super) async fn recover<A: Aggregate>(
    shared: &Shared,
    stream: &StreamId,
) -> Result<Recovered<A>, SubmitError> {
    let began = Instant::now();
    let (mut fold, mut snapshot, mut limit) = (Fold::beginning(), Version(0), SNAPSHOT_MIN_EVENTS);
    let mut page = read(shared, stream, Version(0), limit).await?;
    if page.len() == limit
        && let Some((found, tail)) = from_snapshot(shared, stream).await?
    {
        (snapshot, fold, page, limit) = (found.version(), found, tail, RECOVERY_PAGE - 1);
    }
    loop {
        let full = page.len() == limit;
        fold.extend(page, stream)?;
        if !full {
            return Ok(Recovered { fold, snapshot, took: began.elapsed() });
        }
        limit = RECOVERY_PAGE;
        page = read(shared, stream, fold.version(), limit).await?;
    }
}

/// The aggregate of a stream as it was at a moment; `None` when it did not exist yet, or never came to that version.
/// Folds the stream from its beginning, so that what is shown depends on nothing but the events.
///
/// # Errors
/// When the store is away, or an event cannot be read by this version.
pub async fn replay<A: Aggregate>(
    shared: &Shared,
    stream: &StreamId,
    at: At,
) -> Result<Option<Fold<A>>, SubmitError> {
    let _turn = shared.replays.acquire().await;
    let mut fold = Fold::beginning();
    loop {
        let limit = match at {
            At::Version(version) => version.0.saturating_sub(fold.version().0),
            At::Time(_) => u64::MAX,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(RECOVERY_PAGE);
        if limit == 0 {
            break;
        }
        let mut page = read(shared, stream, fold.version(), limit).await?;
        if let At::Time(time) = at {
            let later = page.iter().position(|event| event.recorded_at > time);
            page.truncate(later.unwrap_or(page.len()));
        }
        let goes_on = page.len() == limit;
        fold.extend(page, stream)?;
        if !goes_on {
            break;
        }
    }
    let reached = match at {
        At::Version(version) => fold.version() == version,
        At::Time(_) => true,
    };
    Ok(Some(fold).filter(|fold| reached && fold.last.is_some()))
}

/// The state in the stream's snapshot, when it has one that can be used, and up to a page less one of the events after.
async fn from_snapshot<A: Aggregate>(
    shared: &Shared,
    stream: &StreamId,
) -> Result<Option<(Fold<A>, Vec<RecordedEvent>)>, SubmitError> {
    let Some(snapshot) = shared.snapshots.load(stream).await else { return Ok(None) };
    // the event at its version comes along: its leaf tells whether the snapshot belongs to this history
    let before = Version(snapshot.version.0.saturating_sub(1));
    let mut tail = read(shared, stream, before, RECOVERY_PAGE).await?.into_iter();
    let last = tail.next();
    match snapshots::open(&snapshot, last.as_ref()) {
        Ok(state) => Ok(Some((Fold { state, last }, tail.collect()))),
        Err(why) => {
            shared.snapshots.ignore(stream, snapshot.version, &why);
            Ok(None)
        }
    }
}

impl<A: Aggregate> Fold<A> {
    fn beginning() -> Self {
        Self { state: A::default(), last: None }
    }

    pub(super) fn version(&self) -> Version {
        self.last.as_ref().map_or(Version(0), |event| event.version)
    }

    /// The leaf on which the next event is chained.
    pub(super) fn leaf(&self) -> LeafHash {
        self.last.as_ref().map_or(LeafHash::NONE, |event| event.hashes.leaf)
    }

    /// Applies the events that follow.
    fn extend(&mut self, events: Vec<RecordedEvent>, stream: &StreamId) -> Result<(), SubmitError> {
        for recorded in events {
            let event = A::Event::decode(&recorded.kind, recorded.schema_version, &recorded.payload)
                .map_err(|error| {
                    let (version, error) = (recorded.version, &error as &dyn std::error::Error);
                    tracing::error!(%stream, %version, error, "event cannot be read");
                    SubmitError::Unavailable(format!("{stream} cannot be read: {error}"))
                })?;
            self.state.apply(&event, Recorded { version: recorded.version, at: recorded.recorded_at });
            self.last = Some(recorded);
        }
        Ok(())
    }
}

/// What the callers of an aggregate are told when its store cannot be read.
pub(super) fn unreadable(stream: &StreamId, error: &StoreError) -> SubmitError {
    tracing::warn!(%stream, error = error as &dyn std::error::Error, "stream cannot be read");
    SubmitError::Unavailable(error.to_string())
}

async fn read(
    shared: &Shared,
    stream: &StreamId,
    after: Version,
    limit: usize,
) -> Result<Vec<RecordedEvent>, SubmitError> {
    shared.store.read_stream(stream, after, limit).await.map_err(|error| unreadable(stream, &error))
}
