//! The vault: secrets by name, over a store that knows no key and keys that know no store. The keys are read again at each
//! use, so that replacing them needs no restart.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use flexcore_actors::domain::secret::{SecretName, SecretValue};
use flexcore_actors::limits::SECRETS_PAGE;
use flexcore_actors::ports::SecretStore;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::secret_store::{SealedSecret, SecretKeyId};
use jiff::Timestamp;

use super::keys::{Key, KeyError, KeyPlace, Keys, generate};
use super::seal::{Unreadable, open, seal};

/// How often what met a rotation of the key is done again: so many rotations in a row are no accident.
const ROUNDS: usize = 8;

/// Why the vault does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There are secrets, but no key.
    #[error(
        "there is no key for secrets at {}: copy there the one that they were encrypted with, or name it by secrets.key_file or FLEXCORE_SECRETS_KEY",
        path.display()
    )]
    NoKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The store is away, or cannot do it.
    #[error("the store of secrets cannot be used")]
    Store(#[from] StoreError),
    /// There are none of these names.
    #[error("{}", unknown(.0))]
    Unknown(Vec<SecretName>),
    /// The key at hand is another.
    #[error(
        "the secret {name} was encrypted with the key {wanted}, and the key at hand is {found}: give this node that key (secrets.key_file or FLEXCORE_SECRETS_KEY), or set the secret anew with: flexcore secrets set {name}"
    )]
    WrongKey {
        /// The secret.
        name: SecretName,
        /// The id of the key it needs.
        wanted: SecretKeyId,
        /// The id of the key there is.
        found: SecretKeyId,
    },
    /// It was changed in the store.
    #[error(
        "the secret {name} was changed in the store and cannot be decrypted: set it anew with: flexcore secrets set {name}"
    )]
    Damaged {
        /// The secret.
        name: SecretName,
    },
    /// Something else replaces keys or secrets all the time.
    #[error("keys or secrets are being replaced by others at the same time: repeat it")]
    Busy,
    /// Work on the key's file failed.
    #[error("the key for secrets cannot be read or made")]
    System(#[source] io::Error),
}

fn missing_of(names: &[SecretName], found: &[SealedSecret]) -> Vec<SecretName> {
    let there = |name: &&SecretName| found.iter().any(|secret| secret.name == **name);
    names.iter().filter(|name| !there(name)).cloned().collect()
}

fn unknown(names: &[SecretName]) -> String {
    match names {
        [name] => format!("the secret {name} does not exist: set it with: flexcore secrets set {name}"),
        names => {
            let names: Vec<&str> = names.iter().map(SecretName::as_str).collect();
            format!("the secrets {} do not exist: set each with: flexcore secrets set NAME", names.join(", "))
        }
    }
}

/// What can be told of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SecretName,
    /// When its value was set.
    pub set_at: Timestamp,
    /// The key that it is encrypted with.
    pub key: SecretKeyId,
}

/// What a rotation has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// The key that all secrets are encrypted with now.
    pub key: SecretKeyId,
    /// How many were encrypted anew.
    pub secrets: usize,
}

/// Secrets by name. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    store: Arc<dyn SecretStore>,
    keys: KeyPlace,
}

impl Vault {
    /// Over a store, with the keys of a place.
    #[must_use]
    pub fn new(store: Arc<dyn SecretStore>, keys: KeyPlace) -> Self {
        Self { store, keys }
    }

    /// The values of secrets, each of which must exist.
    ///
    /// # Errors
    /// Every kind of [`VaultError`]; none of them holds a value.
    pub async fn reveal(
        &self,
        names: &[SecretName],
    ) -> Result<BTreeMap<SecretName, SecretValue>, VaultError> {
        for _ in 1..ROUNDS {
            match self.reveal_once(names).await {
                // a rotation may have ended after the secrets were read, and its old key been forgotten
                Err(VaultError::WrongKey { .. }) => {}
                done => return done,
            }
        }
        self.reveal_once(names).await
    }

