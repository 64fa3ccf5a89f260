//! What the plugin host needs of a launcher, as a trait of its own: adapters do not import each other, composing
//! connects them.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::outcome::{Denial, NetworkUse, SandboxUsed, Usage};
use flexcore_actors::domain::plugin::Limits;
use flexcore_actors::ports::BoxFuture;

/// Starts programs, each as a process tree of its own with nothing inherited.
pub trait Launch: Send + Sync + 'static {
    /// The path of a program: itself when absolute, otherwise the first executable of that name in `directories`.
    ///
    /// # Errors
    /// When there is none.
    fn resolve(&self, program: &str, directories: &[PathBuf]) -> Result<PathBuf, LaunchFailure>;

    /// Why no program is started in a jail on this node, if none is: what the host lacks of the isolation that is required.
    fn refusal(&self) -> Option<String>;

    /// Whether a program has a root file system of its own, in which its files are nobody else's.
    fn has_own_root(&self) -> bool;

    /// Starts a program; done when it is executed. Dropping the future ends what was started.
    ///
    /// # Errors
    /// When it did not start; nothing of it runs then.
    fn start(&self, start: Start) -> BoxFuture<'_, Result<Launched, LaunchFailure>>;
}

/// A program to start.
#[derive(Debug)]
pub struct Start {
    /// Arguments; the first is an absolute path.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The private scratch directory, where the program starts.
    pub workdir: PathBuf,
    /// Standard input; `/dev/null` if absent.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
    /// What it may use.
    pub limits: Limits,
    /// What it sees and may do; `None` for a helper of FlexCore's own that works with the host's files and network.
    pub jail: Option<Jail>,
}

/// What a program sees of the host and may do beyond its own process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Jail {
    /// Files and directories that it sees, beside what every program does.
    pub view: Vec<Shown>,
    /// Files that are made for it.
    pub files: Vec<PlacedFile>,
    /// Whether it may start other programs.
    pub subprocess: bool,
    /// The file whose content [`Ended::result`] is.
    pub result: Option<PathBuf>,
    /// What it may connect to, `host:port` each.
    pub connect: Vec<String>,
}

/// A place of the host that a program sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it is, without symbolic links.
    pub source: PathBuf,
    /// Where the program sees it.
    pub target: PathBuf,
    /// Whether the program may change it.
    pub write: bool,
}

/// A file that is made for a program and gone with it.
#[derive(Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Absolute.
    pub path: PathBuf,
    /// Permission bits for the program's user.
    pub mode: u32,
    /// Its content.
    pub content: Vec<u8>,
}

impl fmt::Debug for PlacedFile {
    /// Without the content, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlacedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A person's sentence why a program did not start, with the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LaunchFailure(pub String);

/// A running program.
pub struct Launched {
    /// Its process id.
    pub pid: u32,
    /// Ends it from elsewhere.
    pub control: Box<dyn Control>,
    /// Its end, when its whole tree is gone. Dropping this kills the tree.
    pub ended: BoxFuture<'static, Ended>,
}

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Ends a program; without effect once it has ended.
pub trait Control: Send + Sync {
    /// SIGTERM now, SIGKILL to the whole tree after `grace`. A repetition can only bring the end nearer.
    fn stop(&self, grace: Duration);
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The manner.
    pub status: Status,
    /// What its tree used.
    pub usage: Usage,
    /// Processes that would not go. None, unless the kernel keeps them.
    pub survivors: usize,
    /// What it left at [`Jail::result`], if that is a file.
    pub result: Option<Arc<File>>,
    /// What it did with the network, if it did anything.
    pub network: Option<NetworkUse>,
    /// What it was denied beside that.
    pub denials: Vec<Denial>,
    /// Whether it was an interpreter that had been started ahead.
    pub warm: bool,
    /// How it was isolated; absent for a helper outside of the jail.
    pub sandbox: Option<SandboxUsed>,
}

/// The manner of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// It used more memory than it may.
    Oom {
        /// What it may use, bytes.
        limit: u64,
        /// What was measured, bytes.
        peak: u64,
    },
    /// Its node could not renew its lease, and it was ended.
    LeaseOver,
    /// Its launcher died; how it ended is not known.
    Lost,
}
