//! What runs on this node right now: live counters for views, and the handles to stop it. Never the truth about an
//! execution: that is in its events.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use crate::domain::ids::{ExecutionId, Name};
use crate::ports::plugin_host::Progress;

/// An attempt that runs on this node.
#[derive(Debug, Default)]
pub struct LiveAttempt {
    /// Its counters.
    pub progress: Arc<Progress>,
    programs: Mutex<Vec<(Name, Option<u32>)>>,
    waiting_for: Mutex<Option<String>>,
}

impl LiveAttempt {
    /// An attempt of these plugins, none of them started.
    #[must_use]
    pub fn new(plugins: impl Iterator<Item = Name>) -> Self {
        Self { programs: Mutex::new(plugins.map(|name| (name, None)).collect()), ..Self::default() }
    }

    /// A program was started.
    pub fn started(&self, program: usize, pid: u32) {
        if let Some((_, slot)) = lock(&self.programs).get_mut(program) {
            *slot = Some(pid);
        }
    }

    /// Its programs, with their process ids as far as they were started.
    #[must_use]
    pub fn programs(&self) -> Vec<(Name, Option<u32>)> {
        lock(&self.programs).clone()
    }

    /// What it waits for before it can start, for people.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        lock(&self.waiting_for).clone()
    }

    /// Says what it waits for; `None` when it goes on.
    pub fn wait_for(&self, what: Option<String>) {
        *lock(&self.waiting_for) = what;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All attempts that run on this node, and counters since it started.
#[derive(Debug, Default)]
pub struct Live {
    attempts: DashMap<(ExecutionId, Name), Arc<LiveAttempt>>,
    /// Executions that ended well.
    pub completed: AtomicU64,
    /// Executions that ended otherwise.
    pub failed: AtomicU64,
    /// Executions that were cancelled.
    pub cancelled: AtomicU64,
    /// Programs started.
    pub programs: AtomicU64,
    /// Records relayed by attempts that have ended.
    pub records: AtomicU64,
    /// Bytes relayed by attempts that have ended.
    pub bytes: AtomicU64,
    /// Runners alive.
    pub running: AtomicU64,
}

impl Live {
    /// Shows an attempt until the guard is dropped.
    #[must_use]
    pub fn show(self: &Arc<Self>, execution: ExecutionId, step: &Name, attempt: &Arc<LiveAttempt>) -> Shown {
        let key = (execution, step.clone());
        self.attempts.insert(key.clone(), Arc::clone(attempt));
        Shown { live: Arc::clone(self), key }
    }

    /// The attempt of a step that runs now.
    #[must_use]
    pub fn find(&self, execution: ExecutionId, step: &Name) -> Option<Arc<LiveAttempt>> {
        self.attempts.get(&(execution, step.clone())).map(|attempt| Arc::clone(&attempt))
    }
}

/// Keeps an attempt visible; adds its counters to the node's when it ends.
pub struct Shown {
    live: Arc<Live>,
    key: (ExecutionId, Name),
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((_, attempt)) = self.live.attempts.remove(&self.key) {
            self.live.records.fetch_add(Progress::get(&attempt.progress.records), Relaxed);
            self.live.bytes.fetch_add(Progress::get(&attempt.progress.bytes), Relaxed);
        }
    }
}
