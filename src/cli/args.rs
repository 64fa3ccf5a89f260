//! What can be typed: commands, flags, help. Never in here: what they do.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Flag;
use clap::{Args, Parser, Subcommand};
use flexcore_actors::domain::access::Role;

use super::args_resources::{
    AuditArgs, BookmarksCommand, EventsArgs, ExecutionsCommand, InspectCommand, ListArgs, PipelinesCommand,
    PluginsCommand, ProjectionsCommand, SubscriptionsCommand,
};
use super::client::DEFAULT_SERVER;
use super::output::Format;
use super::parameters::{Parameter, parameter};
use super::token::validity;

const EXAMPLES: &str = "\
Examples:
  flexcore demo --exit                            see the whole product work, then leave
  flexcore serve                                  run a node on 127.0.0.1:8080
  flexcore apply -f plugins.yaml -f customers.yaml
  flexcore run customers --param day=2026-01-31   start an execution and follow it
  flexcore executions logs -f ID

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unauthorised, 6 unavailable.";

/// FlexCore: durable pipelines of sandboxed plugins.
#[derive(Debug, Parser)]
#[command(name = "flexcore", version, about, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// The node to talk to.
    #[arg(long, global = true, env = "FLEXCORE_SERVER", value_name = "URL", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node
    Serve(ServeArgs),
    /// The whole product on the embedded store: a pipeline, a killed plugin, the proof that nothing was lost
    Demo(DemoArgs),
    /// Create or revise the plugins and pipelines of files, and enable and activate them
    #[command(
        after_help = "Examples:\n  flexcore apply -f customers.yaml\n  flexcore apply -f customers.yaml --dry-run\n  generate | flexcore apply -f -"
    )]
    Apply(ApplyArgs),
    /// Start an execution of a pipeline and follow it; exit 0 only if it completed
    #[command(
        after_help = "Examples:\n  flexcore run customers\n  flexcore run customers --param day=2026-01-31 --param full=true\n  flexcore run customers --no-wait"
    )]
    Run(RunArgs),
    /// Run one plugin, follow it and print its result
    #[command(
        after_help = "Examples:\n  flexcore exec dbt-run --operation run --param select=customers+\n  flexcore exec report --config report.yaml"
    )]
    Exec(ExecArgs),
    /// Pipelines: what is defined, and whether it may run
    #[command(subcommand)]
    Pipelines(PipelinesCommand),
    /// Plugins: the programs that may run
    #[command(subcommand)]
    Plugins(PluginsCommand),
    /// Executions: what ran, runs and failed
    #[command(subcommand)]
    Executions(ExecutionsCommand),
    /// Read or follow the event store
    #[command(
        after_help = "Examples:\n  flexcore events\n  flexcore events pipeline-customers --limit 20\n  flexcore events -f --after 1200 --output json"
    )]
    Events(EventsArgs),
    /// Bookmarks: how far each step of a pipeline has durably come
    #[command(subcommand)]
    Bookmarks(BookmarksCommand),
    /// What reacts to events, and the events it could not handle
    #[command(subcommand)]
    Subscriptions(SubscriptionsCommand),
    /// Who asked for what, and what was refused
    #[command(
        after_help = "Examples:\n  flexcore audit\n  flexcore audit --outcome refused --from 2026-01-31T00:00:00Z"
    )]
    Audit(AuditArgs),
    /// The read models that lists come from
    #[command(subcommand)]
    Projections(ProjectionsCommand),
    /// The operator's view of a running node
    #[command(subcommand)]
    Inspect(InspectCommand),
    /// The key that signs checkpoints of the event store
    #[command(
        subcommand,
        after_help = "Examples:\n  flexcore integrity keygen --file /keys/flexcore --name example.com/flexcore\n  flexcore integrity public > trusted-keys\n  flexcore integrity rotate"
    )]
    Integrity(IntegrityCommand),
    /// Secrets that plugins are given: set, list and delete them, and the key they are encrypted with
    #[command(
        after_help = "Examples:\n  flexcore secrets set DB_PASSWORD < password.txt\n  pass show db | flexcore secrets set DB_PASSWORD --data-dir ./flexcore-data\n  flexcore secrets set TLS_KEY --from-file key.pem\n  flexcore secrets list\n\nWorks on the store itself, beside a running node, and with the node's key: see docs/secrets.md."
    )]
    Secrets(SecretsArgs),
    /// API tokens: make, list and revoke them
    #[command(
        after_help = "Examples:\n  flexcore token create --role admin --at-rest    the first one, in the store itself\n  flexcore token create --role operator --expires 90d\n  flexcore token list\n  flexcore token revoke 0198c0de-…\n\nRoles: viewer reads; operator also starts, cancels, pauses, releases; developer also defines pipelines; admin everything."
    )]
    Token(TokenArgs),
    /// Check that no event was changed, removed, added or moved: a running node, an export, or a store at rest
    #[command(
        after_help = "Examples:\n  flexcore verify\n  flexcore verify --data-dir ./flexcore-data --public-key trusted-keys --checkpoints /mnt/worm/checkpoints\n  flexcore verify --file events.jsonl --public-key trusted-keys\n\nExit 0 only if the log is intact, else 1 and the first bad stream and version."
    )]
    Verify(VerifyArgs),
    /// Write events to a file that can be verified without the store
    #[command(
        after_help = "Examples:\n  flexcore export events.jsonl\n  flexcore export --stream pipeline-customers customers.jsonl\n  flexcore export --after 120000 rest.jsonl\n  flexcore export --data-dir ./flexcore-data events.jsonl"
    )]
    Export(ExportArgs),
    /// Verify an export, then take it into an empty store
    #[command(
        after_help = "Examples:\n  flexcore import events.jsonl --public-key trusted-keys --data-dir ./restored\n  flexcore import events.jsonl --public-key trusted-keys --database-url postgres://…"
    )]
    Import(ImportArgs),
    /// Check something without running it
    #[command(subcommand)]
    Check(CheckCommand),
    /// Apply the store's pending migrations, as the start of a node does, or show all
    #[command(
        after_help = "Examples:\n  flexcore migrate status --data-dir ./flexcore-data\n  FLEXCORE_DATABASE_URL=postgres://… flexcore migrate"
    )]
    Migrate(MigrateArgs),
    /// Move the oldest events of a PostgreSQL store to files; nodes may be running and read them from there
    #[command(
        after_help = "Examples:\n  flexcore archive --keep-partitions 4 --dir /archive\n  FLEXCORE_DATABASE_URL=postgres://… flexcore archive --before 50000000"
    )]
    Archive(ArchiveArgs),
}

