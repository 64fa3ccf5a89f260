//! Snapshots are taken when they are due, and a recovery from one comes to the same as one from the beginning. One that
//! must not be used is not, whatever is wrong with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flexcore_actors::domain::ids::{Name, StreamId, Version};
use flexcore_actors::domain::integrity::leaf::LeafHash;
use flexcore_actors::limits::{SNAPSHOT_EVERY, SNAPSHOT_MIN_EVENTS};
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::snapshot_store::Snapshot;
use flexcore_actors::ports::{BoxFuture, EventStore, SnapshotStore};
use flexcore_actors::runtime::api::{At, CommandKind};
use flexcore_actors::testkit::{MemorySnapshots, MemoryStore};
use serde_json::{Value, json};

use crate::gate::Gate;
use crate::world::{DEADLINE, World, step};

/// Events of the pipeline's stream after [`written`].
const EVENTS: usize = SNAPSHOT_EVERY + SNAPSHOT_EVERY / 2;

fn name() -> Name {
    Name::new("p").unwrap()
}

fn stream() -> StreamId {
    StreamId::pipeline(&name())
}

/// A store in which a pipeline has [`EVENTS`] events, and the one snapshot that was taken of it meanwhile.
async fn written() -> (Arc<MemoryStore>, Snapshot) {
    let (store, snapshots) = (Arc::new(MemoryStore::new()), Arc::new(MemorySnapshots::default()));
    let edge = Arc::clone(&store) as Arc<dyn EventStore>;
    let kept = Arc::clone(&snapshots) as Arc<dyn SnapshotStore>;
    let world = World::keeping(Arc::clone(&store), edge, kept, Arc::new(System), Arc::new(System)).await;
    world.ok(CommandKind::RegisterPlugin, "tap", crate::world::plugin("tap", 4)).await;
    let steps = json!({ "steps": [step("a", json!([]))] });
    world.ok(CommandKind::CreatePipeline, "p", steps).await;
    for n in 1..EVENTS {
        advance(&world, n).await;
        if n + 1 == SNAPSHOT_EVERY {
            saved(&snapshots, SNAPSHOT_EVERY as u64).await;
        }
    }
    (store, snapshots.get(&stream()).unwrap())
}

async fn advance(world: &World, n: usize) {
    let bookmark = json!({"step": "a", "state": {"n": n}});
    world.ok(CommandKind::SetBookmark, "p", bookmark).await;
}

