//! Every bound of the launcher, named, with its unit and its reason. No behaviour in here.

use std::time::Duration;

/// Largest message in either direction: a policy with its files, of which catalogs are the largest, and at most 6 MiB of
/// arguments and environment, more than which the kernel does not take. A longer length prefix is refused before anything
/// is allocated.
pub const MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// How much is read from the control socket at a time.
pub const READ_BYTES: usize = 64 * 1024;

/// Descriptors in one message: standard input, output and error of the program.
pub const DESCRIPTORS: usize = 3;

/// Most descriptors beside one message of either side: the kernel's own bound.
pub const ATTACHED: usize = 253;

/// Characters of another build's name that are told.
pub const BUILD_CHARS: usize = 64;

/// How long the launcher waits for its policy before it gives up: the daemon sends it at once or never.
pub const POLICY_WAIT: Duration = Duration::from_secs(10);

/// How long the launcher insists on the end of a killed tree. Only a process in uninterruptible sleep (a dead network
/// file system, say) outlasts `SIGKILL` for this long; it is then named as a survivor.
pub const KILL_WAIT: Duration = Duration::from_secs(10);

/// Pause between two rounds of killing when no child's end wakes the launcher earlier.
pub const KILL_ROUND: Duration = Duration::from_millis(10);

/// Longest grace between `SIGTERM` and `SIGKILL`; a longer one is shortened to this.
pub const GRACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a tree stays stopped after its lease ran out before it is killed. A node that was paused for longer has lost its
/// work to another, whose attempt must not find what the tree still holds, such as a lock on a target.
pub const FROZEN_MAX: Duration = Duration::from_secs(3);

/// Longest wait between two looks at a lease: the machine's sleep counts for the lease but not for the wait.
pub const LEASE_LOOK: Duration = Duration::from_secs(1);

/// Walks of a tree that is being stopped, each of which finds who was forked during the one before; a tree that still grows
/// then is killed.
pub const FREEZE_ROUNDS: usize = 32;

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

/// Memory of a process that it may keep from being swapped out, bytes: the usual limit of an ordinary user.
pub const LOCKED_BYTES: u64 = 8 * 1024 * 1024;

/// Signals that wait for a program's processes, with their timers: each costs the kernel memory.
pub const PENDING_SIGNALS: u64 = 4_096;

/// Dangerous calls of a program that the launcher is asked about; from then on the kernel refuses them by itself, unseen. A
/// question costs the launcher some microseconds, which no limit of the program counts.
pub const MOST_NOTICED: u64 = 200;

/// How much sooner than others a program is chosen when the host is out of memory: half way to "first of all".
pub const OOM_SCORE: i32 = 500;

/// Longest text about a failed step: a path.
pub const DETAIL_BYTES: usize = 1024;

/// Users that the superuser's programs run as, one each: a range that distributions leave free (below 2^31, above what
/// systemd gives to containers), so that no file and no other process belongs to them.
pub const USERS: std::ops::Range<u32> = 1_900_000_000..1_900_065_536;

/// How many users are tried before a start is given up: more than run at once on any host.
pub const USER_TRIES: u32 = 8_192;

/// Bytes of the program's root file system, which holds directories, links, placed files and no data.
pub const ROOT_BYTES: u64 = MESSAGE_BYTES as u64;

/// Files and directories of the root file system.
pub const ROOT_FILES: u64 = 16_384;

/// Bytes of the private file system where the policy gives no other bound.
pub const SCRATCH_BYTES: u64 = 256 * 1024 * 1024;

/// Most files and directories of the private file system: each costs the kernel memory of its own, about 1 KiB.
pub const SCRATCH_FILES: u64 = 131_072;

/// One file for so many of its bytes, so that empty files cost little beside what the bytes may.
pub const SCRATCH_BYTES_OF_A_FILE: u64 = 2_048;

/// Files and directories of the smallest private file system.
pub const SCRATCH_FILES_LEAST: u64 = 1_024;

/// Host names of the program's namespace, and of no host.
pub const HOST_NAME: &str = "flexcore";

/// Longest name of a control group: with a prefix and a suffix still a valid file name.
pub const CGROUP_NAME_BYTES: usize = 128;

/// How long the kernel may take to let go of an emptied control group.
pub const CGROUP_REMOVE_WAIT: Duration = Duration::from_secs(1);

/// Pause between two attempts to remove it.
pub const CGROUP_REMOVE_ROUND: Duration = Duration::from_millis(2);

/// How long the kernel may take to make the route to an IPv6 address of loopback: it does so within a millisecond.
pub const ROUTE_WAIT: Duration = Duration::from_secs(5);

/// How long a byte to such an address may take, and the pause between two.
pub const ROUTE_ROUND: Duration = Duration::from_micros(200);
