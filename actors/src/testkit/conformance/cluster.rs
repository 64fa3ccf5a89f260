//! Promises about members and owners: [`ClusterStore`](crate::ports::ClusterStore). Leases are as short as a test can wait
//! for; whoever must be silent is waited for until the store says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Fixture, Store};
use crate::domain::ids::{Epoch, Incarnation, Name, Shard};
use crate::ports::cluster::{ClusterView, Join, Joined, Member, MemberState};

/// A lease that runs for longer than any test.
const LONG: Duration = Duration::from_secs(3_600);
/// A lease that has run out when it is granted.
const NONE: Duration = Duration::ZERO;
/// How long what must happen is waited for.
const DEADLINE: Duration = Duration::from_secs(20);

fn node(name: &str) -> Join {
    Join {
        name: Name::new(name).expect("a test's name"),
        incarnation: Incarnation(Uuid::now_v7()),
        home: Uuid::now_v7(),
        address: Some(format!("{name}.example:50051")),
        labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        lease: LONG,
    }
}

async fn joined(store: &Arc<dyn Store>, name: &str) -> Join {
    let join = node(name);
    assert_eq!(store.join(&join).await.expect("join"), Joined::Member);
    join
}

async fn view(store: &Arc<dyn Store>) -> ClusterView {
    store.view().await.expect("view")
}

async fn state(store: &Arc<dyn Store>, id: Incarnation) -> MemberState {
    let view = view(store).await;
    view.members.iter().find(|member| member.incarnation == id).expect("it is shown").state
}

/// Lets the member's lease run out, and returns when another sees that.
async fn silent(store: &Arc<dyn Store>, by: &Join, member: &Join) {
    store.renew(member.incarnation, MemberState::Live, NONE).await.expect("renew");
    let began = Instant::now();
    while !store.renew(by.incarnation, MemberState::Live, LONG).await.expect("renew").silent {
        assert!(began.elapsed() < DEADLINE, "the lease does not run out");
    }
}

fn owner(view: &ClusterView, shard: Shard) -> Option<&str> {
    view.shards[usize::from(shard.0)].owner.as_ref().map(Name::as_str)
}

/// No two members that live have one name; when the lease of the first has run out, the name is free.
pub async fn a_live_name_is_taken<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    let again = node("a");
    let refused = store.join(&again).await.expect("join");
    assert!(
        matches!(refused, Joined::NameTaken { left } if left > Duration::ZERO && left <= LONG),
        "{refused:?}"
    );
    silent(&store, &b, &a).await;
    assert_eq!(store.join(&again).await.expect("join"), Joined::Member);
    assert_eq!(state(&store, a.incarnation).await, MemberState::Dead);
}

/// Whoever joins from the data directory of a former life supersedes it while its lease runs, and finds its shards free.
pub async fn the_next_life_supersedes_the_former_at_once<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let former = joined(&store, "a").await;
    store.claim(former.incarnation, &[Shard(1), Shard(2)]).await.expect("claim");
    let next = Join { home: former.home, ..node("renamed") };
    assert_eq!(fixture.another().await.join(&next).await.expect("join"), Joined::Member);
    assert_eq!(state(&store, former.incarnation).await, MemberState::Dead);
    assert!(!store.renew(former.incarnation, MemberState::Live, LONG).await.expect("renew").alive);
    let claimed = store.claim(next.incarnation, &[Shard(1)]).await.expect("claim");
    assert_eq!(claimed, [(Shard(1), Epoch(2))]);
}

