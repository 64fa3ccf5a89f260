//! Verifies a store: streams its events through the verifier, with the checkpoints inside and outside merged in by size,
//! and then its own records. The log may grow meanwhile; nothing is written. Never in here: what makes a log intact; the
//! domain knows that.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::outside::{End, Outside};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::Position;
use crate::domain::integrity::checkpoint::Checkpoint;
use crate::domain::integrity::verify::{Counts, Fault, FaultKind, Place, Source, Trusted, Verifier};
use crate::limits::{
    VERIFY_CHECKPOINTS, VERIFY_PAGE, VERIFY_PAGE_BYTES, VERIFY_RETRIES, VERIFY_RETRY_PAUSE, VERIFY_STREAMS,
};
use crate::ports::checkpoints::OutsideError;
use crate::ports::event_store::{EventFilter, StoreError};
use crate::ports::integrity_store::{LogState, StoredCheckpoint};
use crate::ports::{BoxFuture, EventStore, IntegrityStore, OutsideCheckpoints};

/// What is verified, and whose checkpoints are believed.
pub struct Subject<'a> {
    /// The events.
    pub events: &'a dyn EventStore,
    /// The records and checkpoints beside them.
    pub integrity: &'a dyn IntegrityStore,
    /// The copies outside, if there are any.
    pub outside: Option<&'a dyn OutsideCheckpoints>,
    /// Whom to believe.
    pub trusted: Vec<Trusted>,
}

/// How far a verification has come; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// The position of the last event that was verified.
    pub position: AtomicU64,
    /// The position of the last event that is to be verified.
    pub of: AtomicU64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How much was verified.
    pub counts: Counts,
    /// The first thing that is wrong; nothing if the log is intact.
    pub fault: Option<Fault>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The checkpoint directory cannot be read.
    #[error(transparent)]
    Outside(OutsideError),
}

/// Verifies a store.
///
/// # Errors
/// When it cannot be read, so that nothing can be said.
pub async fn verify(subject: Subject<'_>, progress: &Progress) -> Result<Verdict, VerifyError> {
    let verifier = Verifier::new(subject.trusted.clone());
    let mut run = Run {
        subject: &subject,
        progress,
        verifier,
        inside: Inside::default(),
        outside: Outside::new(subject.outside),
        limit: VERIFY_PAGE,
    };
    let fault = match run.verify().await {
        Ok(()) => None,
        Err(End::Fault(fault)) => Some(*fault),
        Err(End::Error(error)) => return Err(error),
    };
    Ok(Verdict { counts: run.verifier.counts(), fault })
}

struct Run<'a> {
    subject: &'a Subject<'a>,
    progress: &'a Progress,
    verifier: Verifier,
    inside: Inside,
    outside: Outside<'a>,
    /// Events of the next page at most.
    limit: usize,
}

/// Checkpoints of the store, by size.
#[derive(Default)]
struct Inside {
    after: u64,
    read: VecDeque<StoredCheckpoint>,
    ended: bool,
    next: Option<Checkpoint>,
}