/// Flags that replace keys of the configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// The configuration file; config/flexcore.yaml documents every key
    #[arg(long, env = "FLEXCORE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Replaces `data_dir`
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Replaces `http.listen`
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
    /// Replaces `node.name`
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Replaces `log`, such as debug or info,flexcore::http=debug
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Replaces `log_format`: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl ConfigArgs {
    /// The keys that flags replace.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        [
            ("--data-dir", "data_dir", &self.data_dir),
            ("--http-listen", "http.listen", &self.http_listen),
            ("--node-name", "node.name", &self.node_name),
            ("--log", "log", &self.log),
            ("--log-format", "log_format", &self.log_format),
        ]
        .into_iter()
        .filter_map(|(flag, key, value)| value.clone().map(|value| Flag { flag, key, value }))
        .collect()
    }
}

/// `serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the demo keeps its data; a temporary directory by default
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The address to listen on; a free port by default
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub http_listen: String,
    /// End after the story instead of leaving the node running
    #[arg(long)]
    pub exit: bool,
    /// What the node logs while the story is told
    #[arg(long, value_name = "FILTER", default_value = "error")]
    pub log: String,
}

/// `apply`
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A YAML or JSON file; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The pipeline
    pub pipeline: String,
    /// A parameter of the pipeline
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<Parameter>,
    /// Ignore the bookmarks and read everything again
    #[arg(long)]
    pub from_scratch: bool,
    /// Print the execution's id and do not wait for its end
    #[arg(long)]
    pub no_wait: bool,
}

/// `exec`
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The plugin
    pub plugin: String,
    /// The operation to ask for
    #[arg(long)]
    pub operation: Option<String>,
    /// A YAML or JSON file with the plugin's config
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A parameter of the operation; a value that is JSON is sent as such
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<Parameter>,
}

/// `integrity …`
#[derive(Debug, Subcommand)]
pub enum IntegrityCommand {
    /// Make a new key in a file that is not there yet, and print its public half
    Keygen {
        /// The name of key and log, best an address of yours such as example.com/flexcore; by default one that nobody has
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        file: KeyFileArgs,
    },
    /// Put a new key in front of the one in the file; takes effect when the node starts again
    Rotate(KeyFileArgs),
    /// Print the public keys whose checkpoints are to be believed
    Public(KeyFileArgs),
}

/// Which key file.
#[derive(Debug, Args)]
pub struct KeyFileArgs {
    /// The key file; by default that of the configuration
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// The store at rest that a command works on, without a node: the configuration's, or another.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArgs {
    /// The configuration file that names the store
    #[arg(long, env = "FLEXCORE_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The embedded store of this data directory
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "database_url")]
    pub data_dir: Option<String>,
    /// A PostgreSQL database; other users of the machine see flags, so put a password into FLEXCORE_DATABASE_URL
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
}

impl StoreArgs {
    /// The same as flags of the configuration.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        [("--data-dir", "data_dir", &self.data_dir), ("--database-url", "database.url", &self.database_url)]
            .into_iter()
            .filter_map(|(flag, key, value)| value.clone().map(|value| Flag { flag, key, value }))
            .collect()
    }
}

