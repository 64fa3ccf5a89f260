//! The vault over a store in memory and keys in real files.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flexcore_actors::domain::secret::{SecretName, SecretValue};
use flexcore_actors::ports::SecretStore;
use flexcore_actors::ports::secret_store::SealedSecret;
use flexcore_actors::testkit::MemorySecrets;
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::config::Secret;

struct World {
    folder: TempDir,
    store: Arc<MemorySecrets>,
    vault: Vault,
}

impl World {
    fn new() -> Self {
        let (folder, store) = (tempfile::tempdir().unwrap(), Arc::new(MemorySecrets::default()));
        let vault = Vault::new(store.clone(), KeyPlace::File(folder.path().join("key")));
        Self { folder, store, vault }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn with_key(&self, place: KeyPlace) -> Vault {
        Vault::new(self.store.clone(), place)
    }

    async fn set(&self, name: &str, value: &str) {
        self.vault.set(&named(name), &valued(value), Timestamp::UNIX_EPOCH).await.unwrap();
    }

    async fn stored(&self, name: &str) -> SealedSecret {
        self.store.load(&[named(name)]).await.unwrap().pop().unwrap()
    }
}

fn named(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

fn valued(value: &str) -> SecretValue {
    SecretValue::new(value.into()).unwrap()
}

async fn revealed(vault: &Vault, name: &str) -> Result<String, VaultError> {
    vault.reveal(&[named(name)]).await.map(|found| found[&named(name)].text().unwrap().to_owned())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_was_set_comes_back_and_is_not_what_is_stored() {
    let world = World::new();
    world.set("A", "hunter2").await;
    world.set("B", "hunter2").await;
    assert_eq!(mode(&world.path()), 0o600, "the first secret makes the key");
    assert_eq!(revealed(&world.vault, "A").await.unwrap(), "hunter2");
    let (a, b) = (world.stored("A").await, world.stored("B").await);
    assert!(!a.ciphertext.windows(7).any(|part| part == b"hunter2"));
    assert!(a.nonce != b.nonce && a.ciphertext != b.ciphertext, "the same value looks different");
    world.set("A", "hunter2").await;
    assert_ne!(world.stored("A").await.nonce, a.nonce, "a nonce is used once");
    world.set("A", "another").await;
    assert_eq!(revealed(&world.vault, "A").await.unwrap(), "another");
    assert_eq!(world.vault.reveal(&[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_is_not_there_is_named_with_the_cure() {
    let world = World::new();
    let one = world.vault.reveal(&[named("A")]).await.unwrap_err().to_string();
    assert_eq!(one, "the secret A does not exist: set it with: flexcore secrets set A");
    let two = world.vault.reveal(&[named("A"), named("B")]).await.unwrap_err().to_string();
    assert_eq!(two, "the secrets A, B do not exist: set each with: flexcore secrets set NAME");
    assert!(matches!(world.vault.delete(&named("A")).await, Err(VaultError::Unknown(_))));
    world.set("A", "hunter2").await;
    world.vault.delete(&named("A")).await.unwrap();
    assert!(matches!(revealed(&world.vault, "A").await, Err(VaultError::Unknown(_))));
}

/// A value cannot be passed off under another name, and every bit of it counts.
#[tokio::test]
async fn what_was_changed_in_the_store_is_refused() {
    let world = World::new();
    world.set("A", "hunter2").await;
    world.set("B", "other-value").await;
    let (a, b) = (world.stored("A").await, world.stored("B").await);
    let mut flipped = a.ciphertext.to_vec();
    flipped[3] ^= 1;
    for changed in [
        SealedSecret { name: named("A"), ..b.clone() },
        SealedSecret { nonce: b.nonce, ..a.clone() },
        SealedSecret { ciphertext: flipped.into(), ..a.clone() },
        SealedSecret { ciphertext: a.ciphertext.slice(..a.ciphertext.len() - 1), ..a.clone() },
        SealedSecret { ciphertext: bytes::Bytes::new(), ..a.clone() },
    ] {
        world.store.put(&changed).await.unwrap();
        let error = revealed(&world.vault, "A").await.unwrap_err();
        assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
    }
}

#[tokio::test]
async fn another_key_is_a_clear_error() {
    let world = World::new();
    world.set("A", "hunter2").await;
    let other = world.folder.path().join("other");
    let id = generate(&other).unwrap();
    let vault = world.with_key(KeyPlace::File(other));
    let error = revealed(&vault, "A").await.unwrap_err().to_string();
    let wanted = world.stored("A").await.key;
    assert!(
        error.contains(&format!("encrypted with the key {wanted}, and the key at hand is {id}")),
        "{error}"
    );
    assert!(matches!(vault.rotate().await, Err(VaultError::WrongKey { .. })), "nothing is lost");
    assert_eq!(revealed(&world.vault, "A").await.unwrap(), "hunter2");
    // where there are secrets, a missing key is not replaced by a new one that cannot read them
    let absent = world.folder.path().join("absent");
    let vault = world.with_key(KeyPlace::File(absent.clone()));
    let error = vault.set(&named("B"), &valued("value"), Timestamp::UNIX_EPOCH).await.unwrap_err();
    assert!(matches!(error, VaultError::NoKey { .. }) && !absent.exists(), "{error}");
    assert!(matches!(revealed(&vault, "A").await, Err(VaultError::NoKey { .. })));
}

#[tokio::test]
async fn key_files_are_checked() {
    let world = World::new();
    world.set("A", "hunter2").await;
    let line = std::fs::read_to_string(world.path()).unwrap();
    assert!(matches!(generate(&world.path()), Err(KeyError::File { .. })), "a key is never overwritten");
    std::fs::set_permissions(world.path(), PermissionsExt::from_mode(0o640)).unwrap();
    let error = revealed(&world.vault, "A").await.unwrap_err().to_string();
    assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(world.path(), PermissionsExt::from_mode(0o600)).unwrap();
    for (text, why) in [
        ("", "holds no key"),
        ("PRIVATE+KEY+x", "begin with SECRETS+KEY+"),
        ("SECRETS+KEY+x", "a part of the key is missing"),
        ("SECRETS+KEY+x+!", "not base64"),
        ("SECRETS+KEY+x+aGk=", "not 32 bytes"),
        (&line.replace("SECRETS+KEY+", "SECRETS+KEY+0"), "not that of the key"),
        (&format!("{line}{line}{line}"), "more than two keys"),
    ] {
        std::fs::write(world.path(), text).unwrap();
        let error = revealed(&world.vault, "A").await.unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
        let key = line.trim().rsplit('+').next().unwrap();
        assert!(!error.contains(key), "a key is in an error");
    }
}

#[tokio::test]
async fn a_rotated_key_reads_everything_and_the_old_one_nothing() {
    let world = World::new();
    for n in 0..250 {
        world.set(&format!("S{n}"), &format!("value {n}")).await;
    }
    let (old, before) = (std::fs::read_to_string(world.path()).unwrap(), world.stored("S7").await);
    let rotated = world.vault.rotate().await.unwrap();
    assert_eq!(rotated.secrets, 250);
    for n in 0..250 {
        assert_eq!(revealed(&world.vault, &format!("S{n}")).await.unwrap(), format!("value {n}"));
    }
    let all = world.vault.list().await.unwrap();
    assert!(all.len() == 250 && all.iter().all(|secret| secret.key == rotated.key));
    assert_eq!(world.stored("S7").await.set_at, before.set_at, "the value is the same");
    let now = std::fs::read_to_string(world.path()).unwrap();
    assert!(now.lines().count() == 1 && now != old && mode(&world.path()) == 0o600);
    let vault = world.with_key(KeyPlace::Given(Secret::new(old)));
    assert!(matches!(revealed(&vault, "S7").await, Err(VaultError::WrongKey { .. })));
}

/// A rotation that was broken off is finished by the next one; until then both keys read.
#[tokio::test]
async fn a_rotation_that_was_broken_off_is_finished() {
    let world = World::new();
    world.set("A", "hunter2").await;
    let old = std::fs::read_to_string(world.path()).unwrap();
    let fresh = world.folder.path().join("fresh");
    let id = generate(&fresh).unwrap();
    let both = std::fs::read_to_string(&fresh).unwrap() + &old;
    std::fs::write(world.path(), &both).unwrap();
    world.set("B", "by the new key").await;
    assert_eq!(revealed(&world.vault, "A").await.unwrap(), "hunter2");
    assert_eq!(revealed(&world.vault, "B").await.unwrap(), "by the new key");
    let rotated = world.vault.rotate().await.unwrap();
    assert_eq!((rotated.key, rotated.secrets), (id, 1));
    assert_eq!(std::fs::read_to_string(world.path()).unwrap(), std::fs::read_to_string(&fresh).unwrap());
}

/// Keys of the environment: the new one in front of the old one, then the old one is left out.
#[tokio::test]
async fn a_given_key_is_replaced_by_another_one() {
    let world = World::new();
    let line = |name: &str| {
        let path = world.folder.path().join(name);
        generate(&path).unwrap();
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    };
    let (old, new) = (line("old"), line("new"));
    let given = |keys: &str| world.with_key(KeyPlace::Given(Secret::new(keys)));
    given(&old).set(&named("A"), &valued("hunter2"), Timestamp::UNIX_EPOCH).await.unwrap();
    let alone = given(&old).rotate().await.unwrap_err().to_string();
    assert!(alone.contains("give the new key and the old one"), "{alone}");
    assert_eq!(given(&format!("{new} {old}")).rotate().await.unwrap().secrets, 1);
    assert_eq!(revealed(&given(&new), "A").await.unwrap(), "hunter2");
}

/// Secrets that are set and revealed while keys are replaced are neither lost nor unreadable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_lose_nothing_beside_others() {
    let world = World::new();
    world.set("READ", "hunter2").await;
    let (reader, writer) = (world.vault.clone(), world.vault.clone());
    let reading = tokio::spawn(async move {
        for _ in 0..100 {
            assert_eq!(revealed(&reader, "READ").await.unwrap(), "hunter2");
        }
    });
    let writing = tokio::spawn(async move {
        for n in 0..100 {
            writer.set(&named(&format!("W{n}")), &valued("value"), Timestamp::UNIX_EPOCH).await.unwrap();
        }
    });
    for _ in 0..10 {
        world.vault.rotate().await.unwrap();
    }
    reading.await.unwrap();
    writing.await.unwrap();
    for n in 0..100 {
        assert_eq!(revealed(&world.vault, &format!("W{n}")).await.unwrap(), "value");
    }
}
