//! What can be typed after `pipelines`, `plugins`, `executions`, `events`, `bookmarks`, `audit`, `projections`,
//! `inspect`. Never in here: what it does.

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::output::Format;

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// Lines for people, or the node's answer
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Format,
}

/// How much to list.
#[derive(Debug, Clone, Copy, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Something by its name or id.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its name or id
    pub name: String,
    /// As it was at this time, such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "at_version")]
    pub at: Option<Timestamp>,
    /// As it was at this version
    #[arg(long, value_name = "VERSION")]
    pub at_version: Option<u64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `pipelines …`
#[derive(Debug, Subcommand)]
pub enum PipelinesCommand {
    /// All pipelines
    List(ListArgs),
    /// One pipeline
    Show(ShowArgs),
    /// Let a draft run
    Activate(NameArgs),
    /// Start no more executions
    Pause(NameArgs),
    /// Start executions again
    Resume(NameArgs),
    /// Put it away for good; its name stays reserved
    Archive(NameArgs),
}

/// `plugins …`
#[derive(Debug, Subcommand)]
pub enum PluginsCommand {
    /// All plugins
    List(ListArgs),
    /// One plugin
    Show(ShowArgs),
    /// Let it run
    Enable(NameArgs),
    /// Start it no more
    Disable(NameArgs),
    /// End its quarantine: start it again after too many crashes
    Release(NameArgs),
}

/// A name or id.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Its name or id
    pub name: String,
}

/// `executions …`
#[derive(Debug, Subcommand)]
pub enum ExecutionsCommand {
    /// Executions, newest first
    List(ExecutionsListArgs),
    /// One execution
    Show(ShowArgs),
    /// End it; nothing of it is ever started again
    Cancel(NameArgs),
    /// Start no more of its steps
    Pause(NameArgs),
    /// Start its steps again
    Resume(NameArgs),
    /// What its programs said
    Logs(LogsArgs),
}

/// `executions list`
#[derive(Debug, Args)]
pub struct ExecutionsListArgs {
    /// Only of this pipeline
    #[arg(long)]
    pub pipeline: Option<String>,
    /// Only of this plugin
    #[arg(long)]
    pub plugin: Option<String>,
    /// Only in this status: queued, running, paused, completed, failed, cancelled
    #[arg(long)]
    pub status: Option<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// `executions logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The execution's id
    pub id: String,
    /// Go on until it has ended
    #[arg(short, long)]
    pub follow: bool,
}

/// `events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only of this stream, such as pipeline-customers
    pub stream: Option<String>,
    /// Only beyond this position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub after: u64,
    /// Only of this type, such as StepFailed
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Go on with new events until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    pub list: ListArgs,
}

/// `bookmarks …`
#[derive(Debug, Subcommand)]
pub enum BookmarksCommand {
    /// The bookmarks of a pipeline
    Get {
        /// The pipeline
        pipeline: String,
        /// Only of this step; prints the bare state
        step: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Set where a step goes on from
    Set {
        /// The pipeline
        pipeline: String,
        /// The step
        step: String,
        /// The state as JSON; @FILE reads it from a file
        #[arg(long, value_name = "JSON")]
        state: String,
    },
    /// Forget how far a step has come
    Clear {
        /// The pipeline
        pipeline: String,
        /// The step
        step: String,
    },
}

/// `subscriptions …`
#[derive(Debug, Subcommand)]
pub enum SubscriptionsCommand {
    /// How far each has come
    List(OutputArgs),
    /// The events that one could not handle
    Parked {
        /// The subscription
        name: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Handle parked events again: one, or the first hundred
    Replay {
        /// The subscription
        name: String,
        /// Only the event at this position
        position: Option<u64>,
    },
}

/// `audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only by this actor, such as anonymous@127.0.0.1
    #[arg(long)]
    pub actor: Option<String>,
    /// Only those that were accepted, or refused
    #[arg(long, value_name = "OUTCOME")]
    pub outcome: Option<String>,
    /// Only at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// `projections …`
#[derive(Debug, Subcommand)]
pub enum ProjectionsCommand {
    /// All read models, and how far they have come
    List(OutputArgs),
    /// The events that one could not take in; rebuild it to try them again
    Parked {
        /// The read model
        name: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Build one anew beside the live one, or all of them; lists are answered meanwhile
    Rebuild(RebuildArgs),
}

/// `projections rebuild`
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Which; all of them by default
    pub name: Option<String>,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// `inspect …`
#[derive(Debug, Subcommand)]
pub enum InspectCommand {
    /// The actors, each under the one that supervises it
    Tree(OutputArgs),
    /// The nodes of the cluster as the asked one sees them
    Cluster(OutputArgs),
    /// Who owns which of the 256 shards
    Shards(OutputArgs),
    /// What is quarantined after too many failures, and why
    Quarantine(OutputArgs),
    /// The actors that have most of something
    Top {
        /// Of what
        #[arg(long, value_enum, default_value = "busy")]
        by: TopBy,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// What `inspect top` orders by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopBy {
    /// Messages waiting.
    Mailbox,
    /// Time spent with the current message.
    Busy,
    /// How often it was started again.
    Restarts,
}

impl TopBy {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mailbox => "mailbox",
            Self::Busy => "busy",
            Self::Restarts => "restarts",
        }
    }
}
