//! The signing key in its file, and the public keys that signed before it. The file holds one private key a line, in the
//! format of Go's note package (`PRIVATE+KEY+name+id+base64(0x01 ‖ seed)`); a second one is being replaced by the first and
//! signs until a checkpoint bears both signatures. The private key is never printed and never part of an error.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use flexcore_actors::domain::integrity::note::{ED25519, KeyName, NoteError, NoteSignature, VerifierKey};
use flexcore_actors::ports::checkpoints::{Place, TrustedKey};
use flexcore_actors::ports::{BoxFuture, Signer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::durable;

const PRIVATE: &str = "PRIVATE+KEY+";
/// The owner alone may read and write.
const OWNER_ONLY: u32 = 0o600;
const EVERYBODY_READS: u32 = 0o644;

/// Why there is no key to sign with.
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
    /// What is in it is no key.
    #[error("{}, line {line}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 is the file as a whole.
        line: usize,
        /// What is wrong; never the key.
        why: &'static str,
    },
    /// A rotation is under way.
    #[error("{} holds a key that is being replaced already: start the node, which ends that with its next checkpoint", path.display())]
    Rotating {
        /// The file.
        path: PathBuf,
    },
    /// A name that no key can have.
    #[error(transparent)]
    Name(#[from] NoteError),
    /// No random numbers.
    #[error("the system gives no random numbers for a key")]
    Random(#[source] io::Error),
}

/// What a cluster's secret is hashed with for its key and for its log's name: apart from whatever else is made of it.
const CLUSTER_KEY: &str = "flexcore checkpoints v1";
const CLUSTER_LOG: &str = "flexcore log name v1";

/// A private key with its name.
struct Key {
    name: KeyName,
    key: SigningKey,
}

struct Keys {
    current: Key,
    retiring: Option<Key>,
    former: Vec<TrustedKey>,
}

/// The keys of a node.
pub struct KeyFile {
    path: PathBuf,
    beside_store: bool,
    keys: Arc<RwLock<Keys>>,
}

/// Makes a new key in a file that is not there yet. Without a name it gets one that no other key has.
///
/// # Errors
/// When the file is there, or cannot be written.
pub fn generate(path: &Path, name: Option<KeyName>) -> Result<VerifierKey, KeyError> {
    create(path, &Key::generate(name)?)
}

fn create(path: &Path, key: &Key) -> Result<VerifierKey, KeyError> {
    durable::create(path, &key.line(), OWNER_ONLY).map_err(file("create", path))?;
    Ok(key.public())
}

/// Puts a new key of the same name in front of the one in the file. The next checkpoint is signed by both.
///
/// # Errors
/// When the file cannot be used, or holds a key that is being replaced already.
pub fn rotate(path: &Path) -> Result<VerifierKey, KeyError> {
    let Keys { current, retiring, .. } = load(path)?;
    if retiring.is_some() {
        return Err(KeyError::Rotating { path: path.to_owned() });
    }
    let next = Key::generate(Some(current.name.clone()))?;
    durable::replace(path, &(next.line() + &current.line()), OWNER_ONLY).map_err(file("replace", path))?;
    Ok(next.public())
}

/// Believes keys of a log that was brought from elsewhere beside those of a key file: they have signed checkpoints up
/// to `size` and will sign no more here.
///
/// # Errors
/// When the files cannot be read or written.
pub fn adopt(path: &Path, keys: &[TrustedKey], size: u64) -> Result<(), KeyError> {
    let (current, mut former) = match load(path) {
        Ok(keys) => (vec![keys.current.public()], keys.former),
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            (Vec::new(), load_former(&trusted_path(path))?)
        }
        Err(error) => return Err(error),
    };
    for adopted in keys {
        if !current.contains(&adopted.key) && former.iter().all(|known| known.key != adopted.key) {
            former.push(TrustedKey { key: adopted.key.clone(), until: Some(adopted.until.unwrap_or(size)) });
        }
    }
    write_former(path, &former)
}

