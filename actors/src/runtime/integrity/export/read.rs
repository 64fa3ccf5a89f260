//! Reads an export line by line and verifies it with nothing but public keys. Never in here: files.

use super::line::{FORMAT, Footer, Header, Line};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::Position;
use crate::domain::integrity::checkpoint::Checkpoint;
use crate::domain::integrity::leaf::LeafHash;
use crate::domain::integrity::merkle::{CompactRange, Hash};
use crate::domain::integrity::verify::{Fault, FaultKind, Place, Source, Trusted, Verifier};
use crate::ports::integrity_store::StoredCheckpoint;

/// What a line was, once it is verified.
#[derive(Debug)]
pub enum Item {
    /// The first line.
    Header(Header),
    /// An event.
    Event(RecordedEvent),
    /// A checkpoint over the events before it.
    Checkpoint(StoredCheckpoint),
    /// The last line.
    End,
}

/// An export that is being read.
pub struct ExportReader {
    verifier: Verifier,
    trusted: Vec<Trusted>,
    header: Option<Header>,
    /// In the export of a stream: what its proofs lead to.
    proven_by: Option<Checkpoint>,
    read: Footer,
    ended: bool,
}

impl ExportReader {
    /// Begins; these keys are believed.
    #[must_use]
    pub fn new(trusted: Vec<Trusted>) -> Self {
        let verifier = Verifier::new(trusted.clone());
        Self { verifier, trusted, header: None, proven_by: None, read: Footer::default(), ended: false }
    }

    /// What was verified so far.
    #[must_use]
    pub const fn verifier(&mut self) -> &mut Verifier {
        &mut self.verifier
    }

    /// The first line, once it was read.
    #[must_use]
    pub const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// When it is not a line of an export, or what it holds is not what was recorded.
    pub fn line(&mut self, text: &str) -> Result<Item, Fault> {
        if self.ended {
            return Err(damaged("there is more behind its end"));
        }
        let line =
            serde_json::from_str(text).map_err(|e| damaged(format!("a line is not of the format: {e}")))?;
        match (line, self.header.is_some()) {
            (Line::Export(header), false) => self.begin(header),
            (Line::Export(_), true) => Err(damaged("it begins twice")),
            (_, false) => Err(damaged("it does not begin with the line that says what it holds")),
            (Line::Event(line), true) => {
                let (previous, proof) = (line.previous_leaf, line.proof.clone());
                let place =
                    Place { stream: line.stream.clone(), version: line.version, position: line.position };
                let event =
                    line.event().map_err(|why| Fault::at(FaultKind::Export(why.to_owned()), &place))?;
                if let Some(previous) = previous {
                    let before = crate::domain::ids::Version(event.version.0.saturating_sub(1));
                    self.verifier.introduce(&event.stream, before, LeafHash(previous.0));
                }
                self.event(&event, proof.map(|proof| proof.into_iter().map(|hash| hash.0).collect()))?;
                self.read.events += 1;
                Ok(Item::Event(event))
            }
            (Line::Checkpoint(line), true) => {
                let checkpoint = self.verifier.believe(&line.note, Source::Inside)?;
                if self.stream_only() {
                    self.proven_by = Some(checkpoint.clone());
                } else {
                    self.verifier.agree(&checkpoint, Source::Inside)?;
                }
                self.read.checkpoints += 1;
                let Checkpoint { size, root, .. } = checkpoint;
                Ok(Item::Checkpoint(StoredCheckpoint {
                    size,
                    root,
                    note: line.note,
                    sealed_at: line.sealed_at,
                }))
            }
            (Line::End(footer), true) => {
                self.ended = true;
                if footer == self.read { Ok(Item::End) } else { Err(damaged("lines of it are missing")) }
            }
        }
    }

    /// After the last line: that nothing is missing at the end, and something is signed.
    ///
    /// # Errors
    /// When that is not so.
    pub fn finish(&self) -> Result<(), Fault> {
        let Some(header) = self.header.as_ref().filter(|_| self.ended) else {
            return Err(Fault {
                position: Some(Position(self.verifier.position().0 + 1)),
                ..damaged("its end is missing: it was cut")
            });
        };
        if !self.stream_only() {
            if self.verifier.position() != header.position {
                let position = Some(Position(self.verifier.position().0 + 1));
                return Err(Fault { position, ..Fault::of(FaultKind::LogEnd(header.position)) });
            }
            if header.after.0 == 0 {
                self.verifier.log_end(header.position, header.digest.map(|digest| digest.0))?;
            }
        }
        let counts = self.verifier.counts();
        if counts.events > 0 && counts.sealed == 0 {
            return Err(Fault::of(FaultKind::Unsigned));
        }
        Ok(())
    }

    fn stream_only(&self) -> bool {
        self.header.as_ref().is_some_and(|header| header.stream.is_some())
    }

    fn begin(&mut self, header: Header) -> Result<Item, Fault> {
        if header.format != FORMAT {
            return Err(damaged(format!(
                "it is of format {}, and this version reads format {FORMAT}: use the flexcore that wrote it",
                header.format
            )));
        }
        if header.stream.is_none() {
            let parts = header.tree.iter().map(|hash| hash.0).collect();
            let tree = CompactRange::resume(header.after.0, parts)
                .ok_or_else(|| damaged("its tree does not belong to where it begins"))?;
            self.verifier = Verifier::resume(self.trusted.clone(), tree);
        }
        self.header = Some(header.clone());
        Ok(Item::Header(header))
    }

    fn event(&mut self, event: &RecordedEvent, proof: Option<Vec<Hash>>) -> Result<(), Fault> {
        let header = self.header.as_ref().and_then(|header| header.stream.as_ref());
        match header {
            None => self.verifier.event(event),
            Some(stream) if *stream != event.stream => {
                let why = "it is of another stream than the export".to_owned();
                Err(Fault::at(FaultKind::Export(why), &Place::of(event)))
            }
            Some(_) => {
                let proof = self.proven_by.as_ref().zip(proof);
                self.verifier.member(event, proof.as_ref().map(|(by, proof)| (*by, &proof[..])))
            }
        }
    }
}

fn damaged(why: impl Into<String>) -> Fault {
    Fault::of(FaultKind::Export(why.into()))
}