/// Waits until the snapshot of the pipeline is at a version.
async fn saved(snapshots: &MemorySnapshots, version: u64) {
    let began = Instant::now();
    while snapshots.get(&stream()).is_none_or(|kept| kept.version < Version(version)) {
        assert!(began.elapsed() < DEADLINE, "no snapshot at version {version}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What a node shows of the pipeline.
async fn shown(world: &World) -> (Value, Value) {
    let view = serde_json::to_value(world.api.pipeline(&name()).await.unwrap()).unwrap();
    let bookmarks = world.api.bookmarks(&name()).await.unwrap();
    (view, serde_json::to_value(bookmarks.items).unwrap())
}

/// A node on the store that finds this snapshot; the events it read to show the pipeline, and what it shows.
async fn next(store: &Arc<MemoryStore>, snapshots: Arc<dyn SnapshotStore>) -> (World, usize, (Value, Value)) {
    let gate = Gate::before(store);
    let edge = Arc::clone(&gate) as Arc<dyn EventStore>;
    let (clock, ids) = (Arc::new(System), Arc::new(System));
    let world = World::keeping(Arc::clone(store), edge, snapshots, clock, ids).await;
    gate.take_read();
    let shown = shown(&world).await;
    (world, gate.take_read(), shown)
}

async fn with(store: &Arc<MemoryStore>, snapshot: Option<Snapshot>) -> (World, usize, (Value, Value)) {
    let snapshots = MemorySnapshots::default();
    if let Some(snapshot) = snapshot {
        snapshots.put(&stream(), snapshot);
    }
    next(store, Arc::new(snapshots)).await
}

/// Every event of the stream is chained on the one before it.
async fn assert_chained(store: &MemoryStore) {
    let events = store.read_stream(&stream(), Version(0), usize::MAX).await.unwrap();
    let mut previous = LeafHash::NONE;
    for event in events {
        assert_eq!(event.hashes, event.computed_hashes(previous), "version {}", event.version);
        previous = event.hashes.leaf;
    }
}

#[tokio::test]
async fn a_recovery_reads_the_snapshot_and_what_came_after() {
    let (store, snapshot) = written().await;
    let (whole, read_whole, from_beginning) = with(&store, None).await;
    assert_eq!(read_whole, EVENTS);
    let tail = EVENTS - SNAPSHOT_EVERY + 1;
    let (world, read, from_snapshot) = with(&store, Some(snapshot)).await;
    assert_eq!(read, SNAPSHOT_MIN_EVENTS + tail, "the first events, the snapshot's own and what came after");
    assert_eq!(from_snapshot, from_beginning);
    assert_eq!(from_snapshot.1[0]["state"], json!({"n": EVENTS - 1}));
    let metrics = (world.api.metrics(), whole.api.metrics());
    assert_eq!((metrics.0.snapshots_ignored, metrics.1.snapshots_ignored), (0, 0));
    drop(whole);
    // it goes on where the stream ends, in its chain of leaves too
    advance(&world, EVENTS).await;
    assert_eq!(shown(&world).await.0["version"], json!(EVENTS + 1));
    assert_chained(&store).await;
}

#[tokio::test]
async fn a_snapshot_at_the_head_is_enough() {
    let (store, _) = written().await;
    let snapshots = Arc::new(MemorySnapshots::default());
    let kept = || Arc::clone(&snapshots) as Arc<dyn SnapshotStore>;
    // without a snapshot the recovery itself makes the next one due
    let (world, _, expected) = next(&store, kept()).await;
    saved(&snapshots, EVENTS as u64).await;
    drop(world);
    let (world, read, found) = next(&store, kept()).await;
    assert_eq!((read, found), (SNAPSHOT_MIN_EVENTS + 1, expected));
    advance(&world, EVENTS).await;
    assert_chained(&store).await;
}

#[tokio::test]
async fn a_snapshot_that_must_not_be_used_is_not() {
    let (store, good) = written().await;
    let (_, _, expected) = with(&store, None).await;
    let payload = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.payload.to_vec();
        change(&mut bytes);
        Snapshot { payload: Bytes::from(bytes), ..good.clone() }
    };
    // the bookmark's number: the result is a state that can be read, and is wrong
    let number =
        good.payload.windows(3).position(|three| three[..2] == *b"\xa1n" && three[2] > 1).unwrap() + 2;
    let damaged = [
        ("one byte of its state", payload(&|bytes| bytes[number] -= 1)),
        ("one byte of its digest", payload(&|bytes| bytes[0] ^= 1)),
        ("cut short", payload(&|bytes| bytes.truncate(bytes.len() - 1))),
        ("nothing left", payload(&Vec::clear)),
        ("no state at all", payload(&|bytes| bytes.truncate(32))),
        ("another shape", Snapshot { fingerprint: [7; 32], ..good.clone() }),
        ("an earlier version", Snapshot { version: Version(good.version.0 - 1), ..good.clone() }),
        ("a later version", Snapshot { version: Version(good.version.0 + 1), ..good.clone() }),
        ("ahead of the stream", Snapshot { version: Version(EVENTS as u64 + 1), ..good.clone() }),
        ("no version", Snapshot { version: Version(0), ..good.clone() }),
        ("far ahead", Snapshot { version: Version(u64::MAX), ..good.clone() }),
    ];
    for (what, snapshot) in damaged {
        let (world, _, found) = with(&store, Some(snapshot)).await;
        assert_eq!(found, expected, "{what}");
        assert_eq!(world.api.metrics().snapshots_ignored, 1, "{what}");
    }
}

#[tokio::test]
async fn a_snapshot_of_another_stream_is_not_taken_for_ones_own() {
    let (store, _) = written().await;
    let (_, foreign) = written().await;
    let (_, _, expected) = with(&store, None).await;
    let (world, _, found) = with(&store, Some(foreign)).await;
    assert_eq!(found, expected);
    assert_eq!(world.api.metrics().snapshots_ignored, 1);
}

/// A store of snapshots that is away.
struct Away;

fn away() -> StoreError {
    StoreError::Unavailable { operation: "snapshot", source: "the test says so".into() }
}

impl SnapshotStore for Away {
    fn load<'a>(&'a self, _: &'a StreamId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        Box::pin(async { Err(away()) })
    }

    fn save<'a>(&'a self, _: &'a StreamId, _: &'a Snapshot) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Err(away()) })
    }
}

