//! Every bound of the launcher, named, with its unit and its reason. No behaviour in here.

use std::time::Duration;

/// Largest message in either direction. The kernel takes at most 6 MiB of arguments and environment, so a policy above
/// this could not be executed anyway; a longer length prefix is refused before anything is allocated.
pub const MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// How much is read from the control socket at a time.
pub const READ_BYTES: usize = 64 * 1024;

/// Descriptors in one message: standard input, output and error of the program.
pub const DESCRIPTORS: usize = 3;

/// How long the launcher waits for its policy before it gives up: the daemon sends it at once or never.
pub const POLICY_WAIT: Duration = Duration::from_secs(10);

/// How long the launcher insists on the end of a killed tree. Only a process in uninterruptible sleep (a dead network
/// file system, say) outlasts `SIGKILL` for this long; it is then named as a survivor.
pub const KILL_WAIT: Duration = Duration::from_secs(10);

/// Pause between two rounds of killing when no child's end wakes the launcher earlier.
pub const KILL_ROUND: Duration = Duration::from_millis(10);

/// Longest grace between `SIGTERM` and `SIGKILL`; a longer one is shortened to this.
pub const GRACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Pause between two measurements of the tree's memory while it uses less than half of its limit.
pub const MEMORY_INTERVAL: Duration = Duration::from_millis(200);

/// The same above half of the limit, where a program may be growing into it.
pub const MEMORY_INTERVAL_NEAR: Duration = Duration::from_millis(50);

/// Most processes looked at in one walk of the tree; what lies beyond is found by the next walk, after these were killed.
pub const TREE_PROCESSES: usize = 65_536;

/// How much of a file is read to tell a script with a missing interpreter from a program with a missing loader.
pub const SHEBANG_BYTES: u64 = 256;

/// Between the soft limit of processor time (`SIGXCPU`, which a program may catch) and the hard one (`SIGKILL`), seconds.
pub const CPU_TIME_MARGIN: u64 = 5;
