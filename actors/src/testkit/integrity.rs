//! What sealing needs of the outside, in memory, for tests: a store of tiles and checkpoints over any event store, a
//! signer with a key that everybody can know, and copies of checkpoints that can be made to fail. Never for users.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use jiff::Timestamp;

use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Epoch, Position, Shard, StreamId};
use crate::domain::integrity::leaf::next_digest;
use crate::domain::integrity::merkle::{Hash, Tile};
use crate::domain::integrity::note::{KeyName, NoteSignature, VerifierKey};
use crate::ports::checkpoints::{NotePage, NotePlace, OutsideError, Place, Published, TrustedKey};
use crate::ports::event_store::{EventFilter, StoreError};
use crate::ports::integrity_store::{LogState, Seal, SealOutcome, StoredCheckpoint, StreamEnd};
use crate::ports::{BoxFuture, EventStore, IdSource, IntegrityStore, OutsideCheckpoints, Signer};
use crate::runtime::cluster::{SEALER, Shards, Singleton};
use crate::runtime::inspect::Inspector;
use crate::runtime::integrity::{IntegrityPorts, Sealer};
use crate::runtime::supervisor::SupervisorHandle;
use crate::testkit::{ManualClock, RunningTime};

/// How long sealing a test's log may take.
const SEAL_DEADLINE: Duration = Duration::from_secs(30);

/// Everything in memory over a store's events.
#[must_use]
pub fn integrity_ports(store: Arc<dyn EventStore>) -> IntegrityPorts {
    IntegrityPorts {
        store: Arc::new(MemoryIntegrity::new(store)),
        signer: Arc::new(TestSigner::new("example.com/test", 1)),
        outside: Arc::new(MemoryCheckpoints::default()),
    }
}

/// Tiles and checkpoints in memory; leaves are those of an event store.
pub struct MemoryIntegrity {
    events: Arc<dyn EventStore>,
    sealed: Mutex<Sealed>,
}

#[derive(Default)]
struct Sealed {
    tiles: BTreeMap<(u8, u64), Tile>,
    checkpoints: BTreeMap<u64, StoredCheckpoint>,
}

impl MemoryIntegrity {
    /// Nothing sealed over the events of a store.
    #[must_use]
    pub fn new(events: Arc<dyn EventStore>) -> Self {
        Self { events, sealed: Mutex::default() }
    }

    fn sealed(&self) -> MutexGuard<'_, Sealed> {
        self.sealed.lock().expect("no holder of this lock panics")
    }

    async fn read(&self, indexes: Range<u64>) -> Result<Vec<RecordedEvent>, StoreError> {
        let count = usize::try_from(indexes.end.saturating_sub(indexes.start)).unwrap_or(usize::MAX);
        self.events.read_all(Position(indexes.start), count, &EventFilter::default()).await
    }

    fn tiles_from<T>(&self, level: u8, first: u64, limit: usize, of: impl Fn(&Tile) -> T) -> Vec<T> {
        let sealed = self.sealed();
        sealed.tiles.range((level, first)..=(level, u64::MAX)).take(limit).map(|(_, tile)| of(tile)).collect()
    }
}