impl KeyFile {
    /// Reads the keys. `beside_store` says that the file lies beside the store.
    ///
    /// # Errors
    /// When the file is not there, can be read by others, or holds no key.
    pub fn open(path: &Path, beside_store: bool) -> Result<Self, KeyError> {
        let keys = load(path)?;
        Ok(Self { path: path.to_owned(), beside_store, keys: Arc::new(RwLock::new(keys)) })
    }

    /// The same; a file that is not there is made, with a new key, or with the one that follows from a cluster's secret:
    /// whichever of its nodes seals, the others must believe it.
    ///
    /// # Errors
    /// When the file cannot be used or made.
    pub fn open_or_generate(
        path: &Path,
        beside_store: bool,
        cluster_secret: Option<&str>,
    ) -> Result<Self, KeyError> {
        if !path.try_exists().map_err(file("look for", path))? {
            let key = match cluster_secret {
                Some(secret) => Key::of_cluster(secret)?,
                None => Key::generate(None)?,
            };
            let key = create(path, &key)?;
            tracing::info!(path = %path.display(), %key, "a new key for checkpoints; keep its public half elsewhere");
        }
        Self::open(path, beside_store)
    }

    fn read<T>(&self, of: impl FnOnce(&Keys) -> T) -> T {
        of(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Signer for KeyFile {
    fn name(&self) -> KeyName {
        self.read(|keys| keys.current.name.clone())
    }

    fn sign(&self, text: &str) -> Vec<NoteSignature> {
        self.read(|keys| {
            let signing = std::iter::once(&keys.current).chain(&keys.retiring);
            signing.map(|key| key.sign(text)).collect()
        })
    }

    fn sealed(&self, size: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.read(|keys| keys.retiring.is_none()) {
                return;
            }
            let (path, keys) = (self.path.clone(), Arc::clone(&self.keys));
            let ended = tokio::task::spawn_blocking(move || end_rotation(&path, &keys, size));
            match ended.await {
                Ok(Ok(())) => {
                    tracing::info!(size, "the key for checkpoints is replaced; the old one is forgotten")
                }
                // both keys go on signing, and the next checkpoint tries again
                Ok(Err(error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the old key cannot be put away"
                    )
                }
                Err(error) => tracing::error!(%error, "putting the old key away failed"),
            }
        })
    }

    fn trusted(&self) -> Vec<TrustedKey> {
        self.read(|keys| {
            let signing = std::iter::once(&keys.current).chain(&keys.retiring);
            let signing = signing.map(|key| TrustedKey { key: key.public(), until: None });
            signing.chain(keys.former.iter().cloned()).collect()
        })
    }

    fn place(&self) -> Place {
        Place { at: self.path.display().to_string(), beside_store: self.beside_store }
    }
}

/// First the public half is kept, then the private one forgotten: a crash in between does no harm.
fn end_rotation(path: &Path, keys: &RwLock<Keys>, size: u64) -> Result<(), KeyError> {
    let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
    let Some(retiring) = &keys.retiring else { return Ok(()) };
    let mut former = keys.former.clone();
    former.retain(|known| known.key != retiring.public());
    former.push(TrustedKey { key: retiring.public(), until: Some(size) });
    write_former(path, &former)?;
    durable::replace(path, &keys.current.line(), OWNER_ONLY).map_err(file("replace", path))?;
    keys.former = former;
    keys.retiring = None;
    Ok(())
}

/// Beside the key file: the public keys that signed before.
fn trusted_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".trusted");
    path.with_file_name(name)
}

fn write_former(path: &Path, former: &[TrustedKey]) -> Result<(), KeyError> {
    let mut text =
        String::from("# Keys that signed checkpoints before, each with the size of the last one.\n");
    for key in former {
        writeln!(text, "{key}").expect("a text takes everything");
    }
    let trusted = trusted_path(path);
    durable::replace(&trusted, &text, EVERYBODY_READS).map_err(file("write", &trusted))
}

