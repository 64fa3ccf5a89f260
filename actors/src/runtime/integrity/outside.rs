//! The checkpoints outside, compared with a log that is being verified, in the order in which they were added. Never in
//! here: where they are kept.

use std::collections::VecDeque;

use super::verification::VerifyError;
use crate::domain::integrity::checkpoint::Checkpoint;
use crate::domain::integrity::verify::{Fault, FaultKind, Source, Verifier};
use crate::ports::OutsideCheckpoints;
use crate::ports::checkpoints::{NotePlace, OutsideError};
use crate::ports::event_store::StoreError;

/// Why a verification ends before its end.
pub enum End {
    /// Something is wrong.
    Fault(Box<Fault>),
    /// Nothing can be said.
    Error(VerifyError),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Error(error.into())
    }
}

impl From<OutsideError> for End {
    fn from(error: OutsideError) -> Self {
        match error {
            OutsideError::Damaged(why) => {
                Fault::of(FaultKind::Checkpoint { source: Source::Outside, why }).into()
            }
            away @ OutsideError::Unavailable { .. } => Self::Error(VerifyError::Outside(away)),
        }
    }
}

/// Checkpoints outside, up to the one that was the latest at the beginning.
pub struct Outside<'a> {
    source: Option<&'a dyn OutsideCheckpoints>,
    last: u64,
    place: NotePlace,
    read: VecDeque<String>,
    ended: bool,
    next: Option<Checkpoint>,
}

impl<'a> Outside<'a> {
    /// Those of a directory, or none.
    #[must_use]
    pub fn new(source: Option<&'a dyn OutsideCheckpoints>) -> Self {
        let ended = source.is_none();
        Self { source, last: 0, place: NotePlace::default(), read: VecDeque::new(), ended, next: None }
    }

    /// Remembers which is the latest one; what is added later is not looked at.
    ///
    /// # Errors
    /// When it cannot be read, or is not to be believed.
    pub async fn begin(&mut self, verifier: &mut Verifier) -> Result<(), End> {
        if let Some(source) = self.source
            && let Some(note) = source.latest().await?
        {
            self.last = verifier.believe(&note, Source::Outside)?.size;
        }
        Ok(())
    }

    /// The size of the latest one at the beginning.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Compares those that were signed over the events so far. To be called after every event.
    ///
    /// # Errors
    /// When one does not agree, or they cannot be read.
    pub async fn compare(&mut self, verifier: &mut Verifier) -> Result<(), End> {
        let position = verifier.position().0;
        while let Some(size) = self.peek(verifier).await?
            && size <= position
        {
            let Some(checkpoint) = self.next.take() else { break };
            verifier.agree(&checkpoint, Source::Outside)?;
        }
        Ok(())
    }

    /// Leaves out those over no more than this many events: a part of a log is verified without them.
    ///
    /// # Errors
    /// As [`Outside::compare`].
    pub async fn skip(&mut self, verifier: &mut Verifier, size: u64) -> Result<(), End> {
        while self.peek(verifier).await?.is_some_and(|next| next < size) {
            self.next = None;
        }
        Ok(())
    }

    async fn peek(&mut self, verifier: &mut Verifier) -> Result<Option<u64>, End> {
        if let Some(next) = &self.next {
            return Ok(Some(next.size));
        }
        if let Some(source) = self.source.filter(|_| self.read.is_empty() && !self.ended) {
            let page = source.notes(self.place.clone()).await?;
            (self.read, self.place) = (page.notes.into(), page.next);
        }
        let next = self.read.pop_front();
        let Some(note) = next.filter(|_| !self.ended) else {
            self.ended = true;
            return Ok(None);
        };
        let checkpoint = verifier.believe(&note, Source::Outside)?;
        if checkpoint.size > self.last {
            // newer than when this began
            self.ended = true;
            return Ok(None);
        }
        Ok(Some(self.next.insert(checkpoint).size))
    }
}
