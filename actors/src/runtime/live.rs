//! What runs on this node right now: live counters for views, and the handles to stop it. Never the truth about an
//! execution: that is in its events.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use super::views::Phase;
use crate::domain::ids::{ExecutionId, Name};
use crate::ports::plugin_host::Progress;

/// An attempt that runs on this node.
#[derive(Debug, Default)]
pub struct LiveAttempt {
    /// Its counters.
    pub progress: Arc<Progress>,
    programs: Mutex<Vec<(Name, Option<u32>)>>,
    waiting_for: Mutex<Option<String>>,
    phase: Mutex<Phase>,
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
        self.enter(Phase::Executing);
    }

    /// Says where it is now.
    pub fn enter(&self, phase: Phase) {
        *lock(&self.phase) = phase;
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *lock(&self.phase)
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
    /// Runners alive: between its spawn and its end of whatever kind each holds an [`Alive`].
    running: AtomicU64,
    /// Executions with a supervised runner, be it alive, backing off or quarantined.
    claimed: DashMap<ExecutionId, ()>,
}

impl Live {
    /// Shows an attempt until the guard is dropped.
    #[must_use]
    pub fn show(self: &Arc<Self>, execution: ExecutionId, step: &Name, attempt: &Arc<LiveAttempt>) -> Shown {
        let key = (execution, step.clone());
        self.attempts.insert(key.clone(), Arc::clone(attempt));
        Shown { live: Arc::clone(self), key, attempt: Arc::clone(attempt) }
    }

    /// How many runners are alive.
    #[must_use]
    pub fn runners(&self) -> u64 {
        self.running.load(Relaxed)
    }

    /// Counts a runner until the guard is dropped, however the runner ends.
    #[must_use]
    pub fn alive(self: &Arc<Self>) -> Alive {
        self.running.fetch_add(1, Relaxed);
        Alive(Arc::clone(self))
    }

    /// The one claim to run an execution on this node; `None` while someone has it.
    #[must_use]
    pub fn claim(self: &Arc<Self>, execution: ExecutionId) -> Option<Claim> {
        let free = self.claimed.insert(execution, ()).is_none();
        free.then(|| Claim { live: Arc::clone(self), execution })
    }

    /// Whether someone has the claim to run an execution.
    #[must_use]
    pub fn is_claimed(&self, execution: ExecutionId) -> bool {
        self.claimed.contains_key(&execution)
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
    attempt: Arc<LiveAttempt>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        // the next attempt may be shown already when this one was torn down with its runner
        self.live.attempts.remove_if(&self.key, |_, shown| Arc::ptr_eq(shown, &self.attempt));
        self.live.records.fetch_add(Progress::get(&self.attempt.progress.records), Relaxed);
        self.live.bytes.fetch_add(Progress::get(&self.attempt.progress.bytes), Relaxed);
    }
}

/// A runner that is alive.
pub struct Alive(Arc<Live>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// The claim to run an execution, until it is dropped.
pub struct Claim {
    live: Arc<Live>,
    execution: ExecutionId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.live.claimed.remove(&self.execution);
    }
}
