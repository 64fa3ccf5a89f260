//! What gateways show of the sealed log; the contract's shapes. Hashes are base64, as in notes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ids::Position;
use crate::domain::integrity::merkle::Hash;
use crate::ports::checkpoints::Place;

/// A hash as base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashView(pub Hash);

impl Serialize for HashView {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

/// How the log is sealed.
#[derive(Debug, Clone, Serialize)]
pub struct IntegrityView {
    /// `starting`, `sealing`, `failing` or `alarm`.
    pub state: &'static str,
    /// What is wrong, when something is.
    pub detail: Option<String>,
    /// The latest checkpoint.
    pub checkpoint: Option<CheckpointView>,
    /// The position of the last event.
    pub position: Position,
    /// Events that no checkpoint covers yet.
    pub unsealed: u64,
    /// The digest over all commits; none before the first.
    pub digest: Option<HashView>,
    /// Keys whose checkpoints are to be believed.
    pub keys: Vec<KeyView>,
    /// Where the private key lies.
    pub key: Place,
    /// Where copies of the checkpoints lie.
    pub directory: DirectoryView,
    /// What all of this is worth, in a sentence.
    pub trust: &'static str,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointView {
    /// How many events it covers.
    pub size: u64,
    /// The root of the tree over them.
    pub root: HashView,
    /// When it was made.
    pub sealed_at: Timestamp,
    /// The signed note.
    pub note: String,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// `name+id+key`.
    pub key: String,
    /// The largest checkpoint it signed, once it signs no more.
    pub until: Option<u64>,
}

/// The copies outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DirectoryView {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The size of the latest checkpoint there.
    pub published: u64,
    /// Why the latest checkpoint is not there.
    pub error: Option<String>,
}

/// That an event is in the log (RFC 6962, section 2.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InclusionView {
    /// `inclusion`
    pub kind: &'static str,
    /// The event's position.
    pub position: Position,
    /// The leaf's index: position − 1.
    pub index: u64,
    /// The event's leaf hash.
    pub leaf_hash: HashView,
    /// How many events the tree has.
    pub size: u64,
    /// Its root.
    pub root: HashView,
    /// The proof.
    pub proof: Vec<HashView>,
    /// The signed note over this size, when one was made.
    pub checkpoint: Option<String>,
}

/// That the log only grew (RFC 6962, section 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsistencyView {
    /// `consistency`
    pub kind: &'static str,
    /// The smaller size.
    pub from: u64,
    /// The root of the tree over the first `from` events.
    pub from_root: HashView,
    /// The larger size.
    pub to: u64,
    /// The root of the tree over the first `to` events.
    pub to_root: HashView,
    /// The proof.
    pub proof: Vec<HashView>,
    /// The signed note over `to` events, when one was made.
    pub checkpoint: Option<String>,
}
