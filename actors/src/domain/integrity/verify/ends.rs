//! What a store records of its ends, the log's and each stream's, compared with the events. Never in here: the events.

use super::{Fault, FaultKind, Verifier, stream_key};
use crate::domain::ids::{Position, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::domain::integrity::merkle::Hash;

impl Verifier {
    /// Compares the log's own record of its end.
    ///
    /// # Errors
    /// When it says something else than the events.
    pub fn log_end(&self, position: Position, digest: Option<Hash>) -> Result<(), Fault> {
        if position != self.position() {
            let end = Fault::of(FaultKind::LogEnd(position));
            return Err(Fault { position: Some(Position(self.position().0.min(position.0) + 1)), ..end });
        }
        if digest == self.digest() { Ok(()) } else { Err(self.range(FaultKind::Digest)) }
    }

    /// From here on records of streams are given. Streams that begin later need none: theirs may have been read past.
    pub const fn begin_stream_ends(&mut self) {
        self.records_begun = true;
    }

    /// Compares a stream's own record of its end, which may be newer than what was verified: then it is compared when
    /// the event comes.
    ///
    /// # Errors
    /// When it says something else than the events.
    pub fn stream_end(&mut self, stream: &StreamId, version: Version, leaf: LeafHash) -> Result<(), Fault> {
        let key = stream_key(stream);
        let known = self.streams.get_mut(&key);
        let (has, last, position) = known
            .as_ref()
            .map_or((Version(0), LeafHash::NONE, None), |c| (c.version, c.leaf, Some(c.position)));
        if let Some(chain) = known {
            chain.recorded = true;
        }
        if version > has {
            self.ahead.insert(key, (version, leaf, stream.clone()));
            return Ok(());
        }
        if (version, leaf) == (has, last) {
            return Ok(());
        }
        let first_bad = Version(version.0.min(has.0).saturating_add(u64::from(version != has)));
        Err(Fault {
            stream: Some(stream.clone()),
            version: Some(first_bad),
            position,
            ..Fault::of(FaultKind::StreamEnd(version))
        })
    }

    /// After all records of streams and all events up to now: that each was there, and none says more than there is.
    /// The stream of an event without record is known by its position alone.
    ///
    /// # Errors
    /// With the first that is not so.
    pub fn streams_ended(&self) -> Result<(), Fault> {
        if let Some((version, _, stream)) = self.ahead.values().min_by(|a, b| a.2.cmp(&b.2)) {
            let has = self.streams.get(&stream_key(stream)).map_or(0, |chain| chain.version.0);
            return Err(Fault {
                stream: Some(stream.clone()),
                version: Some(Version(has + 1)),
                ..Fault::of(FaultKind::StreamEnd(*version))
            });
        }
        let unrecorded = self.streams.values().filter(|chain| !chain.recorded);
        match unrecorded.min_by_key(|chain| chain.position) {
            Some(chain) => Err(Fault {
                version: Some(chain.version),
                position: Some(chain.position),
                ..Fault::of(FaultKind::StreamRecord)
            }),
            None => Ok(()),
        }
    }
}
