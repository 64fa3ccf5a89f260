//! The promises of [`TokenStore`], one function each, run against every adapter by
//! [`token_store_conformance!`](crate::token_store_conformance).

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::access::{ApiToken, Role, TokenId};
use crate::ports::{BoxFuture, TokenStore};

/// An empty store of tokens for one test.
pub trait TokenFixture: Send + Sync + Sized {
    /// Makes the store.
    fn open() -> BoxFuture<'static, Self>;

    /// The store.
    fn tokens(&self) -> Arc<dyn TokenStore>;

    /// Removes the store.
    fn close(self) -> BoxFuture<'static, ()>;
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond(1_800_000_000_000_000 + second * 1_000_000 + 123_456).expect("in range")
}

fn token(n: u8, role: Role) -> ApiToken {
    ApiToken {
        id: TokenId(Uuid::from_u128(n.into())),
        hash: [n ^ 0xff; 32],
        role,
        created_by: format!("admin {n} with ü"),
        created_at: at(i64::from(n)),
        expires_at: n.is_multiple_of(2).then(|| at(1_000)),
        revoked_at: None,
    }
}

/// What was kept is found by its hash, as it was; by another hash nothing is.
pub async fn tokens_are_found_by_their_hash<F: TokenFixture>(fixture: &F) {
    let store = fixture.tokens();
    let all: Vec<_> = (1..=4).zip(Role::ALL).map(|(n, role)| token(n, role)).collect();
    for token in &all {
        assert_eq!(store.find(&token.hash).await.expect("find"), None);
        store.create(token).await.expect("create");
    }
    for token in &all {
        assert_eq!(store.find(&token.hash).await.expect("find").as_ref(), Some(token));
    }
    assert_eq!(store.find(&[7; 32]).await.expect("find"), None);
}

/// They are listed by id, in pages.
pub async fn tokens_are_listed_in_pages<F: TokenFixture>(fixture: &F) {
    let store = fixture.tokens();
    assert_eq!(store.list(None, 10).await.expect("list"), []);
    let all = [3, 1, 2].map(|n| token(n, Role::Viewer));
    for token in &all {
        store.create(token).await.expect("create");
    }
    let listed = store.list(None, 2).await.expect("list");
    assert_eq!(listed, [all[1].clone(), all[2].clone()]);
    let rest = store.list(Some(listed[1].id), 2).await.expect("list");
    assert_eq!(rest, [all[0].clone()]);
}

/// An id and a hash are kept once: the second is refused and changes nothing.
pub async fn a_token_is_kept_once<F: TokenFixture>(fixture: &F) {
    let store = fixture.tokens();
    let first = token(1, Role::Viewer);
    store.create(&first).await.expect("create");
    let same_hash = ApiToken { hash: first.hash, ..token(2, Role::Admin) };
    let same_id = ApiToken { id: first.id, ..token(3, Role::Admin) };
    for twin in [&first, &same_hash, &same_id] {
        assert!(store.create(twin).await.is_err(), "{twin:?}");
    }
    assert_eq!(store.list(None, 10).await.expect("list"), [first]);
}

/// What was revoked stays so, since the first time; there is nothing to revoke of another id.
pub async fn a_revoked_token_stays_revoked<F: TokenFixture>(fixture: &F) {
    let store = fixture.tokens();
    let (one, other) = (token(1, Role::Admin), token(2, Role::Admin));
    for token in [&one, &other] {
        store.create(token).await.expect("create");
    }
    assert!(store.revoke(one.id, at(50)).await.expect("revoke"));
    assert!(store.revoke(one.id, at(60)).await.expect("a repetition"));
    assert!(!store.revoke(TokenId(Uuid::nil()), at(50)).await.expect("revoke"));
    let found = store.find(&one.hash).await.expect("find");
    assert_eq!(found, Some(ApiToken { revoked_at: Some(at(50)), ..one }));
    assert_eq!(store.find(&other.hash).await.expect("find"), Some(other));
}

/// Runs every promise of the store of tokens as a test of its own against the given [`TokenFixture`].
#[macro_export]
macro_rules! token_store_conformance {
    ($fixture:ty) => {
        $crate::token_store_conformance! { @each $fixture:
            tokens_are_found_by_their_hash,
            tokens_are_listed_in_pages,
            a_token_is_kept_once,
            a_revoked_token_stays_revoked,
        }
    };
    (@each $fixture:ty: $($promise:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let fixture = <$fixture as $crate::testkit::conformance::TokenFixture>::open().await;
            $crate::testkit::conformance::$promise(&fixture).await;
            $crate::testkit::conformance::TokenFixture::close(fixture).await;
        }
    )+};
}
