//! Verification: recomputes everything that tamper evidence consists of from the events alone, one after the other, and
//! finds the first thing that is wrong. It keeps some 80 bytes for each stream and a few hundred for the whole log, so a
//! log of any length can be streamed through it. Never in here: where events and checkpoints come from.

mod ends;
mod fault;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub use fault::{Fault, FaultKind, Place, Source};

use super::checkpoint::Checkpoint;
use super::leaf::LeafHash;
use super::merkle::{CompactRange, Hash, verify_inclusion};
use super::note::{KeyName, SignedNote, VerifierKey};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Position, StreamId, Version};

/// A key whose checkpoints are believed, and the largest of them if it signs no more.
pub type Trusted = (VerifierKey, Option<u64>);

/// The first 16 bytes of SHA-256 of a stream's name: short, and nobody can find two names with the same.
type StreamKey = [u8; 16];

/// Where a stream has come to.
#[derive(Debug, Clone, Copy)]
struct Chain {
    version: Version,
    leaf: LeafHash,
    position: Position,
    /// Whether its own record was seen.
    recorded: bool,
}

/// The commit that the last event belongs to.
struct Commit {
    node: String,
    at: Timestamp,
    /// Over the digest before it and its leaves so far.
    hasher: Sha256,
}

/// What was verified, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Streams.
    pub streams: u64,
    /// Commits.
    pub commits: u64,
    /// Checkpoints that were found inside and agree.
    pub checkpoints: u64,
    /// Checkpoints that were found outside and agree.
    pub outside: u64,
    /// Events that the largest checkpoint covers.
    pub sealed: u64,
}

/// A log that is being verified.
pub struct Verifier {
    trusted: Vec<Trusted>,
    tree: CompactRange,
    streams: HashMap<StreamKey, Chain>,
    commit: Option<Commit>,
    commit_began: bool,
    /// The first event of each node's last commit, to find events that changed places.
    nodes: HashMap<String, (Timestamp, Place)>,
    origin: Option<KeyName>,
    /// The first event that no checkpoint has confirmed yet.
    unconfirmed: Option<Place>,
    /// The first of them that seems to be out of place.
    suspect: Option<Place>,
    /// Records of streams that say more than was verified: the log grew meanwhile.
    ahead: HashMap<StreamKey, (Version, LeafHash, StreamId)>,
    /// Whether records of streams are being read.
    records_begun: bool,
    counts: Counts,
}

impl Verifier {
    /// Begins at the first event.
    #[must_use]
    pub fn new(trusted: Vec<Trusted>) -> Self {
        Self::resume(trusted, CompactRange::default())
    }

    /// Begins behind the events of a tree; the first event of each stream has to be introduced by
    /// [`Verifier::introduce`].
    #[must_use]
    pub fn resume(trusted: Vec<Trusted>, tree: CompactRange) -> Self {
        Self {
            trusted,
            tree,
            streams: HashMap::new(),
            commit: None,
            commit_began: false,
            nodes: HashMap::new(),
            origin: None,
            unconfirmed: None,
            suspect: None,
            ahead: HashMap::new(),
            records_begun: false,
            counts: Counts::default(),
        }
    }