/// A node that nobody can reach joins only where nobody lives, and nobody joins it.
pub async fn a_node_without_an_address_lives_alone<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let lone = Join { address: None, ..node("lone") };
    assert_eq!(store.join(&lone).await.expect("join"), Joined::Member);
    let refused = store.join(&node("b")).await.expect("join");
    assert_eq!(refused, Joined::NotAlone { other: lone.name.clone() });
    store.leave(lone.incarnation).await.expect("leave");
    let b = joined(&store, "b").await;
    let again = Join { address: None, ..node("lone") };
    assert_eq!(store.join(&again).await.expect("join"), Joined::NotAlone { other: b.name.clone() });
    // one that is silent keeps nobody out
    store.renew(b.incarnation, MemberState::Live, NONE).await.expect("renew");
    let began = Instant::now();
    while store.join(&again).await.expect("join") != Joined::Member {
        assert!(began.elapsed() < DEADLINE, "the lease does not run out");
    }
    assert_eq!(state(&store, b.incarnation).await, MemberState::Dead);
}

/// S4: what is owned is not claimed by another; of two who claim at the same time each shard goes to one.
pub async fn a_shard_has_one_owner<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    let all: Vec<Shard> = (0..=u8::MAX).map(Shard).collect();
    let other = fixture.another().await;
    let (of_a, of_b) =
        tokio::join!(store.claim(a.incarnation, &all[..200]), other.claim(b.incarnation, &all[100..]));
    let (of_a, of_b) = (of_a.expect("claim"), of_b.expect("claim"));
    assert_eq!(of_a.len() + of_b.len(), 256, "{of_a:?} {of_b:?}");
    assert!(of_a.iter().chain(&of_b).all(|(_, epoch)| *epoch == Epoch(1)));
    let view = view(&store).await;
    assert!(of_a.iter().all(|(shard, _)| owner(&view, *shard) == Some("a")));
    assert!(of_b.iter().all(|(shard, _)| owner(&view, *shard) == Some("b")));
    assert_eq!(store.claim(a.incarnation, &all).await.expect("claim"), []);
}

/// What is given back is free, and its next owner has a higher epoch (S4); nobody gives back what is another's.
pub async fn released_shards_are_free_under_a_higher_epoch<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    store.claim(a.incarnation, &[Shard(7), Shard(8)]).await.expect("claim");
    store.release(b.incarnation, &[Shard(7)]).await.expect("release");
    assert_eq!(owner(&view(&store).await, Shard(7)), Some("a"));
    store.release(a.incarnation, &[Shard(7)]).await.expect("release");
    assert_eq!(owner(&view(&store).await, Shard(7)), None);
    let claimed = store.claim(b.incarnation, &[Shard(7), Shard(8)]).await.expect("claim");
    assert_eq!(claimed, [(Shard(7), Epoch(2))]);
    store.leave(a.incarnation).await.expect("leave");
    assert_eq!(owner(&view(&store).await, Shard(8)), None, "who leaves gives everything back");
    assert_eq!(state(&store, a.incarnation).await, MemberState::Left);
}

/// S4: nobody is marked dead before its lease has run out, nor by one who is no member.
pub async fn only_the_silent_are_marked_dead<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let (a, b, c) = (joined(&store, "a").await, joined(&store, "b").await, joined(&store, "c").await);
    store.claim(a.incarnation, &[Shard(3)]).await.expect("claim");
    assert!(!store.mark_dead(b.incarnation, a.incarnation).await.expect("mark dead"), "its lease runs");
    silent(&store, &b, &a).await;
    store.leave(c.incarnation).await.expect("leave");
    assert!(!store.mark_dead(c.incarnation, a.incarnation).await.expect("mark dead"), "by no member");
    assert!(
        store.renew(a.incarnation, MemberState::Live, LONG).await.expect("renew").alive,
        "it was late only"
    );
    assert!(!store.mark_dead(b.incarnation, a.incarnation).await.expect("mark dead"), "it is back");
    silent(&store, &b, &a).await;
    assert!(store.mark_dead(b.incarnation, a.incarnation).await.expect("mark dead"));
    assert!(!store.mark_dead(b.incarnation, a.incarnation).await.expect("mark dead"), "it is dead already");
    assert_eq!(owner(&view(&store).await, Shard(3)), None);
}

