//! The promises of [`SnapshotStore`], one function each, run against every adapter by
//! [`snapshot_store_conformance!`](crate::snapshot_store_conformance).

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::kit::{pipeline, plugin};
use crate::domain::ids::{StreamId, Version};
use crate::ports::snapshot_store::Snapshot;
use crate::ports::{BoxFuture, SnapshotStore};

/// An empty snapshot store for one test.
pub trait SnapshotFixture: Send + Sync + Sized {
    /// Makes the store.
    fn open() -> BoxFuture<'static, Self>;

    /// The store.
    fn snapshots(&self) -> Arc<dyn SnapshotStore>;

    /// Removes the store.
    fn close(self) -> BoxFuture<'static, ()>;
}

/// Bytes of the largest payload that is tried: more than one page, segment or packet of any store.
const LARGE: usize = 9 << 20;

fn snapshot(version: u64, fingerprint: u8, payload: &'static [u8]) -> Snapshot {
    Snapshot {
        version: Version(version),
        taken_at: Timestamp::from_microsecond(1_800_000_000_123_456).expect("in range"),
        fingerprint: [fingerprint; 32],
        payload: Bytes::from_static(payload),
    }
}

async fn kept(store: &dyn SnapshotStore, stream: &StreamId) -> Option<Snapshot> {
    store.load(stream).await.expect("load")
}

/// What was saved is loaded, each stream's own; one that was never saved is absent.
pub async fn snapshots_come_back<F: SnapshotFixture>(fixture: &F) {
    let store = fixture.snapshots();
    let (a, b) = (pipeline("a"), plugin("a"));
    assert_eq!(kept(&*store, &a).await, None);
    let (first, second) = (snapshot(7, 1, b"one"), snapshot(1, 2, b"two"));
    store.save(&a, &first).await.expect("save");
    assert_eq!(kept(&*store, &b).await, None);
    store.save(&b, &second).await.expect("save");
    assert_eq!((kept(&*store, &a).await, kept(&*store, &b).await), (Some(first), Some(second)));
}

/// The payload is given back as it is: empty, large, or no MessagePack at all.
pub async fn snapshot_payloads_are_opaque<F: SnapshotFixture>(fixture: &F) {
    let store = fixture.snapshots();
    let large: Vec<u8> = (0..LARGE).map(|n| n.to_le_bytes()[n % 3]).collect();
    let payloads = [Bytes::new(), Bytes::from_static(b"\xc1\0not msgpack\xff"), Bytes::from(large)];
    for (version, payload) in (1..).zip(payloads) {
        let stream = pipeline("opaque");
        let given = Snapshot { payload, ..snapshot(version, 1, b"") };
        store.save(&stream, &given).await.expect("save");
        assert!(kept(&*store, &stream).await == Some(given), "payload {version} changed on its way");
    }
}

/// A later version takes the place of an earlier one, the same version too; a late one changes nothing.
pub async fn a_late_snapshot_changes_nothing<F: SnapshotFixture>(fixture: &F) {
    let (store, stream) = (fixture.snapshots(), pipeline("late"));
    for (version, expected) in [(5, 5), (4, 5), (5, 5), (9, 9), (1, 9)] {
        let payload: &'static [u8] = if version == 5 { b"five" } else { b"other" };
        store.save(&stream, &snapshot(version, 1, payload)).await.expect("save");
        assert_eq!(kept(&*store, &stream).await.map(|kept| kept.version), Some(Version(expected)));
    }
    let again = snapshot(9, 1, b"again");
    store.save(&stream, &again).await.expect("save");
    assert_eq!(kept(&*store, &stream).await, Some(again));
}

/// A state of another shape is of no use to who saves: it is replaced whatever its version.
pub async fn another_shape_is_replaced<F: SnapshotFixture>(fixture: &F) {
    let (store, stream) = (fixture.snapshots(), pipeline("shape"));
    store.save(&stream, &snapshot(9, 1, b"old shape")).await.expect("save");
    let new = snapshot(3, 2, b"new shape");
    store.save(&stream, &new).await.expect("save");
    assert_eq!(kept(&*store, &stream).await, Some(new));
}

/// Saves of one stream at the same time end with the highest version.
pub async fn the_highest_of_many_snapshots_stays<F: SnapshotFixture>(fixture: &F) {
    let (store, stream) = (fixture.snapshots(), pipeline("many"));
    let savers = (1..=16).map(|version| {
        let (store, stream) = (Arc::clone(&store), stream.clone());
        tokio::spawn(async move { store.save(&stream, &snapshot(version * 7 % 17, 1, b"state")).await })
    });
    for saver in savers.collect::<Vec<_>>() {
        saver.await.expect("no panic").expect("save");
    }
    assert_eq!(kept(&*store, &stream).await.map(|kept| kept.version), Some(Version(16)));
}

/// Runs every promise of the snapshot store as a test of its own against the given [`SnapshotFixture`].
#[macro_export]
macro_rules! snapshot_store_conformance {
    ($fixture:ty) => {
        $crate::snapshot_store_conformance! { @each $fixture:
            snapshots_come_back,
            snapshot_payloads_are_opaque,
            a_late_snapshot_changes_nothing,
            another_shape_is_replaced,
            the_highest_of_many_snapshots_stays,
        }
    };
    (@each $fixture:ty: $($promise:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let fixture = <$fixture as $crate::testkit::conformance::SnapshotFixture>::open().await;
            $crate::testkit::conformance::$promise(&fixture).await;
            $crate::testkit::conformance::SnapshotFixture::close(fixture).await;
        }
    )+};
}