    /// The position of the last event.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position(self.tree.size())
    }

    /// What was verified so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { streams: self.streams.len() as u64, ..self.counts }
    }

    /// Says where a stream stands before the first of its events here. The next leaf binds it, so it need not be
    /// believed. Nothing happens when the stream is known.
    pub fn introduce(&mut self, stream: &StreamId, version: Version, leaf: LeafHash) {
        let chain = Chain { version, leaf, position: self.position(), recorded: false };
        self.streams.entry(stream_key(stream)).or_insert(chain);
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// When it is not the event that was recorded at this place.
    pub fn event(&mut self, event: &RecordedEvent) -> Result<(), Fault> {
        let place = Place::of(event);
        let expected = Position(self.tree.size() + 1);
        if event.position != expected {
            return Err(Fault { position: Some(expected), ..Fault::of(FaultKind::Gap(expected)) });
        }
        let leaf = self.chain(event, &place)?;
        self.tree.append(leaf.0);
        self.commit(event, leaf, place);
        Ok(())
    }

    /// Takes an event out of the middle of a log, with the proof that it is in the log of a checkpoint; without one it
    /// is only compared with the events before it in its stream.
    ///
    /// # Errors
    /// When it is not the event that was recorded, or the proof does not prove that.
    pub fn member(
        &mut self,
        event: &RecordedEvent,
        proof: Option<(&Checkpoint, &[Hash])>,
    ) -> Result<(), Fault> {
        let place = Place::of(event);
        let leaf = self.chain(event, &place)?;
        let Some((checkpoint, proof)) = proof else { return Ok(()) };
        let (index, size) = (event.position.0.wrapping_sub(1), checkpoint.size);
        verify_inclusion(&leaf.0, index, size, proof, &checkpoint.root)
            .map_err(|_| Fault::at(FaultKind::Root { size, source: Source::Inside }, &place))?;
        self.counts.sealed += 1;
        Ok(())
    }

    /// Compares an event with its own hashes and with the event before it in its stream.
    fn chain(&mut self, event: &RecordedEvent, place: &Place) -> Result<LeafHash, Fault> {
        let key = stream_key(&event.stream);
        let before = self.streams.get(&key).copied();
        let (version, leaf) = before.map_or((Version(0), LeafHash::NONE), |c| (c.version, c.leaf));
        if event.version.0 != version.0 + 1 {
            return Err(Fault::at(FaultKind::Version(Version(version.0 + 1)), place));
        }
        let computed = event.computed_hashes(leaf);
        if computed.payload != event.hashes.payload {
            return Err(Fault::at(FaultKind::Payload, place));
        }
        if computed.leaf != event.hashes.leaf {
            return Err(Fault::at(FaultKind::Leaf, place));
        }
        if let Some((at, expected, _)) = self.ahead.get(&key)
            && *at == event.version
        {
            if *expected != computed.leaf {
                return Err(Fault::at(FaultKind::StreamEnd(event.version), place));
            }
            self.ahead.remove(&key);
        }
        let recorded = before.map_or(self.records_begun, |chain| chain.recorded);
        let chain = Chain { version: event.version, leaf: computed.leaf, position: event.position, recorded };
        self.streams.insert(key, chain);
        self.counts.events += 1;
        Ok(computed.leaf)
    }

    /// Looks at an event behind one that is missing, without verifying it: the stream and version that must have been
    /// there, as soon as they show.
    pub fn find_missing(&mut self, event: &RecordedEvent) -> Option<(StreamId, Version)> {
        let key = stream_key(&event.stream);
        let last = self.streams.get(&key).map_or(Version(0), |chain| chain.version);
        if event.version.0 > last.0 + 1 {
            return Some((event.stream.clone(), Version(last.0 + 1)));
        }
        let (version, leaf, position) = (event.version, event.hashes.leaf, event.position);
        self.streams.insert(key, Chain { version, leaf, position, recorded: false });
        None
    }

    fn commit(&mut self, event: &RecordedEvent, leaf: LeafHash, place: Place) {
        let same = self
            .commit
            .as_ref()
            .is_some_and(|commit| (commit.at, &commit.node) == (event.recorded_at, &event.node));
        if !same {
            let hasher = self.digest().map_or_else(Sha256::new, Sha256::new_with_prefix);
            self.commit = Some(Commit { node: event.node.clone(), at: event.recorded_at, hasher });
            self.counts.commits += 1;
        }
        self.commit_began = !same;
        if let Some(commit) = &mut self.commit {
            commit.hasher.update(leaf.0);
        }
        if !same {
            let last = self.nodes.insert(event.node.clone(), (event.recorded_at, place.clone()));
            // a node's times rise; they may also go back where its clock was set back, so this is only a hint
            if let Some((_, last)) = last.filter(|(at, _)| *at >= event.recorded_at)
                && self.suspect.is_none()
                && self.unconfirmed.is_some()
            {
                self.suspect = Some(last);
            }
        }
        self.unconfirmed.get_or_insert(place);
    }

    /// The digest over the commits so far, the last one taken as complete.
    #[must_use]
    pub fn digest(&self) -> Option<Hash> {
        self.commit.as_ref().map(|commit| commit.hasher.clone().finalize().into())
    }

    /// Whether the last event is the first of its commit.
    #[must_use]
    pub const fn begins_commit(&self) -> bool {
        self.commit_began
    }

    /// Reads a checkpoint and checks who signed it. [`Verifier::agree`] compares it, once the verifier is there.
    ///
    /// # Errors
    /// When it cannot be read, is of another log, or is signed by nobody who is trusted.
    pub fn believe(&mut self, note: &str, source: Source) -> Result<Checkpoint, Fault> {
        let unreadable = |why: String| Fault::of(FaultKind::Checkpoint { source, why });
        let note: SignedNote = note.parse().map_err(|e| unreadable(format!("{e}")))?;
        let checkpoint = Checkpoint::of(&note).map_err(|e| unreadable(e.to_string()))?;
        let size = checkpoint.size;
        let valid = self.trusted.iter().filter(|(_, until)| until.is_none_or(|until| size <= until));
        let keys: Vec<VerifierKey> = valid.map(|(key, _)| key.clone()).collect();
        let wrong = |why: String| Fault {
            position: Some(Position(size)),
            ..Fault::of(FaultKind::Signature { size, source, why })
        };
        note.verify(&keys).map_err(|e| wrong(e.to_string()))?;
        match &self.origin {
            Some(origin) if *origin != checkpoint.origin => {
                Err(wrong(format!("it is of the log {}, the others are of {origin}", checkpoint.origin)))
            }
            Some(_) => Ok(checkpoint),
            None => {
                self.origin = Some(checkpoint.origin.clone());
                Ok(checkpoint)
            }
        }
    }

    /// Compares a checkpoint whose size is [`Verifier::position`].
    ///
    /// # Errors
    /// When the events so far are not those that were signed.
    pub fn agree(&mut self, checkpoint: &Checkpoint, source: Source) -> Result<(), Fault> {
        let size = checkpoint.size;
        if size > self.tree.size() {
            let position = Some(Position(self.tree.size() + 1));
            let until = Some(Position(size));
            return Err(Fault { position, until, ..Fault::of(FaultKind::Cut { size, source }) });
        }
        if size < self.tree.size() {
            let why = format!("the one over {size} events follows larger ones");
            return Err(Fault::of(FaultKind::Checkpoint { source, why }));
        }
        if checkpoint.root != self.tree.root() {
            return Err(self.range(FaultKind::Root { size, source }));
        }
        self.counts.sealed = self.counts.sealed.max(size);
        match source {
            Source::Inside => self.counts.checkpoints += 1,
            Source::Outside => self.counts.outside += 1,
        }
        self.unconfirmed = None;
        self.suspect = None;
        Ok(())
    }

    /// A fault somewhere among the events that no checkpoint has confirmed.
    fn range(&self, kind: FaultKind) -> Fault {
        let until = Some(self.position());
        match self.suspect.as_ref().or(self.unconfirmed.as_ref()) {
            Some(place) => Fault { until, ..Fault::at(kind, place) },
            None => Fault { position: until, ..Fault::of(kind) },
        }
    }
}

fn stream_key(stream: &StreamId) -> StreamKey {
    let hash: [u8; 32] = Sha256::digest(stream.as_str()).into();
    *hash.first_chunk().expect("16 of 32 bytes")
}