/// S4: who was marked dead renews, claims and releases nothing, and is no member again.
pub async fn the_dead_stay_dead<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    silent(&store, &b, &a).await;
    assert!(store.mark_dead(b.incarnation, a.incarnation).await.expect("mark dead"));
    let next = joined(&store, "a").await;
    store.claim(next.incarnation, &[Shard(5)]).await.expect("claim");
    assert!(!store.renew(a.incarnation, MemberState::Live, LONG).await.expect("renew").alive);
    assert_eq!(store.claim(a.incarnation, &[Shard(6)]).await.expect("claim"), []);
    store.release(a.incarnation, &[Shard(5)]).await.expect("release");
    assert!(!store.mark_dead(a.incarnation, b.incarnation).await.expect("mark dead"));
    store.leave(a.incarnation).await.expect("leave");
    assert_eq!(state(&store, a.incarnation).await, MemberState::Dead);
    assert_eq!(owner(&view(&store).await, Shard(5)), Some("a"), "its next life's");
}

/// Who drains keeps what it has until it gives it back, and gets nothing new.
pub async fn who_drains_claims_nothing<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let a = joined(&store, "a").await;
    store.claim(a.incarnation, &[Shard(1)]).await.expect("claim");
    assert!(store.renew(a.incarnation, MemberState::Draining, LONG).await.expect("renew").alive);
    assert_eq!(store.claim(a.incarnation, &[Shard(2)]).await.expect("claim"), []);
    assert_eq!(state(&store, a.incarnation).await, MemberState::Draining);
    assert_eq!(owner(&view(&store).await, Shard(1)), Some("a"));
    store.release(a.incarnation, &[Shard(1)]).await.expect("release");
    assert_eq!(owner(&view(&store).await, Shard(1)), None);
}

/// The revision rises with every change of members and owners, and a renewal alone leaves it as it is.
pub async fn the_revision_tells_of_changes<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let watcher = joined(&store, "watcher").await;
    let revision = async || {
        let renewed = store.renew(watcher.incarnation, MemberState::Live, LONG).await.expect("renew");
        assert_eq!(renewed.revision, view(&store).await.revision);
        renewed.revision
    };
    let mut last = revision().await;
    assert_eq!(revision().await, last, "a renewal is no change");
    let mut risen = async |what: &str| {
        let now = revision().await;
        assert!(now > last, "{what}");
        last = now;
    };
    let a = joined(&store, "a").await;
    risen("a member joined").await;
    store.claim(a.incarnation, &[Shard(1)]).await.expect("claim");
    risen("a shard was claimed").await;
    store.renew(a.incarnation, MemberState::Draining, NONE).await.expect("renew");
    risen("a member drains").await;
    store.release(a.incarnation, &[Shard(1)]).await.expect("release");
    risen("a shard was released").await;
    let began = Instant::now();
    while !store.mark_dead(watcher.incarnation, a.incarnation).await.expect("mark dead") {
        assert!(began.elapsed() < DEADLINE, "the lease does not run out");
    }
    risen("a member died").await;
}

/// The view has every member as it joined, by name, and the 256 shards.
pub async fn the_view_shows_members_and_owners<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let (b, a) = (joined(&store, "b").await, joined(&store, "a").await);
    store.claim(b.incarnation, &[Shard(255)]).await.expect("claim");
    let view = view(&store).await;
    assert_eq!(view.shards.len(), 256);
    assert_eq!((owner(&view, Shard(255)), view.shards[255].epoch), (Some("b"), Epoch(1)));
    assert_eq!((owner(&view, Shard(0)), view.shards[0].epoch), (None, Epoch(0)));
    let shown = |join: &Join, found: &Member| {
        let lease_left = found.lease_left;
        assert!(lease_left > Duration::ZERO && lease_left <= LONG, "{lease_left:?}");
        let Join { name, incarnation, address, labels, .. } = join.clone();
        let state = MemberState::Live;
        assert_eq!(*found, Member { name, incarnation, address, labels, state, lease_left });
    };
    assert_eq!(view.members.len(), 2);
    shown(&a, &view.members[0]);
    shown(&b, &view.members[1]);
}