impl Run<'_> {
    async fn verify(&mut self) -> Result<(), End> {
        // outside first: what is there was in the store before
        self.outside.begin(&mut self.verifier).await?;
        let state = self.state().await?;
        self.bounds(&state)?;
        self.advance(&state).await?;
        self.records(&state).await?;
        // records of streams may have told of events since
        let state = self.state().await?;
        self.advance(&state).await?;
        self.name_stream(self.verifier.streams_ended()).await
    }

    async fn state(&self) -> Result<LogState, StoreError> {
        let state = persist(|| self.subject.integrity.log_state()).await?;
        self.progress.of.store(state.position.0, Relaxed);
        Ok(state)
    }

    /// That no checkpoint was signed over more than there is, and none that is outside has gone from the store.
    fn bounds(&mut self, state: &LogState) -> Result<(), Fault> {
        let sealed = state.sealed.as_ref().map_or(0, |sealed| sealed.size);
        let last = state.position.0;
        let cut = |size, source| Fault {
            position: Some(Position(last + 1)),
            ..Fault::of(FaultKind::Cut { size, source })
        };
        if let Some(stored) = state.sealed.as_ref().filter(|stored| stored.size > last) {
            self.verifier.believe(&stored.note, Source::Inside)?;
            return Err(cut(sealed, Source::Inside));
        }
        if self.outside.last() > last {
            return Err(cut(self.outside.last(), Source::Outside));
        }
        if self.outside.last() > sealed {
            return Err(Fault::of(FaultKind::CheckpointGone(self.outside.last())));
        }
        Ok(())
    }

    /// Verifies all events up to where the log's record says that it ends, and that record.
    async fn advance(&mut self, state: &LogState) -> Result<(), End> {
        self.checkpoints().await?;
        while self.verifier.position() < state.position {
            let after = self.verifier.position();
            let page = self.page(after, state.position).await?;
            if page.is_empty() {
                return self.cut_off(state).await;
            }
            for event in &page {
                match self.verifier.event(event) {
                    Ok(()) => self.checkpoints().await?,
                    Err(fault) if matches!(fault.kind, FaultKind::Gap(_)) => {
                        return self.missing(fault, state).await;
                    }
                    Err(fault) => return Err(fault.into()),
                }
            }
            self.progress.position.store(self.verifier.position().0, Relaxed);
        }
        // what lies beyond the record is no part of it; an append would have moved the record with it
        self.verifier.log_end(state.position, state.digest)?;
        let beyond = self.read(state.position, 1).await;
        let now = self.state().await?;
        match beyond {
            Ok(events) if !events.is_empty() && now.position == state.position => {
                Err(Fault::at(FaultKind::LogEnd(state.position), &Place::of(&events[0])).into())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The events after a position, none beyond `last`. Pages are short where events are large.
    async fn page(&mut self, after: Position, last: Position) -> Result<Vec<RecordedEvent>, End> {
        let limit = usize::try_from(last.0 - after.0).unwrap_or(usize::MAX).min(self.limit);
        let mut page = match self.read(after, limit).await {
            // one row of them cannot be read: it is looked for
            Err(StoreError::Failed { .. }) if limit > 1 => {
                self.limit = 1;
                self.read(after, 1).await
            }
            read => read,
        }
        .map_err(|error| unreadable(error, after))?;
        let bytes: usize = page.iter().map(|event| event.payload.len()).sum();
        if bytes > VERIFY_PAGE_BYTES {
            self.limit = (limit / 2).max(1);
        } else if bytes < VERIFY_PAGE_BYTES / 4 && self.limit > 1 {
            self.limit = (self.limit * 2).min(VERIFY_PAGE);
        }
        page.retain(|event| event.position <= last);
        Ok(page)
    }

    async fn read(&self, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        let filter = EventFilter::default();
        persist(|| self.subject.events.read_all(after, limit, &filter)).await
    }

    /// The log's record says that there are more events.
    async fn cut_off(&mut self, state: &LogState) -> Result<(), End> {
        let position = Some(Position(self.verifier.position().0 + 1));
        let end = Fault::of(FaultKind::LogEnd(state.position));
        self.missing(Fault { position, until: Some(state.position), ..end }, state).await
    }

    /// An event is missing: those that follow, or the records of streams, say which.
    async fn missing(&mut self, fault: Fault, state: &LogState) -> Result<(), End> {
        let mut after = self.verifier.position();
        loop {
            let page = self.page(after, state.position).await?;
            for event in &page {
                if let Some((stream, version)) = self.verifier.find_missing(event) {
                    return Err(Fault { stream: Some(stream), version: Some(version), ..fault }.into());
                }
            }
            match page.last() {
                Some(last) => after = last.position,
                None => break,
            }
        }
        let told = match self.stream_ends().await {
            Ok(()) => self.verifier.streams_ended().err(),
            Err(End::Fault(fault)) => Some(*fault),
            Err(error) => return Err(error),
        };
        let (stream, version) = told.map_or((None, None), |fault| (fault.stream, fault.version));
        Err(Fault { stream, version, ..fault }.into())
    }

    /// The records of all streams.
    async fn records(&mut self, state: &LogState) -> Result<(), End> {
        debug_assert_eq!(self.verifier.position(), state.position);
        self.stream_ends().await
    }

    async fn stream_ends(&mut self) -> Result<(), End> {
        self.verifier.begin_stream_ends();
        let mut after = None;
        loop {
            let integrity = self.subject.integrity;
            let page = persist(|| integrity.stream_ends(after.as_ref(), VERIFY_STREAMS)).await?;
            for end in &page {
                self.verifier.stream_end(&end.stream, end.version, end.leaf)?;
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.stream),
                None => return Ok(()),
            }
        }
    }

    /// A stream whose record is gone is known by its last event.
    async fn name_stream(&self, found: Result<(), Fault>) -> Result<(), End> {
        let Err(mut fault) = found else { return Ok(()) };
        if let (None, Some(position)) = (&fault.stream, fault.position) {
            let events = self.read(Position(position.0.saturating_sub(1)), 1).await?;
            fault.stream = events.into_iter().next().map(|event| event.stream);
        }
        Err(fault.into())
    }

    /// Compares the checkpoints that were signed over the events so far.
    async fn checkpoints(&mut self) -> Result<(), End> {
        let position = self.verifier.position().0;
        while let Some(size) = self.peek_inside().await?
            && size <= position
        {
            let checkpoint = self.inside.next.take();
            checkpoint.map_or(Ok(()), |checkpoint| self.verifier.agree(&checkpoint, Source::Inside))?;
        }
        self.outside.compare(&mut self.verifier).await
    }

    async fn peek_inside(&mut self) -> Result<Option<u64>, End> {
        if let Some(next) = &self.inside.next {
            return Ok(Some(next.size));
        }
        if self.inside.read.is_empty() && !self.inside.ended {
            let (integrity, after) = (self.subject.integrity, self.inside.after);
            let page = persist(|| integrity.checkpoints(after, VERIFY_CHECKPOINTS)).await?;
            self.inside.read = page.into();
        }
        let Some(stored) = self.inside.read.pop_front() else {
            self.inside.ended = true;
            return Ok(None);
        };
        self.inside.after = stored.size;
        let checkpoint = self.verifier.believe(&stored.note, Source::Inside)?;
        if (checkpoint.size, checkpoint.root) != (stored.size, stored.root) {
            let why =
                format!("the record over {} events has another size or root than its note", stored.size);
            return Err(Fault::of(FaultKind::Checkpoint { source: Source::Inside, why }).into());
        }
        Ok(Some(self.inside.next.insert(checkpoint).size))
    }
}

fn unreadable(error: StoreError, after: Position) -> End {
    match &error {
        StoreError::Failed { source, .. } => {
            let kind = FaultKind::Unreadable(source.to_string());
            Fault { position: Some(Position(after.0 + 1)), ..Fault::of(kind) }.into()
        }
        _ => error.into(),
    }
}

/// Reads again while the store is away, with a bound.
async fn persist<'a, T>(read: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>) -> Result<T, StoreError> {
    let mut pause: Duration = VERIFY_RETRY_PAUSE;
    for _ in 0..VERIFY_RETRIES {
        match read().await {
            Err(error) if error.retryable() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "verification waits for the store");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    read().await
}
