//! Identities and counters of the domain. Each is a type of its own so that they cannot be mixed up, and an
//! invalid one cannot be built. No I/O and no randomness: fresh ids come from [`crate::ports::IdSource`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::MAX_NAME_LEN;

/// The name of a pipeline, plugin, step or node: `[a-z0-9][a-z0-9._-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")]
pub struct InvalidName(String);

impl Name {
    /// Checks `text` against the slug rule.
    ///
    /// # Errors
    /// When it is empty, longer than 63 characters, or holds anything else than the slug characters.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        let ok = (1..=MAX_NAME_LEN).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if ok { Ok(Self(text)) } else { Err(InvalidName(text.chars().take(MAX_NAME_LEN + 1).collect())) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// One run of a pipeline, or of one plugin that stands alone.
    ExecutionId
}
uuid_id! {
    /// A command; its repetition under the same id returns the first answer.
    CommandId
}
uuid_id! {
    /// One recorded event.
    EventId
}
uuid_id! {
    /// What ties together everything that one request set in motion.
    CorrelationId
}
uuid_id! {
    /// One life of a node process; a restarted node has a new one.
    Incarnation
}

impl CommandId {
    /// The id of a reaction to something that has an id of its own: the same cause and reaction give the same
    /// command id, so a reaction happens once however often it is tried (RFC 9562 version 5).
    #[must_use]
    pub fn derived(cause: Uuid, reaction: &str) -> Self {
        Self(Uuid::new_v5(&cause, reaction.as_bytes()))
    }
}

/// What a stream belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// `pipeline-<name>`
    Pipeline,
    /// `plugin-<name>`
    Plugin,
    /// `execution-<uuid>`
    Execution,
    /// `external-<name>`: events that others append
    External,
    /// `audit-<node>-<incarnation>`: what one life of a node refused; written by that node alone
    Audit,
}

impl Category {
    /// The text before the dash of a stream's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Plugin => "plugin",
            Self::Execution => "execution",
            Self::External => "external",
            Self::Audit => "audit",
        }
    }
}

/// The name of an event stream: `<category>-<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamId(String);

/// Why a text is not a [`StreamId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a stream: expected pipeline-<name>, plugin-<name>, execution-<uuid>, external-<name> or \
     audit-<node>-<uuid>"
)]
pub struct InvalidStream(String);

impl StreamId {
    /// The stream of a pipeline.
    #[must_use]
    pub fn pipeline(name: &Name) -> Self {
        Self(format!("pipeline-{name}"))
    }

    /// The stream of a plugin.
    #[must_use]
    pub fn plugin(name: &Name) -> Self {
        Self(format!("plugin-{name}"))
    }

    /// The stream of an execution.
    #[must_use]
    pub fn execution(id: ExecutionId) -> Self {
        Self(format!("execution-{id}"))
    }

    /// The stream of events that others tell.
    #[must_use]
    pub fn external(name: &Name) -> Self {
        Self(format!("external-{name}"))
    }

    /// The stream of what one life of a node refused.
    #[must_use]
    pub fn audit(node: &str, incarnation: Incarnation) -> Self {
        Self(format!("audit-{node}-{incarnation}"))
    }

    /// The stream's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the stream belongs to.
    #[must_use]
    pub fn category(&self) -> Category {
        match self.0.split_once('-').map(|(category, _)| category) {
            Some("pipeline") => Category::Pipeline,
            Some("plugin") => Category::Plugin,
            Some("execution") => Category::Execution,
            Some("audit") => Category::Audit,
            _ => Category::External,
        }
    }

    /// The part after the category: a name, or a uuid for executions.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, id)| id)
    }

    /// The stream's shard: which slice of the aggregates it lies in.
    #[must_use]
    pub fn shard(&self) -> Shard {
        Shard::of(&self.0)
    }
}

impl FromStr for StreamId {
    type Err = InvalidStream;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let stream = match text.split_once('-') {
            Some(("pipeline" | "plugin" | "external", id)) => Name::new(id).is_ok().then(|| text.to_owned()),
            // in the one spelling that streams have: upper case or without hyphens is the same execution
            Some(("execution", id)) => id.parse().ok().map(|id| Self::execution(id).0),
            Some(("audit", id)) => audit_parts(id).map(|(node, life)| Self::audit(node.as_str(), life).0),
            _ => None,
        };
        stream.map(Self).ok_or_else(|| InvalidStream(text.chars().take(80).collect()))
    }
}

/// The node and its life that an audit stream belongs to.
fn audit_parts(id: &str) -> Option<(Name, Incarnation)> {
    const UUID: usize = 36;
    let (node, life) = id.split_at_checked(id.len().checked_sub(UUID)?)?;
    Some((Name::new(node.strip_suffix('-')?).ok()?, life.parse().ok()?))
}

impl TryFrom<String> for StreamId {
    type Error = InvalidStream;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StreamId> for String {
    fn from(stream: StreamId) -> Self {
        stream.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the 256 slices of the aggregates; each has one owner at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard(pub u8);

impl Shard {
    /// That of a name: FNV-1a, folded to 0 to 255.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        Self((hash ^ (hash >> 8) ^ (hash >> 16) ^ (hash >> 24)).to_le_bytes()[0])
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// An event's place in its stream: 1, 2, 3 …; 0 is a stream without events.
    Version
}
counter! {
    /// An event's place in the whole store: 1, 2, 3 … without gaps; 0 is before the first.
    Position
}
counter! {
    /// The fencing number of a shard's ownership; it only rises.
    Epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_slugs() {
        for good in ["a", "0", "tap-csv", "a.b_c-d", &"x".repeat(63)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "A", "a b", "a/b", "../etc", "é", &"x".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn streams_parse_what_they_print() {
        let execution = StreamId::execution(ExecutionId(Uuid::from_u128(7)));
        assert_eq!(execution.as_str().parse::<StreamId>().unwrap(), execution);
        assert_eq!(execution.category(), Category::Execution);
        assert_eq!("plugin-tap-csv".parse::<StreamId>().unwrap().id(), "tap-csv");
        let upper = "execution-0000000A-0000-0000-0000-00000000000B".parse::<StreamId>().unwrap();
        assert_eq!(upper.as_str(), "execution-0000000a-0000-0000-0000-00000000000b");
        let audit = StreamId::audit("n-1", Incarnation(Uuid::from_u128(9)));
        assert_eq!(audit.as_str().parse::<StreamId>().unwrap(), audit);
        assert_eq!(audit.category(), Category::Audit);
        for bad in ["", "plugin", "plugin-", "execution-7", "other-x", "pipeline-A", "audit-n", "audit-n-7"] {
            assert!(bad.parse::<StreamId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shards_are_spread() {
        let mut seen = [0_u32; 256];
        for n in 0..25_600 {
            seen[usize::from(StreamId::pipeline(&Name::new(format!("p{n}")).unwrap()).shard().0)] += 1;
        }
        assert!(seen.iter().all(|&n| (40..=180).contains(&n)), "{seen:?}");
    }

    #[test]
    fn a_reaction_has_one_command_id() {
        let cause = Uuid::from_u128(1);
        assert_eq!(CommandId::derived(cause, "complete"), CommandId::derived(cause, "complete"));
        assert_ne!(CommandId::derived(cause, "complete"), CommandId::derived(cause, "release"));
    }
}
