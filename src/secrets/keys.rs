//! The keys that secrets are encrypted with, in a file or given by the environment: one, or two while the second is being
//! replaced by the first. A line is `SECRETS+KEY+id+base64`. A key is never printed and never part of an error.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flexcore_actors::ports::secret_store::SecretKeyId;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::config::Secret;
use crate::durable;

const PREFIX: &str = "SECRETS+KEY+";
/// The owner alone may read and write.
const OWNER_ONLY: u32 = 0o600;
/// Sets the hash that tells keys apart from every other hash of a key.
const ID_DOMAIN: &[u8] = b"flexcore secrets key id v1\0";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} can be read or changed by others (mode {mode:03o}): chmod 600 it, and rotate the key if they may have read it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What is there is no key.
    #[error("{place}: {why}")]
    Malformed {
        /// Where it is.
        place: String,
        /// What is wrong; never the key.
        why: &'static str,
    },
    /// The given key is not accompanied by the one it replaces.
    #[error(
        "secrets.key holds one key: to replace it, give the new key and the old one, with a space between, and repeat"
    )]
    NothingToReplace,
    /// No random numbers.
    #[error("the system gives no random numbers for a key")]
    Random(#[source] io::Error),
}

impl KeyError {
    /// Whether there is no file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Where the keys are.
#[derive(Debug, Clone)]
pub enum KeyPlace {
    /// In this file, one a line.
    File(PathBuf),
    /// Given by the environment or the configuration, with white space between them.
    Given(Secret),
}

/// A key.
pub(super) struct Key {
    id: SecretKeyId,
    bytes: Zeroizing<[u8; 32]>,
}

/// One key, or two of which the first replaces the second.
pub(super) struct Keys {
    pub(super) current: Key,
    pub(super) retiring: Option<Key>,
}

/// Makes a new key in a file that is not there yet.
///
/// # Errors
/// When the file is there, or cannot be written.
pub fn generate(path: &Path) -> Result<SecretKeyId, KeyError> {
    let key = Key::generate()?;
    durable::create(path, &key.line(), OWNER_ONLY).map_err(file("create", path))?;
    Ok(key.id)
}

impl KeyPlace {
    /// Reads the keys. Blocks.
    pub(super) fn load(&self) -> Result<Keys, KeyError> {
        match self {
            Self::File(path) => load(path),
            Self::Given(keys) => read(keys.reveal(), "secrets.key"),
        }
    }

    /// The keys to replace one by the other: a file gets a new one in front. One that has two goes on with those.
    pub(super) fn begin_rotation(&self) -> Result<Keys, KeyError> {
        let keys = self.load()?;
        let Self::File(path) = self else {
            return if keys.retiring.is_some() { Ok(keys) } else { Err(KeyError::NothingToReplace) };
        };
        if keys.retiring.is_some() {
            return Ok(keys);
        }
        let next = Key::generate()?;
        let both = Zeroizing::new(format!("{}{}", &*next.line(), &*keys.current.line()));
        durable::replace(path, &both, OWNER_ONLY).map_err(file("replace", path))?;
        Ok(Keys { current: next, retiring: Some(keys.current) })
    }

    /// Forgets the replaced key; a given one is its giver's to forget.
    pub(super) fn end_rotation(&self, keys: &Keys) -> Result<(), KeyError> {
        match self {
            Self::File(path) => {
                durable::replace(path, &keys.current.line(), OWNER_ONLY).map_err(file("replace", path))
            }
            Self::Given(_) => Ok(()),
        }
    }
}

impl Keys {
    /// The key of an id.
    pub(super) fn find(&self, id: SecretKeyId) -> Option<&Key> {
        std::iter::once(&self.current).chain(&self.retiring).find(|key| key.id == id)
    }
}

impl Key {
    fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|error| KeyError::Random(io::Error::other(error)))?;
        Ok(Self::of(bytes))
    }

    fn of(bytes: Zeroizing<[u8; 32]>) -> Self {
        let hash = Sha256::new().chain_update(ID_DOMAIN).chain_update(bytes.as_slice()).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self { id: SecretKeyId(id), bytes }
    }

    pub(super) const fn id(&self) -> SecretKeyId {
        self.id
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// As it is kept.
    fn line(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}+{}\n", self.id, STANDARD.encode(*self.bytes)))
    }

    fn read(line: &str) -> Result<Self, &'static str> {
        let rest =
            line.strip_prefix(PREFIX).ok_or("it is no key for secrets: they begin with SECRETS+KEY+")?;
        let (id, key) = rest.split_once('+').ok_or("a part of the key is missing")?;
        let bytes = Zeroizing::new(STANDARD.decode(key).map_err(|_| "the key is not base64")?);
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| "the key has not 32 bytes")?;
        let key = Self::of(Zeroizing::new(bytes));
        if key.id.to_string() == id {
            Ok(key)
        } else {
            Err("the id is not that of the key: a part of it was changed")
        }
    }
}

fn load(path: &Path) -> Result<Keys, KeyError> {
    let mode = std::fs::metadata(path).map_err(file("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode });
    }
    let text = std::fs::read_to_string(path).map_err(file("read", path))?;
    read(&Zeroizing::new(text), &path.display().to_string())
}

fn read(text: &str, place: &str) -> Result<Keys, KeyError> {
    let malformed = |why| KeyError::Malformed { place: place.to_owned(), why };
    let mut keys = text.split_whitespace().map(|line| Key::read(line).map_err(malformed));
    let current = keys.next().ok_or_else(|| malformed("it holds no key"))??;
    let retiring = keys.next().transpose()?;
    if keys.next().is_some() {
        return Err(malformed("it holds more than two keys"));
    }
    Ok(Keys { current, retiring })
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File { operation, path, source }
}
