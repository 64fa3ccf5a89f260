//! What gateways show of the sealed log; the contract's shapes. Hashes are base64, as in notes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::verification::Verdict;
use crate::domain::ids::{Position, StreamId, Version};
use crate::domain::integrity::merkle::Hash;
use crate::domain::integrity::verify::Counts;
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

/// A verification, running or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerificationView {
    /// Its id; none of one that no node runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// `running`, `intact`, `tampered`, or `failed` when nothing can be said.
    pub state: &'static str,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The position of the last event that was verified.
    pub position: u64,
    /// The position of the last event that there is.
    pub of: u64,
    /// Events that were verified.
    pub events: u64,
    /// Their streams.
    pub streams: u64,
    /// Their commits.
    pub commits: u64,
    /// Checkpoints beside the events that agree.
    pub checkpoints: u64,
    /// Copies of checkpoints outside that agree.
    pub outside_checkpoints: u64,
    /// Events that a signed checkpoint covers.
    pub sealed: u64,
    /// Events at the end that none covers yet: they agree with themselves, which whoever can write could bring about.
    pub unsealed: u64,
    /// What is wrong.
    pub fault: Option<FaultView>,
    /// Why there is no verdict.
    pub error: Option<String>,
    /// What the verdict rests on, in a sentence.
    pub trust: String,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultView {
    /// What, in a sentence.
    pub detail: String,
    /// The first bad event's stream, as far as it can be told.
    pub stream: Option<StreamId>,
    /// Its version.
    pub version: Option<Version>,
    /// Its position.
    pub position: Option<Position>,
    /// The last position of the range, when it cannot be told closer.
    pub until: Option<Position>,
    /// What to do.
    pub cure: &'static str,
}

impl VerificationView {
    /// One that has come so far.
    #[must_use]
    pub fn running(trust: &str, position: u64, of: u64) -> Self {
        Self {
            id: None,
            state: "running",
            started_at: None,
            ended_at: None,
            position,
            of,
            events: position,
            streams: 0,
            commits: 0,
            checkpoints: 0,
            outside_checkpoints: 0,
            sealed: 0,
            unsealed: 0,
            fault: None,
            error: None,
            trust: trust.to_owned(),
        }
    }

    /// It has a verdict.
    pub fn decide(&mut self, verdict: &Verdict) {
        let Counts { events, streams, commits, checkpoints, outside, sealed } = verdict.counts;
        (self.events, self.streams, self.commits) = (events, streams, commits);
        (self.checkpoints, self.outside_checkpoints, self.sealed) = (checkpoints, outside, sealed);
        self.unsealed = self.position.max(events).saturating_sub(sealed);
        self.state = if verdict.fault.is_none() { "intact" } else { "tampered" };
        self.fault = verdict.fault.as_ref().map(|fault| FaultView {
            detail: fault.to_string(),
            stream: fault.stream.clone(),
            version: fault.version,
            position: fault.position,
            until: fault.until,
            cure: fault.cure(),
        });
    }

    /// It has none.
    pub fn fail(&mut self, why: &str) {
        self.state = "failed";
        self.error = Some(why.to_owned());
    }
}
