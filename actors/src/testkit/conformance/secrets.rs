//! The promises of [`SecretStore`], one function each, run against every adapter by
//! [`secret_store_conformance!`](crate::secret_store_conformance).

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::domain::secret::SecretName;
use crate::ports::secret_store::{SealedSecret, SecretKeyId};
use crate::ports::{BoxFuture, SecretStore};

/// An empty store of secrets for one test.
pub trait SecretFixture: Send + Sync + Sized {
    /// Makes the store.
    fn open() -> BoxFuture<'static, Self>;

    /// The store.
    fn secrets(&self) -> Arc<dyn SecretStore>;

    /// Removes the store.
    fn close(self) -> BoxFuture<'static, ()>;
}

fn named(text: &str) -> SecretName {
    SecretName::new(text).expect("a valid name")
}

fn sealed(name: &str, nonce: u8, ciphertext: &[u8]) -> SealedSecret {
    SealedSecret {
        name: named(name),
        key: SecretKeyId([nonce ^ 0xff; 8]),
        nonce: [nonce; 24],
        ciphertext: Bytes::copy_from_slice(ciphertext),
        set_at: Timestamp::from_microsecond(1_800_000_000_123_456).expect("in range"),
    }
}

async fn kept(store: &dyn SecretStore, name: &str) -> Option<SealedSecret> {
    let mut found = store.load(&[named(name)]).await.expect("load");
    assert!(found.len() <= 1, "one secret of a name: {found:?}");
    found.pop()
}

async fn names(store: &dyn SecretStore, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(named);
    let found = store.list(after.as_ref(), limit).await.expect("list");
    found.iter().map(|secret| secret.name.to_string()).collect()
}

/// What was put is loaded, whatever its bytes are; others are absent.
pub async fn secrets_come_back<F: SecretFixture>(fixture: &F) {
    let store = fixture.secrets();
    assert_eq!(store.load(&[]).await.expect("load"), []);
    assert_eq!(kept(&*store, "A").await, None);
    let large: Vec<u8> = (0..=u8::MAX).cycle().take(crate::limits::MAX_SECRET_BYTES + 16).collect();
    let given = [sealed("A", 1, b""), sealed("a", 2, b"\0\xc1not text\xff"), sealed("B_9", 3, &large)];
    for secret in &given {
        store.put(secret).await.expect("put");
    }
    for secret in &given {
        assert_eq!(kept(&*store, secret.name.as_str()).await.as_ref(), Some(secret));
    }
    let some = store.load(&[named("a"), named("NONE"), named("A")]).await.expect("load");
    assert_eq!(some, [given[0].clone(), given[1].clone()]);
}

/// They are listed by name, byte by byte, in pages.
pub async fn secrets_are_listed_in_pages<F: SecretFixture>(fixture: &F) {
    let store = fixture.secrets();
    assert_eq!(names(&*store, None, 10).await, [""; 0]);
    for name in ["b", "A", "_c", "B2", "B10"] {
        store.put(&sealed(name, 1, b"x")).await.expect("put");
    }
    assert_eq!(names(&*store, None, 10).await, ["A", "B10", "B2", "_c", "b"]);
    assert_eq!(names(&*store, None, 2).await, ["A", "B10"]);
    assert_eq!(names(&*store, Some("B10"), 2).await, ["B2", "_c"]);
    assert_eq!(names(&*store, Some("a"), 2).await, ["b"]);
    assert_eq!(names(&*store, Some("b"), 2).await, [""; 0]);
}

/// A put takes the place of what was there, a replacement only of what it names.
pub async fn a_secret_is_replaced_where_it_is_known<F: SecretFixture>(fixture: &F) {
    let store = fixture.secrets();
    let [first, second, third] = [1, 2, 3].map(|nonce| sealed("A", nonce, &[nonce; 20]));
    let replace = async |secret: &SealedSecret, known: &SealedSecret| {
        store.replace(secret, &known.nonce).await.expect("replace")
    };
    assert!(!replace(&second, &first).await, "nothing is there");
    assert_eq!(kept(&*store, "A").await, None);
    store.put(&first).await.expect("put");
    assert!(!replace(&third, &second).await, "another is there");
    assert_eq!(kept(&*store, "A").await.as_ref(), Some(&first));
    assert!(replace(&second, &first).await);
    assert!(!replace(&third, &first).await, "it is no longer there");
    assert_eq!(kept(&*store, "A").await.as_ref(), Some(&second));
    store.put(&third).await.expect("put");
    store.put(&third).await.expect("a repeated put does no harm");
    assert_eq!(kept(&*store, "A").await, Some(third));
}

/// What was deleted is gone; the others stay.
pub async fn a_deleted_secret_is_gone<F: SecretFixture>(fixture: &F) {
    let store = fixture.secrets();
    for name in ["A", "B"] {
        store.put(&sealed(name, 1, b"x")).await.expect("put");
    }
    assert!(store.delete(&named("A")).await.expect("delete"));
    assert!(!store.delete(&named("A")).await.expect("delete"));
    assert_eq!(kept(&*store, "A").await, None);
    assert_eq!(names(&*store, None, 10).await, ["B"]);
    assert!(!store.replace(&sealed("A", 2, b"x"), &[1; 24]).await.expect("replace"), "it does not come back");
}

/// Of many replacements of the same value one is kept.
pub async fn one_of_many_replacements_is_kept<F: SecretFixture>(fixture: &F) {
    let store = fixture.secrets();
    store.put(&sealed("A", 0, b"x")).await.expect("put");
    let writers = (1..=8).map(|nonce| {
        let store = Arc::clone(&store);
        tokio::spawn(
            async move { store.replace(&sealed("A", nonce, b"y"), &[0; 24]).await.expect("replace") },
        )
    });
    let mut done = 0;
    for writer in writers.collect::<Vec<_>>() {
        done += usize::from(writer.await.expect("no panic"));
    }
    assert_eq!(done, 1);
}

/// Runs every promise of the store of secrets as a test of its own against the given [`SecretFixture`].
#[macro_export]
macro_rules! secret_store_conformance {
    ($fixture:ty) => {
        $crate::secret_store_conformance! { @each $fixture:
            secrets_come_back,
            secrets_are_listed_in_pages,
            a_secret_is_replaced_where_it_is_known,
            a_deleted_secret_is_gone,
            one_of_many_replacements_is_kept,
        }
    };
    (@each $fixture:ty: $($promise:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let fixture = <$fixture as $crate::testkit::conformance::SecretFixture>::open().await;
            $crate::testkit::conformance::$promise(&fixture).await;
            $crate::testkit::conformance::SecretFixture::close(fixture).await;
        }
    )+};
}