impl IntegrityStore for MemoryIntegrity {
    fn log_state(&self) -> BoxFuture<'_, Result<LogState, StoreError>> {
        Box::pin(async move {
            // read before the events, so that no checkpoint is seen without them
            let sealed = self.sealed().checkpoints.last_key_value().map(|(_, latest)| latest.clone());
            let events = self.read(0..u64::MAX).await?;
            let commits = events.chunk_by(|a, b| (a.recorded_at, &a.node) == (b.recorded_at, &b.node));
            let digest = commits.fold(None, |digest, commit| {
                Some(next_digest(digest, commit.iter().map(|event| event.hashes.leaf)))
            });
            Ok(LogState { position: Position(events.len() as u64), digest, sealed })
        })
    }

    fn leaves(&self, indexes: Range<u64>) -> BoxFuture<'_, Result<Vec<Hash>, StoreError>> {
        Box::pin(async move {
            Ok(self.read(indexes).await?.into_iter().map(|event| event.hashes.leaf.0).collect())
        })
    }

    fn tiles(&self, level: u8, first: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Tile>, StoreError>> {
        Box::pin(std::future::ready(Ok(self.tiles_from(level, first, limit, Tile::clone))))
    }

    fn tile_roots(
        &self,
        level: u8,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Hash>, StoreError>> {
        Box::pin(std::future::ready(Ok(self.tiles_from(level, first, limit, Tile::root))))
    }

    fn checkpoints(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredCheckpoint>, StoreError>> {
        let beyond = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let found = self.sealed().checkpoints.range(beyond).take(limit).map(|(_, c)| c.clone()).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn stream_ends<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEnd>, StoreError>> {
        Box::pin(async move {
            let mut ends: BTreeMap<StreamId, StreamEnd> = BTreeMap::new();
            for event in self.read(0..u64::MAX).await? {
                let (version, leaf) = (event.version, event.hashes.leaf);
                ends.insert(event.stream.clone(), StreamEnd { stream: event.stream, version, leaf });
            }
            let beyond = ends.into_values().filter(|end| after.is_none_or(|after| end.stream > *after));
            Ok(beyond.take(limit).collect())
        })
    }

    fn seal(&self, seal: Arc<Seal>) -> BoxFuture<'_, Result<SealOutcome, StoreError>> {
        let mut sealed = self.sealed();
        let latest = sealed.checkpoints.last_key_value().map_or(0, |(size, _)| *size);
        if latest != seal.previous {
            return Box::pin(std::future::ready(Ok(SealOutcome::Behind)));
        }
        sealed.tiles.extend(seal.tiles.iter().map(|tile| ((tile.level, tile.index), tile.clone())));
        sealed.checkpoints.insert(seal.checkpoint.size, seal.checkpoint.clone());
        Box::pin(std::future::ready(Ok(SealOutcome::Sealed)))
    }
}

/// Seals a log as a node's sealer does when it ends: everything that is there, once.
///
/// # Panics
/// When the sealer cannot be started.
pub async fn seal_log(store: Arc<dyn IntegrityStore>, signer: TestSigner, outside: impl OutsideCheckpoints) {
    let clock = Arc::new(ManualClock::new(1));
    let ids = Arc::clone(&clock) as Arc<dyn IdSource>;
    let supervisor = SupervisorHandle::spawn("integrity", Inspector::new("seal"), ids, None).await;
    let supervisor = supervisor.expect("a supervisor can be started");
    let ports = IntegrityPorts { store, signer: Arc::new(signer), outside: Arc::new(outside) };
    Sealer::start(ports, clock, held_singleton(), &supervisor).await.finish();
    supervisor.drain(SEAL_DEADLINE).await;
}

/// What one node does for all, for the node that does it for ever.
#[must_use]
pub fn held_singleton() -> Singleton {
    let shards = Shards::new(Arc::new(RunningTime::default()));
    shards.gain(&[(Shard::of(SEALER), Epoch(1))]);
    shards.serve_until(Duration::MAX);
    Singleton::new(SEALER, Arc::new(shards))
}

/// Signs with a key made of one number.
pub struct TestSigner {
    name: KeyName,
    key: SigningKey,
}

impl TestSigner {
    /// A signer of its own for each name and number.
    ///
    /// # Panics
    /// When the name is none.
    #[must_use]
    pub fn new(name: &str, number: u8) -> Self {
        let name = KeyName::new(name).expect("a test's name");
        Self { name, key: SigningKey::from_bytes(&[number; 32]) }
    }

    /// Its public key.
    #[must_use]
    pub fn key(&self) -> VerifierKey {
        VerifierKey::new(self.name.clone(), self.key.verifying_key().as_bytes())
            .expect("made of a private key")
    }
}

impl Signer for TestSigner {
    fn name(&self) -> KeyName {
        self.name.clone()
    }

    fn sign(&self, text: &str) -> Vec<NoteSignature> {
        let signature = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        vec![NoteSignature { name: self.name.clone(), id: self.key().id(), signature }]
    }

    fn sealed(&self, _: u64) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn trusted(&self) -> Vec<TrustedKey> {
        vec![TrustedKey { key: self.key(), until: None }]
    }

    fn place(&self) -> Place {
        Place { at: "memory".to_owned(), beside_store: true }
    }
}

/// Copies of checkpoints in memory.
#[derive(Default)]
pub struct MemoryCheckpoints {
    notes: Mutex<Vec<String>>,
    away: AtomicBool,
}

impl MemoryCheckpoints {
    /// All notes that were published, in order.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Replaces what is there, as somebody with access to it could.
    pub fn replace(&self, notes: Vec<String>) {
        *self.lock() = notes;
    }

    /// Makes it unwritable, or writable again.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.notes.lock().expect("no holder of this lock panics")
    }
}

impl OutsideCheckpoints for MemoryCheckpoints {
    fn latest(&self) -> BoxFuture<'_, Result<Option<String>, OutsideError>> {
        Box::pin(std::future::ready(Ok(self.lock().last().cloned())))
    }

    fn publish<'a>(&'a self, note: &'a str, _: Timestamp) -> BoxFuture<'a, Result<Published, OutsideError>> {
        if self.away.load(Relaxed) {
            let source = std::io::Error::other("an injected fault");
            return Box::pin(std::future::ready(Err(OutsideError::Unavailable {
                operation: "write",
                source,
            })));
        }
        let mut notes = self.lock();
        if notes.last().map(String::as_str) != Some(note) {
            notes.push(note.to_owned());
        }
        Box::pin(std::future::ready(Ok(Published::Written)))
    }

    fn notes(&self, from: NotePlace) -> BoxFuture<'_, Result<NotePage, OutsideError>> {
        let notes = self.lock();
        let from_index = usize::try_from(from.offset).unwrap_or(usize::MAX).min(notes.len());
        let notes = notes[from_index..].to_vec();
        let next = NotePlace { file: String::new(), offset: (from_index + notes.len()) as u64 };
        Box::pin(std::future::ready(Ok(NotePage { notes, next })))
    }

    fn place(&self) -> Place {
        Place { at: "memory".to_owned(), beside_store: true }
    }
}
