//! What a tree of processes uses, and whether that is too much: told by its control group where it has one, measured from
//! time to time where not. Killing is not done here.

use crate::cgroup::{Cgroup, CgroupLimits, Entrance};
use crate::failure::Failure;
use crate::limits::{MEMORY_INTERVAL, MEMORY_INTERVAL_NEAR};
use crate::memory::MemoryWatch;
use crate::process_tree::descendants;
use crate::protocol::{Policy, Stage, Usage};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::getpid;
use std::time::{Duration, Instant};

/// The account of one tree.
pub(crate) struct Account {
    limit: Option<u64>,
    group: Option<Cgroup>,
    watch: Option<MemoryWatch>,
    look: Instant,
}

/// More than a tree may use, bytes.
pub(crate) struct Excess {
    pub(crate) limit: u64,
    pub(crate) peak: u64,
}

impl Account {
    /// Makes the group, if the policy asks for one.
    pub(crate) fn open(policy: &Policy) -> Result<Self, Failure> {
        let limits = CgroupLimits {
            memory_bytes: policy.limits.memory_bytes,
            // Init is one more.
            processes: policy.limits.processes.map(|processes| processes.saturating_add(1)),
            millicpus: policy.limits.millicpus,
        };
        let group = policy.cgroup.as_ref().map(|spec| Cgroup::create(spec, &limits)).transpose();
        let group = group.map_err(|error| Failure::new(Stage::Cgroup, error.errno, &error))?;
        let limit = policy.limits.memory_bytes;
        let watch = if group.is_none() { limit.map(MemoryWatch::new) } else { None };
        Ok(Self { limit, group, watch, look: Instant::now() + MEMORY_INTERVAL_NEAR })
    }

    /// The way into the group for the tree's first process.
    pub(crate) fn entrance(&self) -> Result<Option<Entrance>, Failure> {
        let entrance = self.group.as_ref().map(Cgroup::entrance).transpose();
        entrance.map_err(|error| Failure::new(Stage::Cgroup, error.errno, &error))
    }

    /// When to look next.
    pub(crate) fn due(&self) -> Option<Instant> {
        match (&self.group, &self.watch) {
            (Some(_), _) => self.limit.map(|_| self.look),
            (None, watch) => watch.as_ref().map(MemoryWatch::due),
        }
    }

    /// Looks, if it is time to; answers what is too much.
    pub(crate) fn look(&mut self) -> Option<Excess> {
        let now = Instant::now();
        if self.group.is_some() {
            if self.look > now {
                return None;
            }
            self.look = now + MEMORY_INTERVAL;
            return self.killed();
        }
        let watch = self.watch.as_mut().filter(|watch| watch.due() <= now)?;
        let peak = watch.measure(&descendants(getpid()))?;
        Some(Excess { limit: watch.limit(), peak })
    }

    /// Whether the kernel killed for want of memory: the truth about an end by `SIGKILL` that nobody asked for.
    pub(crate) fn killed(&self) -> Option<Excess> {
        let (group, limit) = (self.group.as_ref()?, self.limit?);
        (group.oom_kills() > 0)
            .then(|| Excess { limit, peak: group.peak_bytes().unwrap_or(limit).min(limit) })
    }

    /// What the whole tree used; without a group, what was waited for of it. The launcher itself is not in it.
    pub(crate) fn usage(&self, wall: Duration) -> Usage {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let wall_ms = millis(wall);
        let measured = self.watch.as_ref().map_or(0, MemoryWatch::peak);
        let waited_for = getrusage(UsageWho::RUSAGE_CHILDREN).ok();
        let cpu = waited_for.map_or(0, |used| (used.user_time() + used.system_time()).num_milliseconds());
        let largest = waited_for.map_or(0, |used| u64::try_from(used.max_rss()).unwrap_or(0) * 1024);
        let counted = self.group.as_ref();
        Usage {
            wall_ms,
            cpu_ms: counted.and_then(Cgroup::cpu_time).map_or(u64::try_from(cpu).unwrap_or(0), millis),
            peak_memory_bytes: counted.and_then(Cgroup::peak_bytes).unwrap_or_else(|| largest.max(measured)),
        }
    }

    /// Kills whatever is still in the group; the tree was killed before, so only what the kernel keeps is left.
    pub(crate) fn close(self) {
        if let Some(group) = self.group {
            // Dropped with the group's processes gone, it is removed; otherwise the node's next start sweeps it.
            let _ = group.kill_all();
        }
    }
}
