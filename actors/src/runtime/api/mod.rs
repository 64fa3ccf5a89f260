//! The one way in for gateways (HTTP, command line, later gRPC): commands and queries as typed calls. Gateways hold
//! an [`Api`], never an actor or a channel.

mod commands;
mod definitions;
mod feeds;
mod integrity;
mod lists;
mod project;
mod queries;
mod replay;
mod starts;

pub use self::feeds::EventFeed;
pub(super) use self::project::bookmarks as bookmarks_of;

use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::domain::access::Role;
use crate::domain::ids::{
    Category, CommandId, CorrelationId, ExecutionId, Name, Position, StreamId, Version,
};
use crate::domain::problem::Problems;
use crate::ports::event_store::EventFilter;

pub use super::aggregate::At;
use super::node::Tree;
use super::services::Services;

/// A command as the contract has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// What to do.
    pub kind: CommandKind,
    /// The pipeline's or plugin's name, or the execution's id. May be empty where the payload names it.
    pub aggregate_id: String,
    /// The fields of the file format, or of the request's body; `null` where there are none.
    pub payload: Value,
    /// Who, and how.
    pub context: Context,
}

/// Who asks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Who asks.
    pub actor: String,
    /// What belongs together.
    pub correlation_id: CorrelationId,
    /// The caller's own id of this command (or one derived from its `Idempotency-Key`): repeating it returns the
    /// first answer. Without one each call is a new command.
    pub command_id: Option<CommandId>,
    /// The version the caller saw (`If-Match`); the command is refused when the aggregate has another.
    pub if_match: Option<Version>,
}

macro_rules! command_kinds {
    ($($kind:ident),+ $(,)?) => {
        /// What a command does; the names are the contract's `command_type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are the contract's and say it all")]
        pub enum CommandKind { $($kind),+ }

        impl CommandKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The contract's name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),+ }
            }
        }
    };
}

command_kinds!(
    CreatePipeline,
    RevisePipeline,
    ActivatePipeline,
    PausePipeline,
    ResumePipeline,
    ArchivePipeline,
    StartPipeline,
    CancelExecution,
    PauseExecution,
    ResumeExecution,
    RetryExecution,
    RegisterPlugin,
    RevisePlugin,
    EnablePlugin,
    DisablePlugin,
    RetirePlugin,
    ReleasePlugin,
    ExecutePlugin,
    SetBookmark,
    ClearBookmark,
);

impl CommandKind {
    /// Who may give it.
    #[must_use]
    pub const fn needs(self) -> Role {
        match self {
            Self::StartPipeline
            | Self::PausePipeline
            | Self::ResumePipeline
            | Self::CancelExecution
            | Self::PauseExecution
            | Self::ResumeExecution
            | Self::RetryExecution
            | Self::ReleasePlugin
            | Self::ExecutePlugin
            | Self::SetBookmark
            | Self::ClearBookmark => Role::Operator,
            Self::CreatePipeline | Self::RevisePipeline | Self::ActivatePipeline | Self::ArchivePipeline => {
                Role::Developer
            }
            Self::RegisterPlugin
            | Self::RevisePlugin
            | Self::EnablePlugin
            | Self::DisablePlugin
            | Self::RetirePlugin => Role::Admin,
        }
    }

    /// What kind of aggregate it is for.
    #[must_use]
    pub const fn category(self) -> Category {
        match self {
            Self::CancelExecution | Self::PauseExecution | Self::ResumeExecution | Self::RetryExecution => {
                Category::Execution
            }
            Self::RegisterPlugin
            | Self::RevisePlugin
            | Self::EnablePlugin
            | Self::DisablePlugin
            | Self::RetirePlugin
            | Self::ReleasePlugin
            | Self::ExecutePlugin => Category::Plugin,
            Self::CreatePipeline
            | Self::RevisePipeline
            | Self::ActivatePipeline
            | Self::PausePipeline
            | Self::ResumePipeline
            | Self::ArchivePipeline
            | Self::StartPipeline
            | Self::SetBookmark
            | Self::ClearBookmark => Category::Pipeline,
        }
    }
}