#[tokio::test]
async fn a_store_of_snapshots_that_is_away_stops_nothing() {
    let (store, _) = written().await;
    let (_, _, expected) = with(&store, None).await;
    let (world, read, found) = next(&store, Arc::new(Away)).await;
    assert_eq!((read, found), (EVENTS, expected));
    advance(&world, EVENTS).await;
    let began = Instant::now();
    while world.api.metrics().snapshots_failed == 0 {
        assert!(began.elapsed() < DEADLINE, "the save that failed is not counted");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let metrics = world.api.metrics();
    assert_eq!((metrics.snapshots_ignored, metrics.snapshots_saved), (1, 0));
}

#[tokio::test]
async fn what_leaves_memory_leaves_a_snapshot() {
    let snapshots = Arc::new(MemorySnapshots::default());
    let (store, kept) = (Arc::new(MemoryStore::new()), Arc::clone(&snapshots) as Arc<dyn SnapshotStore>);
    let edge = Arc::clone(&store) as Arc<dyn EventStore>;
    let world = World::keeping(store, edge, kept, Arc::new(System), Arc::new(System)).await;
    world.ok(CommandKind::RegisterPlugin, "tap", crate::world::plugin("tap", 4)).await;
    world.ok(CommandKind::CreatePipeline, "p", json!({ "steps": [step("a", json!([]))] })).await;
    for n in 1..SNAPSHOT_MIN_EVENTS {
        advance(&world, n).await;
    }
    assert_eq!(snapshots.get(&stream()), None);
    world.node.shutdown(Duration::from_secs(10)).await;
    saved(&snapshots, SNAPSHOT_MIN_EVENTS as u64).await;
    assert_eq!(snapshots.get(&"plugin-tap".parse().unwrap()), None, "a short stream needs none");
}

#[tokio::test]
async fn every_moment_of_the_past_can_be_shown() {
    let (store, snapshot) = written().await;
    let (world, _, _) = with(&store, Some(snapshot)).await;
    let events = store.read_stream(&stream(), Version(0), usize::MAX).await.unwrap();
    for at in [1, 2, EVENTS / 2, EVENTS] {
        let event = &events[at - 1];
        let by_version = world.api.pipeline_at(&name(), At::Version(event.version)).await.unwrap();
        assert_eq!((by_version.version, by_version.updated_at), (event.version, Some(event.recorded_at)));
        let by_time = world.api.pipeline_at(&name(), At::Time(event.recorded_at)).await.unwrap();
        assert_eq!(serde_json::to_value(by_time).unwrap(), serde_json::to_value(by_version).unwrap());
    }
    let before = events[0].recorded_at - Duration::from_micros(1);
    let later = events[EVENTS - 1].recorded_at + Duration::from_secs(60);
    let now = world.api.pipeline_at(&name(), At::Time(later)).await.unwrap();
    assert_eq!(now.version, Version(EVENTS as u64));
    for absent in [At::Version(Version(0)), At::Version(Version(EVENTS as u64 + 1)), At::Time(before)] {
        let error = world.api.pipeline_at(&name(), absent).await.unwrap_err().to_string();
        assert!(error.starts_with("pipeline \"p at ") && error.ends_with("does not exist"), "{error}");
    }
}