fn load(path: &Path) -> Result<Keys, KeyError> {
    let mode = std::fs::metadata(path).map_err(file("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode });
    }
    let malformed = |line, why| KeyError::Malformed { path: path.to_owned(), line, why };
    let text = std::fs::read_to_string(path).map_err(file("read", path))?;
    let read = |(n, line)| Key::read(line).map_err(|why| malformed(n, why));
    let mut keys = lines(&text).map(read).collect::<Result<Vec<Key>, _>>()?.into_iter();
    let current = keys.next().ok_or_else(|| malformed(0, "it holds no key"))?;
    let retiring = keys.next();
    if keys.next().is_some() {
        return Err(malformed(0, "it holds more than two keys"));
    }
    Ok(Keys { current, retiring, former: load_former(&trusted_path(path))? })
}

fn load_former(path: &Path) -> Result<Vec<TrustedKey>, KeyError> {
    match read_trusted(path) {
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Reads public keys from a file, one a line, as `flexcore integrity public` prints them: the key, and the size of the
/// last checkpoint it signed, or `-` or nothing while it signs.
///
/// # Errors
/// When the file cannot be read, or holds something else.
pub fn read_trusted(path: &Path) -> Result<Vec<TrustedKey>, KeyError> {
    let text = std::fs::read_to_string(path).map_err(file("read", path))?;
    let read = |line: &str| {
        let (key, until) = line.split_once(' ').unwrap_or((line, "-"));
        let until = if until == "-" { None } else { Some(until.parse().ok()?) };
        Some(TrustedKey { key: key.parse().ok()?, until })
    };
    let malformed = |line| KeyError::Malformed {
        path: path.to_owned(),
        line,
        why: "expected a verifier key, a space, and the size of its last checkpoint or -",
    };
    lines(&text).map(|(n, line)| read(line).ok_or_else(|| malformed(n))).collect()
}

/// Lines with their numbers, without empty ones and comments.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File { operation, path, source }
}

impl Key {
    fn generate(name: Option<KeyName>) -> Result<Self, KeyError> {
        let name = match name {
            Some(name) => name,
            None => KeyName::new(format!("flexcore/{}", Uuid::now_v7().simple()))?,
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Random(io::Error::other(error)))?;
        Ok(Self { name, key: SigningKey::from_bytes(&seed) })
    }

    fn of_cluster(secret: &str) -> Result<Self, KeyError> {
        let follows = |purpose: &str| {
            let purposed = Zeroizing::new([purpose.as_bytes(), b"\0", secret.as_bytes()].concat());
            Zeroizing::<[u8; 32]>::new(Sha256::digest(&*purposed).into())
        };
        let log = u128::from_be_bytes(follows(CLUSTER_LOG)[..16].try_into().expect("16 of 32 bytes"));
        let name = KeyName::new(format!("flexcore/{log:032x}"))?;
        Ok(Self { name, key: SigningKey::from_bytes(&follows(CLUSTER_KEY)) })
    }

    fn read(line: &str) -> Result<Self, &'static str> {
        let rest = line.strip_prefix(PRIVATE).ok_or("it is no private key: they begin with PRIVATE+KEY+")?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("a part of the key is missing");
        };
        let bytes = STANDARD.decode(key).map_err(|_| "the key is not base64")?;
        let [ED25519, seed @ ..] = &bytes[..] else { return Err("it is no Ed25519 key") };
        let seed: &[u8; 32] = seed.try_into().map_err(|_| "the key has not 32 bytes")?;
        let name = KeyName::new(name).map_err(|_| "its name is none")?;
        let found = Self { name, key: SigningKey::from_bytes(seed) };
        if id == format!("{:08x}", found.public().id()) {
            Ok(found)
        } else {
            Err("the id is not that of the key")
        }
    }

    /// As it is kept.
    fn line(&self) -> String {
        let mut bytes = vec![ED25519];
        bytes.extend(self.key.as_bytes());
        format!("{PRIVATE}{}+{:08x}+{}\n", self.name, self.public().id(), STANDARD.encode(bytes))
    }

    fn public(&self) -> VerifierKey {
        let key = self.key.verifying_key();
        VerifierKey::new(self.name.clone(), key.as_bytes()).expect("the public half of a private key")
    }

    fn sign(&self, text: &str) -> NoteSignature {
        let signature = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        NoteSignature { name: self.name.clone(), id: self.public().id(), signature }
    }
}