/// `token`
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
    /// In the store that the configuration names, without a node; as --data-dir and --database-url
    #[arg(long, global = true)]
    pub at_rest: bool,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once
    Create {
        /// viewer, operator, developer or admin
        #[arg(long)]
        role: Role,
        /// For how long it is valid, such as 90d; for ever unless given
        #[arg(long, value_name = "DURATION", value_parser = validity)]
        expires: Option<Duration>,
        /// The token alone, or JSON
        #[arg(long, short = 'o', value_enum, default_value = "table")]
        output: Format,
    },
    /// List tokens, valid or not, without themselves
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Revoke a token: it is worth nothing from then on, on every node
    Revoke {
        /// Its id
        id: String,
    },
}

/// `secrets`
#[derive(Debug, Args)]
pub struct SecretsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SecretsCommand,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `secrets …`
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Set a secret to what standard input or a file holds; a value is never an argument, which others could see
    Set {
        /// Its name, such as DB_PASSWORD
        name: String,
        /// Take the file as it is, byte for byte; of standard input one newline at the end is left out
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// List the names of all secrets
    List {
        /// Lines for people, or JSON
        #[arg(long, short = 'o', value_enum, default_value = "table")]
        output: Format,
    },
    /// Delete a secret
    Delete {
        /// Its name
        name: String,
    },
    /// Make a new key in a file that is not there yet
    Keygen {
        /// The file; by default that of the configuration
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Replace the key: encrypt every secret anew, then forget the old key. Nodes go on meanwhile
    Rotate,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// An export, instead of a node
    #[arg(long, value_name = "EXPORT", conflicts_with_all = ["data_dir", "database_url"])]
    pub file: Option<PathBuf>,
    /// The public keys to believe, as flexcore integrity public prints them; by default those of the configuration's key
    /// file
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// A directory of checkpoints that were copied outside; by default the configuration's
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Lines for people, or JSON
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Format,
}

/// `export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The file to write; - is standard output
    pub file: PathBuf,
    /// Only this stream, each event with the proof that it is in the log
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// Only events beyond this position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub after: u64,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The export
    #[arg(required_unless_present = "meltano")]
    pub file: Option<PathBuf>,
    /// Convert a Meltano project
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub meltano: Option<PathBuf>,
    /// The public keys to believe, as flexcore integrity public prints them
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// A directory of checkpoints to compare the export with
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `migrate`
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// What to do instead of applying.
    #[command(subcommand)]
    pub command: Option<MigrateCommand>,
    /// Then let this role of PostgreSQL run a node on the store: it may read, and write by the store's functions alone
    #[arg(long, value_name = "ROLE")]
    pub grant_to: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Lines for people, or JSON
    #[arg(long, short = 'o', value_enum, default_value = "table", global = true)]
    pub output: Format,
}

/// `migrate …`
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum MigrateCommand {
    /// Show every migration; exit 0 if all are applied, 1 if some are pending
    Status,
}

/// `archive`
#[derive(Debug, Args)]
pub struct ArchiveArgs {
    /// Only partitions whose events all have a position below this
    #[arg(long, value_name = "POSITION", conflicts_with = "keep_partitions")]
    pub before: Option<u64>,
    /// How many partitions with events stay in the database, the one that is written included
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_partitions: u32,
    /// The directory to move them to; every node must be told the same by archive.dir
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Lines for people, or JSON
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Format,
}

/// `check …`
#[derive(Debug, Subcommand)]
pub enum CheckCommand {
    /// Show the configuration a node would use, secrets redacted, or everything that is wrong with it
    Config(ConfigArgs),
    /// Try what isolation this host gives to plugins, layer by layer; exit code 1 if it is less than required
    #[command(
        after_help = "Examples:\n  flexcore check sandbox\n  FLEXCORE_SANDBOX_REQUIRED=strict flexcore check sandbox --output json"
    )]
    Sandbox(SandboxArgs),
}

/// What a host must give.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// The configuration, of which sandbox.required and sandbox.accept_missing count.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// A table for people, or JSON
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Format,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_replace_keys() {
        let cli = Cli::try_parse_from(["flexcore", "serve", "--data-dir", "/d", "--log", "debug"]).unwrap();
        let Command::Serve(ServeArgs { config }) = cli.command else { panic!("not serve") };
        let keys: Vec<(&str, &str)> = config.flags().iter().map(|f| (f.flag, f.key)).collect();
        assert_eq!(keys, [("--data-dir", "data_dir"), ("--log", "log")]);
    }

    #[test]
    fn wrong_usage_is_refused() {
        for words in [
            &["flexcore", "apply"][..],
            &["flexcore", "run"],
            &["flexcore", "run", "p", "--param", "x"],
            &["flexcore", "events", "--limit", "0"],
            &["flexcore", "secrets", "set", "NAME", "value"],
            &["flexcore", "frobnicate"],
        ] {
            assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
