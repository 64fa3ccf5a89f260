//! Promises of the store of subscriptions, one function each.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::{Epoch, Name, Position};
use crate::ports::BoxFuture;
use crate::ports::subscription_store::{Claim, Grant, SubscriptionStore};

/// An empty store of subscriptions for one test.
pub trait SubscriptionFixture: Send + Sync + Sized {
    /// Makes the store.
    fn open() -> BoxFuture<'static, Self>;

    /// The store.
    fn subscriptions(&self) -> Arc<dyn SubscriptionStore>;

    /// Removes the store.
    fn close(self) -> BoxFuture<'static, ()>;
}

const LONG: Duration = Duration::from_secs(600);
const NONE: Duration = Duration::ZERO;

fn name(text: &str) -> Name {
    Name::new(text).expect("a test's name")
}

async fn granted(
    store: &dyn SubscriptionStore,
    name: &Name,
    owner: &str,
    lease: Duration,
) -> (Epoch, Position) {
    match store.claim(name, owner, lease).await.expect("claim") {
        Claim::Granted { epoch, position } => (epoch, position),
        held => panic!("expected a grant, got {held:?}"),
    }
}

/// While a lease runs nobody else gets it; its owner does, under a higher epoch; so does anyone when it has run out
/// or was given back.
pub async fn a_lease_has_one_owner<F: SubscriptionFixture>(fixture: &F) {
    let (store, s) = (fixture.subscriptions(), name("s"));
    let (first, position) = granted(&*store, &s, "node-a", LONG).await;
    assert_eq!(position, Position(0), "a new subscription begins before the first event");
    let held = store.claim(&s, "node-b", LONG).await.expect("claim");
    assert!(matches!(held, Claim::Held { ref owner, .. } if owner == "node-a"), "{held:?}");
    let (second, _) = granted(&*store, &s, "node-a", NONE).await;
    let (third, _) = granted(&*store, &s, "node-b", LONG).await;
    assert!(first < second && second < third, "{first} {second} {third}");
    assert!(store.release(Grant { name: &s, epoch: third }).await.expect("release"));
    let (fourth, _) = granted(&*store, &s, "node-c", LONG).await;
    assert!(third < fourth);
    granted(&*store, &name("other"), "node-b", LONG).await;
}

/// A checkpoint moves forward only, renews the lease, and is what the next owner begins with.
pub async fn checkpoints_only_rise<F: SubscriptionFixture>(fixture: &F) {
    let (store, s) = (fixture.subscriptions(), name("s"));
    let (epoch, _) = granted(&*store, &s, "node-a", NONE).await;
    let grant = Grant { name: &s, epoch };
    for (position, lease) in [(7, NONE), (5, LONG)] {
        assert!(store.checkpoint(grant, Position(position), lease).await.expect("checkpoint"));
    }
    let held = store.claim(&s, "node-b", LONG).await.expect("claim");
    assert!(matches!(held, Claim::Held { .. }), "the checkpoint renewed the lease: {held:?}");
    assert!(store.release(grant).await.expect("release"));
    assert_eq!(granted(&*store, &s, "node-b", LONG).await.1, Position(7));
}

/// Whoever lost its grant changes nothing.
pub async fn a_stale_owner_is_fenced<F: SubscriptionFixture>(fixture: &F) {
    let (store, s) = (fixture.subscriptions(), name("s"));
    let (stale, _) = granted(&*store, &s, "node-a", NONE).await;
    let (epoch, _) = granted(&*store, &s, "node-b", LONG).await;
    let current = Grant { name: &s, epoch };
    assert!(store.park(current, Position(3), 2, "why").await.expect("park"));
    let before = store.subscriptions().await.expect("subscriptions");
    for grant in [Grant { name: &s, epoch: stale }, Grant { name: &name("unknown"), epoch }] {
        assert!(!store.checkpoint(grant, Position(9), LONG).await.expect("checkpoint"));
        assert!(!store.park(grant, Position(4), 1, "why").await.expect("park"));
        assert!(!store.unpark(grant, Position(3)).await.expect("unpark"));
        assert!(!store.release(grant).await.expect("release"));
    }
    assert_eq!(store.subscriptions().await.expect("subscriptions"), before);
    assert_eq!(store.parked(&s, Position(0), 9).await.expect("parked").len(), 1);
}

/// Parked events are listed in order and in pages, parked again with what is known then, and taken away.
pub async fn events_are_parked_and_unparked<F: SubscriptionFixture>(fixture: &F) {
    let (store, s, other) = (fixture.subscriptions(), name("s"), name("other"));
    let (epoch, _) = granted(&*store, &s, "node-a", LONG).await;
    let grant = Grant { name: &s, epoch };
    let (beside, _) = granted(&*store, &other, "node-a", LONG).await;
    assert!(store.park(Grant { name: &other, epoch: beside }, Position(1), 1, "x").await.expect("park"));
    for position in [5, 3, 9, 3] {
        let attempts = u32::try_from(position).expect("small");
        assert!(store.park(grant, Position(position), attempts, "zoë \"o'clock\"").await.expect("park"));
    }
    let page = store.parked(&s, Position(0), 2).await.expect("parked");
    let shown: Vec<_> = page.iter().map(|p| (p.position.0, p.attempts, p.error.as_str())).collect();
    assert_eq!(shown, [(3, 3, "zoë \"o'clock\""), (5, 5, "zoë \"o'clock\"")]);
    assert_eq!(store.parked(&s, Position(5), 9).await.expect("parked")[0].position, Position(9));
    for _ in 0..2 {
        assert!(store.unpark(grant, Position(5)).await.expect("unpark"), "taking away may be repeated");
    }
    let all = store.subscriptions().await.expect("subscriptions");
    let counts: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.parked, s.owner.as_deref())).collect();
    assert_eq!(counts, [("other", 1, Some("node-a")), ("s", 2, Some("node-a"))]);
}

/// Runs every promise of the store of subscriptions as a test of its own against the given [`SubscriptionFixture`].
#[macro_export]
macro_rules! subscription_store_conformance {
    ($fixture:ty) => {
        $crate::subscription_store_conformance! { @each $fixture:
            a_lease_has_one_owner,
            checkpoints_only_rise,
            a_stale_owner_is_fenced,
            events_are_parked_and_unparked,
        }
    };
    (@each $fixture:ty: $($promise:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            use $crate::testkit::conformance::SubscriptionFixture;
            let fixture = <$fixture as SubscriptionFixture>::open().await;
            $crate::testkit::conformance::$promise(&fixture).await;
            SubscriptionFixture::close(fixture).await;
        }
    )+};
}
