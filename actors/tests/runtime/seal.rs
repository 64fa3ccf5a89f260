//! The sealer on the in-memory store, on a clock of the test's own: what it seals verifies, what contradicts it is an
//! alarm, and what fails outside does not stop it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use flexcore_actors::domain::ids::Position;
use flexcore_actors::domain::integrity::checkpoint::Checkpoint;
use flexcore_actors::domain::integrity::merkle::{Hash, TreeBuilder};
use flexcore_actors::domain::integrity::note::SignedNote;
use flexcore_actors::ports::integrity_store::StoredCheckpoint;
use flexcore_actors::ports::{EventStore, IntegrityStore, Signer};
use flexcore_actors::runtime::api::ApiError;
use flexcore_actors::runtime::inspect::Inspector;
use flexcore_actors::runtime::integrity::{IntegrityPorts, Sealer, SealerState};
use flexcore_actors::runtime::supervisor::SupervisorHandle;
use flexcore_actors::testkit::conformance::{Writer, pipeline};
use flexcore_actors::testkit::{
    ManualClock, MemoryCheckpoints, MemoryIntegrity, MemoryStore, TestSigner, held_singleton,
};

use crate::world::World;

/// Virtual time: far beyond what any turn takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A log with its sealers.
struct Log {
    writer: Writer,
    integrity: Arc<MemoryIntegrity>,
    signer: Arc<TestSigner>,
    outside: Arc<MemoryCheckpoints>,
    clock: Arc<ManualClock>,
}

impl Log {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self {
            writer: Writer::claim_as(Arc::clone(&store) as _, "node-a").await,
            integrity: Arc::new(MemoryIntegrity::new(store)),
            signer: Arc::new(TestSigner::new("example.com/log", 1)),
            outside: Arc::default(),
            clock: Arc::new(ManualClock::new(1)),
        }
    }

    async fn append(&self, stream: &str, expected: u64, events: usize) {
        self.writer.commit(&self.writer.unit(&pipeline(stream), expected, events)).await;
    }

    /// A node's sealer, and its supervisor.
    async fn sealer(&self) -> (Sealer, SupervisorHandle) {
        let ids = Arc::clone(&self.clock) as _;
        let supervisor = SupervisorHandle::spawn("integrity", Inspector::new("n1"), ids, None).await.unwrap();
        let ports = IntegrityPorts {
            store: Arc::clone(&self.integrity) as _,
            signer: Arc::clone(&self.signer) as _,
            outside: Arc::clone(&self.outside) as _,
        };
        (Sealer::start(ports, Arc::clone(&self.clock) as _, held_singleton(), &supervisor).await, supervisor)
    }

    async fn checkpoints(&self) -> Vec<StoredCheckpoint> {
        self.integrity.checkpoints(0, 1_000).await.unwrap()
    }

    /// The root of the log's first events, computed from the events themselves.
    async fn root(&self, size: usize) -> Hash {
        let mut tree = TreeBuilder::default();
        self.writer.log().await[..size].iter().for_each(|event| tree.append(event.hashes.leaf.0, drop));
        tree.root()
    }

    /// A checkpoint as this log's key would sign it.
    fn signed(&self, size: u64, root: Hash) -> String {
        let text = Checkpoint { origin: self.signer.name(), size, root }.to_string();
        SignedNote::new(text.clone(), self.signer.sign(&text)).unwrap().to_string()
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never came: {what}"));
}

async fn until_sealed(sealer: &Sealer, size: u64) {
    until("the log is sealed and published", async || sealer.status().published.load(Relaxed) == size).await;
}