impl FromStr for CommandKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("unknown command_type {text:?}: expected one of {}", names.join(", "))
        })
    }
}

/// The answer to a command that was accepted; it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// The command.
    pub command_id: CommandId,
    /// The name or execution id it concerned.
    pub aggregate_id: String,
    /// The aggregate's version after it.
    pub version: Version,
    /// The store's position after it.
    pub position: Position,
    /// How many events it recorded; 0 when nothing had to change.
    pub events_generated: u32,
    /// The execution it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
    /// What is not wrong with it, and should be known.
    #[serde(skip_serializing_if = "Problems::is_empty")]
    pub warnings: Problems,
}

/// What applying a definition would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// `create`, `revise` or `unchanged`.
    pub action: &'static str,
    /// What is not wrong with it, and should be known.
    #[serde(skip_serializing_if = "Problems::is_empty")]
    pub warnings: Problems,
}

/// Why a command or query was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// The request's shape is wrong.
    #[error("{0}")]
    Malformed(String),
    /// The request's content is wrong; every problem at once.
    #[error("{0}")]
    Invalid(Problems),
    /// There is no such thing.
    #[error("{kind} {id:?} does not exist")]
    NotFound {
        /// `pipeline`, `plugin`, `execution` …
        kind: &'static str,
        /// Its name or id.
        id: String,
    },
    /// It is in the wrong state, or exists already.
    #[error("{0}")]
    Conflict(String),
    /// `If-Match` names another version than the aggregate has.
    #[error("the version is {actual}, not {expected}: read it again and repeat")]
    PreconditionFailed {
        /// What the caller saw.
        expected: Version,
        /// What it is.
        actual: Version,
    },
    /// The command id was used for another request.
    #[error("this Idempotency-Key or command_id was used before for another request: use a new one")]
    CommandReused,
    /// Too much is waiting; try again later.
    #[error("too many requests are waiting for {what}")]
    Overloaded {
        /// What is overloaded.
        what: String,
        /// When to try again, seconds.
        retry_after: u64,
    },
    /// Something it depends on is away; try again later.
    #[error("{what} is unavailable")]
    Unavailable {
        /// What is away.
        what: String,
        /// When to try again, seconds.
        retry_after: u64,
    },
    /// The contract has it, this version does not yet.
    #[error("{0} is not built yet")]
    NotBuilt(&'static str),
    /// A defect; the log has the details.
    #[error("internal error")]
    Internal,
}

/// Which executions a list holds; all given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Of this pipeline.
    pub pipeline: Option<Name>,
    /// Of this plugin alone.
    pub plugin: Option<Name>,
    /// In this status.
    pub status: Option<String>,
    /// `pipeline` or `plugin`.
    pub kind: Option<String>,
    /// Queued at or after.
    pub from: Option<Timestamp>,
    /// Queued before.
    pub to: Option<Timestamp>,
}

/// Which requests the audit log's list holds; all given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this actor.
    pub actor: Option<String>,
    /// `accepted` or `refused`.
    pub outcome: Option<String>,
    /// Recorded at or after.
    pub from: Option<Timestamp>,
    /// Recorded before.
    pub to: Option<Timestamp>,
}

/// Which events a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Beyond this position.
    pub after: Position,
    /// Only of this stream.
    pub stream: Option<StreamId>,
    /// Only of this type.
    pub event_type: Option<String>,
    /// Recorded at or after.
    pub from: Option<Timestamp>,
    /// Recorded before.
    pub to: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
}

impl EventQuery {
    pub(super) fn filter(self) -> EventFilter {
        let kinds = self.event_type.into_iter().collect();
        EventFilter { stream: self.stream, kinds, from: self.from, to: self.to }
    }
}

/// A page of a list to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Where to begin: the `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// At most so many, 1 to 1000.
    pub limit: usize,
}

/// The node, for gateways. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    services: Arc<Services>,
    tree: Tree,
    started_at: Timestamp,
}

impl Api {
    pub(super) const fn new(services: Arc<Services>, tree: Tree, started_at: Timestamp) -> Self {
        Self { services, tree, started_at }
    }
}