    async fn reveal_once(
        &self,
        names: &[SecretName],
    ) -> Result<BTreeMap<SecretName, SecretValue>, VaultError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.store.load(names).await?;
        let missing = missing_of(names, &found);
        if !missing.is_empty() {
            return Err(VaultError::Unknown(missing));
        }
        let keys = self.with_keys(KeyPlace::load).await?;
        found.iter().map(|secret| Ok((secret.name.clone(), decrypt(&keys, secret)?))).collect()
    }

    /// Those of the names that no secret has now; needs no key.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn missing(&self, names: &[SecretName]) -> Result<Vec<SecretName>, VaultError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(missing_of(names, &self.store.load(names).await?))
    }

    /// Sets a secret; the first one makes the key, if there is none yet.
    ///
    /// # Errors
    /// When the store or the key cannot be used.
    pub async fn set(
        &self,
        name: &SecretName,
        value: &SecretValue,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        for _ in 0..ROUNDS {
            let keys = self.keys_or_first().await?;
            let sealed = seal(&keys.current, name, value, nonce()?, now);
            self.store.put(&sealed).await?;
            // a rotation that began since may have listed the secrets before this one was there
            if self.with_keys(KeyPlace::load).await?.current.id() == sealed.key {
                return Ok(());
            }
        }
        Err(VaultError::Busy)
    }

    /// All secrets by name, without their values.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list(&self) -> Result<Vec<Listed>, VaultError> {
        let mut all = Vec::new();
        self.each(async |secret| {
            all.push(Listed { name: secret.name, set_at: secret.set_at, key: secret.key });
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// When there is none, or the store is away.
    pub async fn delete(&self, name: &SecretName) -> Result<(), VaultError> {
        if self.store.delete(name).await? { Ok(()) } else { Err(VaultError::Unknown(vec![name.clone()])) }
    }

    /// Replaces the key: a new one is made beside the old, every secret encrypted anew, the old one forgotten. What was
    /// broken off is finished by repeating it. Nodes go on meanwhile.
    ///
    /// # Errors
    /// When a secret cannot be decrypted, and then both keys stay; when the store or the keys cannot be used.
    pub async fn rotate(&self) -> Result<Rotated, VaultError> {
        let keys = self.with_keys(KeyPlace::begin_rotation).await?;
        let key = keys.current.id();
        let mut secrets = 0;
        for _ in 0..ROUNDS {
            let mut left = 0;
            self.each(async |secret| {
                if secret.key == key {
                    return Ok(());
                }
                if self.encrypt_anew(&keys, &keys.current, &secret).await? {
                    secrets += 1;
                } else {
                    left += 1;
                }
                Ok(())
            })
            .await?;
            if left == 0 {
                self.with_keys(move |place| place.end_rotation(&keys)).await?;
                return Ok(Rotated { key, secrets });
            }
        }
        Err(VaultError::Busy)
    }

    /// Whether it did; otherwise somebody has set or deleted it since.
    async fn encrypt_anew(&self, keys: &Keys, key: &Key, secret: &SealedSecret) -> Result<bool, VaultError> {
        let value = decrypt(keys, secret)?;
        let sealed = seal(key, &secret.name, &value, nonce()?, secret.set_at);
        Ok(self.store.replace(&sealed, &secret.nonce).await?)
    }

    async fn each(
        &self,
        mut what: impl AsyncFnMut(SealedSecret) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let mut after: Option<SecretName> = None;
        loop {
            let page = self.store.list(after.as_ref(), SECRETS_PAGE).await?;
            let more = page.len() == SECRETS_PAGE;
            after = page.last().map(|secret| secret.name.clone());
            for secret in page {
                what(secret).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// The keys; where there is neither a key nor a secret, with the first one made.
    async fn keys_or_first(&self) -> Result<Keys, VaultError> {
        match self.with_keys(KeyPlace::load).await {
            Err(VaultError::NoKey { path }) if self.store.list(None, 1).await?.is_empty() => {
                let made = self.with_keys(move |_| generate(&path).map(drop)).await;
                match made {
                    Err(VaultError::Key(KeyError::File { source, .. }))
                        if source.kind() == io::ErrorKind::AlreadyExists => {}
                    made => made?,
                }
                self.with_keys(KeyPlace::load).await
            }
            found => found,
        }
    }

    /// Runs what reads or writes files on a thread for it.
    async fn with_keys<T: Send + 'static>(
        &self,
        work: impl FnOnce(&KeyPlace) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let place = self.keys.clone();
        let done = tokio::task::spawn_blocking(move || work(&place)).await;
        match (done.map_err(|error| VaultError::System(io::Error::other(error)))?, &self.keys) {
            (Err(error), KeyPlace::File(path)) if error.is_absent() => {
                Err(VaultError::NoKey { path: path.clone() })
            }
            (done, _) => Ok(done?),
        }
    }
}

fn decrypt(keys: &Keys, secret: &SealedSecret) -> Result<SecretValue, VaultError> {
    open(keys, secret).map_err(|unreadable| match unreadable {
        Unreadable::OtherKey => {
            VaultError::WrongKey { name: secret.name.clone(), wanted: secret.key, found: keys.current.id() }
        }
        Unreadable::Damaged => VaultError::Damaged { name: secret.name.clone() },
    })
}

fn nonce() -> Result<[u8; 24], VaultError> {
    let mut nonce = [0; 24];
    getrandom::fill(&mut nonce).map_err(|error| KeyError::Random(io::Error::other(error)))?;
    Ok(nonce)
}