async fn until_alarm(sealer: &Sealer) -> String {
    until("an alarm", async || matches!(sealer.status().state(), SealerState::Alarm(_))).await;
    sealer.status().state().detail().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn every_checkpoint_is_the_root_of_the_events_and_verifies() {
    let log = Log::new().await;
    let (sealer, _) = log.sealer().await;
    for n in 0..4 {
        log.append("p", n * 150, 150).await;
        until_sealed(&sealer, (n + 1) * 150).await;
    }
    let checkpoints = log.checkpoints().await;
    assert_eq!(checkpoints.last().unwrap().size, 600);
    for stored in &checkpoints {
        assert_eq!(
            stored.root,
            log.root(usize::try_from(stored.size).unwrap()).await,
            "size {}",
            stored.size
        );
        let note: SignedNote = stored.note.parse().unwrap();
        note.verify(&[log.signer.key()]).unwrap();
        let expected = Checkpoint { origin: log.signer.name(), size: stored.size, root: stored.root };
        assert_eq!(Checkpoint::of(&note).unwrap(), expected);
    }
    let notes: Vec<String> = checkpoints.into_iter().map(|stored| stored.note).collect();
    assert_eq!(log.outside.notes(), notes, "each is copied outside");
    assert_eq!(log.integrity.tiles(0, 0, 9).await.unwrap().len(), 2);
    assert_eq!(sealer.status().state(), SealerState::Sealing);
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_nothing_sealed_and_the_end_seals_what_is_left() {
    let log = Log::new().await;
    log.append("p", 0, 3).await;
    let (sealer, supervisor) = log.sealer().await;
    until_sealed(&sealer, 3).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(log.checkpoints().await.len(), 1);
    log.append("p", 3, 2).await;
    sealer.finish();
    supervisor.drain(DEADLINE).await;
    let sizes: Vec<u64> = log.checkpoints().await.iter().map(|stored| stored.size).collect();
    assert_eq!(sizes, [3, 5]);
    assert_eq!(log.outside.notes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_seal_the_same_log_agree() {
    let log = Log::new().await;
    let nodes = [log.sealer().await, log.sealer().await, log.sealer().await];
    for n in 0..40 {
        log.append("p", n * 10, 10).await;
        tokio::time::sleep(Duration::from_millis(370)).await;
    }
    for (sealer, _) in &nodes {
        until("every node sees the whole log sealed", async || {
            sealer.status().sealed.load(Relaxed) == 400 && sealer.status().state() == SealerState::Sealing
        })
        .await;
    }
    for stored in log.checkpoints().await {
        assert_eq!(
            stored.root,
            log.root(usize::try_from(stored.size).unwrap()).await,
            "size {}",
            stored.size
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_shorter_than_what_was_sealed_is_an_alarm() {
    let log = Log::new().await;
    log.append("p", 0, 10).await;
    log.outside.replace(vec![log.signed(12, [7; 32])]);
    let (sealer, _) = log.sealer().await;
    let why = until_alarm(&sealer).await;
    assert!(why.contains("ends at position 10") && why.contains("over 12 events"), "{why}");
    // growing beyond the size does not make it the same log
    log.append("p", 10, 5).await;
    until("the rewritten history is found", async || {
        sealer.status().state().detail().is_some_and(|why| why.contains("history was rewritten"))
    })
    .await;
    assert_eq!(log.checkpoints().await, [], "nothing is sealed");
}

#[tokio::test(start_paused = true)]
async fn a_rewritten_log_is_an_alarm_until_it_is_resolved() {
    let log = Log::new().await;
    log.append("p", 0, 10).await;
    log.outside.replace(vec![log.signed(8, [7; 32])]);
    let (sealer, _) = log.sealer().await;
    assert!(until_alarm(&sealer).await.contains("the first 8 events"));
    assert_eq!(log.checkpoints().await, []);
    // an operator finds that the copy was the forged one, and puts the right one back
    log.outside.replace(vec![log.signed(8, log.root(8).await)]);
    until_sealed(&sealer, 10).await;
    assert_eq!(sealer.status().state(), SealerState::Sealing);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_nobody_trusted_signed_is_an_alarm() {
    let log = Log::new().await;
    log.append("p", 0, 10).await;
    let stranger = TestSigner::new("example.com/log", 2);
    let text = Checkpoint { origin: stranger.name(), size: 10, root: log.root(10).await }.to_string();
    let note = SignedNote::new(text.clone(), stranger.sign(&text)).unwrap();
    log.outside.replace(vec![note.to_string()]);
    let (sealer, _) = log.sealer().await;
    assert!(until_alarm(&sealer).await.contains("no trusted key"));
}

#[tokio::test(start_paused = true)]
async fn a_copy_without_its_checkpoint_in_the_store_is_no_alarm() {
    // the database lost its last second (an asynchronous standby took over), but not the events
    let log = Log::new().await;
    log.append("p", 0, 10).await;
    log.outside.replace(vec![log.signed(8, log.root(8).await)]);
    let (sealer, _) = log.sealer().await;
    until_sealed(&sealer, 10).await;
}

#[tokio::test(start_paused = true)]
async fn sealing_goes_on_while_the_copies_cannot_be_written() {
    let log = Log::new().await;
    log.append("p", 0, 1).await;
    let (sealer, _) = log.sealer().await;
    until_sealed(&sealer, 1).await;
    log.outside.set_away(true);
    log.append("p", 1, 1).await;
    until("sealed without a copy", async || log.checkpoints().await.len() == 2).await;
    until("the error is shown", async || sealer.status().outside_error().is_some()).await;
    assert!(sealer.status().failures.load(Relaxed) > 0);
    log.outside.set_away(false);
    until_sealed(&sealer, 2).await;
    assert_eq!(sealer.status().outside_error(), None);
    assert_eq!(log.outside.notes().len(), 2);
}

/// A copy that a crash kept from being written is written by the next life.
#[tokio::test(start_paused = true)]
async fn the_next_life_copies_what_the_last_one_sealed() {
    let log = Log::new().await;
    log.append("p", 0, 4).await;
    log.outside.set_away(true);
    let (sealer, supervisor) = log.sealer().await;
    until("sealed without a copy", async || sealer.status().sealed.load(Relaxed) == 4).await;
    supervisor.drain(DEADLINE).await;
    log.outside.set_away(false);
    let (next, _) = log.sealer().await;
    until_sealed(&next, 4).await;
    assert_eq!(log.checkpoints().await.len(), 1);
}

#[tokio::test]
async fn a_node_answers_about_its_seals() {
    let world = World::with_tap().await;
    let head = world.store.head().await.unwrap();
    until("the node seals", async || world.api.integrity().await.unwrap().unsealed == 0).await;
    let view = world.api.integrity().await.unwrap();
    let checkpoint = view.checkpoint.unwrap();
    assert_eq!((checkpoint.size, view.position, view.state), (head.0, head, "sealing"));
    let proof = world.api.inclusion_proof(head, None).await.unwrap();
    assert_eq!((proof.root, proof.checkpoint.as_ref()), (checkpoint.root, Some(&checkpoint.note)));
    let proof = world.api.consistency_proof(1, None).await.unwrap();
    assert_eq!((proof.to_root, proof.checkpoint), (checkpoint.root, Some(checkpoint.note)));
    for refused in [
        world.api.inclusion_proof(Position(head.0 + 1), None).await.map(drop),
        world.api.consistency_proof(0, Some(head.0 + 1)).await.map(drop),
    ] {
        assert!(matches!(refused, Err(ApiError::Conflict(why)) if why.contains("is not sealed")));
    }
}
