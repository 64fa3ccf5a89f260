//! What every event store does to a batch before it stores it, in one place so that all adapters agree: the checks
//! of its shape and the rounding of times. No I/O, and nothing that depends on what is stored.

use std::collections::HashSet;

use jiff::Timestamp;

use super::event_store::{Append, StoreError};
use crate::domain::ids::StreamId;

/// Most bytes of all payloads of a batch: far more than a group commit needs, and well below what one message to a
/// database may hold (1 GiB).
pub const MAX_BATCH_BYTES: usize = 256 << 20;

/// Why a batch cannot be stored whatever the store holds: a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedBatch {
    /// A stream is written or guarded twice, so its order within the batch would be undefined.
    #[error("stream {0} occurs twice in one batch: put the second unit into the next batch")]
    StreamTwice(StreamId),
    /// The command's own stream is not among the unit's streams, so nothing would fence the command's row.
    #[error(
        "the stream {0} of a command is not among its unit's streams: add it, without events if there are none"
    )]
    CommandUnguarded(StreamId),
    /// More bytes than one batch may carry.
    #[error("the payloads of one batch are {0} bytes, more than {MAX_BATCH_BYTES}: split it")]
    TooLarge(usize),
    /// A text that no database can keep.
    #[error("the actor of a command on stream {0} holds a NUL character: refuse it where it comes in")]
    NulInActor(StreamId),
}

/// Checks the shape of a batch.
///
/// # Errors
/// [`StoreError::Failed`] with the [`MalformedBatch`]; nothing of the batch is stored then.
pub fn check(batch: &[Append]) -> Result<(), StoreError> {
    find_fault(batch).map_or(Ok(()), |fault| {
        Err(StoreError::Failed { operation: "check the batch", source: Box::new(fault) })
    })
}

/// The time cut to whole microseconds: the finest that every adapter keeps.
#[must_use]
pub fn whole_micros(time: Timestamp) -> Timestamp {
    // of the very last second that a time can have, only the whole second can be built from microseconds
    Timestamp::from_microsecond(time.as_microsecond())
        .or_else(|_| Timestamp::from_second(time.as_second()))
        .expect("cutting digits keeps a time in range")
}

/// The first whole microsecond at or after a time: recorded times lie at or after (before) both alike.
#[must_use]
pub fn next_micro(time: Timestamp) -> Timestamp {
    let cut = whole_micros(time);
    if cut < time { cut.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(cut) } else { cut }
}

fn find_fault(batch: &[Append]) -> Option<MalformedBatch> {
    let mut seen = HashSet::new();
    let events = batch.iter().flat_map(|unit| &unit.streams).flat_map(|part| &part.events);
    let bytes: usize = events.map(|event| event.payload.len()).sum();
    if bytes > MAX_BATCH_BYTES {
        return Some(MalformedBatch::TooLarge(bytes));
    }
    for unit in batch {
        let commanded = &unit.command.stream;
        if !unit.streams.iter().any(|part| part.stream == *commanded) {
            return Some(MalformedBatch::CommandUnguarded(commanded.clone()));
        }
        if unit.origin.actor.contains('\0') {
            return Some(MalformedBatch::NulInActor(commanded.clone()));
        }
        if let Some(twice) = unit.streams.iter().find(|part| !seen.insert(&part.stream)) {
            return Some(MalformedBatch::StreamTwice(twice.stream.clone()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_times_keep_their_meaning() {
        let at = |nanos| Timestamp::from_nanosecond(nanos).unwrap();
        assert_eq!(whole_micros(at(1_999)), at(1_000));
        assert_eq!(next_micro(at(1_001)), at(2_000));
        assert_eq!(next_micro(at(2_000)), at(2_000));
        for extreme in [Timestamp::MIN, Timestamp::MAX] {
            assert!(whole_micros(extreme) <= extreme);
            assert_eq!(next_micro(extreme).as_second(), extreme.as_second());
        }
    }
}
