//! Every bound of the daemon's side of the launcher. No behaviour in here.

use std::time::Duration;

/// How long a start may take until the program is executed; beyond it a file system hangs or the host is overloaded.
pub const START_WAIT: Duration = Duration::from_secs(10);

/// How long after a kill, or the end of a grace, the launcher may take to report the end before it is killed itself. More
/// than the launcher's own `KILL_WAIT`, so that its report of survivors arrives first.
pub const OVERDUE_WAIT: Duration = Duration::from_secs(15);

/// How long a launcher that has reported may take to exit.
pub const EXIT_WAIT: Duration = Duration::from_secs(5);

/// How long the session of a lost launcher is swept.
pub const SWEEP_WAIT: Duration = Duration::from_secs(10);

/// Pause between two sweeps.
pub const SWEEP_ROUND: Duration = Duration::from_millis(10);
