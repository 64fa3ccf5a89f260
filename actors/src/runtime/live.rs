//! What runs on this node right now: live counters for views, and the handles to stop it. Never the truth about an
//! execution: that is in its events.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

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
    /// It has not begun: there is no node for it yet.
    unplaced: bool,
}

impl LiveAttempt {
    /// An attempt of these plugins, none of them started.
    #[must_use]
    pub fn new(plugins: impl Iterator<Item = Name>) -> Self {
        Self { programs: Mutex::new(plugins.map(|name| (name, None)).collect()), ..Self::default() }
    }

    /// One that cannot begin yet, and what it waits for.
    #[must_use]
    pub fn unplaced(plugins: impl Iterator<Item = Name>, waits_for: String) -> Self {
        Self { unplaced: true, waiting_for: Mutex::new(Some(waits_for)), ..Self::new(plugins) }
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

/// What can be seen of an attempt at one moment, to be shown on another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    step: Name,
    programs: Vec<(Name, Option<u32>)>,
    waiting_for: Option<String>,
    phase: Phase,
    records: u64,
    bytes: u64,
    upstream_ms: u64,
    downstream_ms: u64,
    fill_per_mille: u64,
}

impl Seen {
    fn of(step: &Name, attempt: &LiveAttempt) -> Self {
        let progress = &attempt.progress;
        Self {
            step: step.clone(),
            programs: attempt.programs(),
            waiting_for: attempt.waiting_for(),
            phase: attempt.phase(),
            records: Progress::get(&progress.records),
            bytes: Progress::get(&progress.bytes),
            upstream_ms: Progress::get(&progress.upstream_ms),
            downstream_ms: Progress::get(&progress.downstream_ms),
            fill_per_mille: Progress::get(&progress.fill_per_mille),
        }
    }

    fn into_attempt(self) -> (Name, LiveAttempt) {
        let progress = Progress {
            records: self.records.into(),
            bytes: self.bytes.into(),
            upstream_ms: self.upstream_ms.into(),
            downstream_ms: self.downstream_ms.into(),
            fill_per_mille: self.fill_per_mille.into(),
        };
        let attempt = LiveAttempt {
            progress: Arc::new(progress),
            programs: Mutex::new(self.programs),
            waiting_for: Mutex::new(self.waiting_for),
            phase: Mutex::new(self.phase),
            unplaced: false,
        };
        (self.step, attempt)
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
    /// Executions with a supervised runner, be it alive, backing off or quarantined, and how it is told to stop.
    claimed: DashMap<ExecutionId, CancellationToken>,
}

impl Live {
    /// Shows an attempt until the guard is dropped.
    #[must_use]
    pub fn show(self: &Arc<Self>, execution: ExecutionId, step: &Name, attempt: &Arc<LiveAttempt>) -> Shown {
        let key = (execution, step.clone());
        self.attempts.insert(key.clone(), Arc::clone(attempt));
        Shown { live: Arc::clone(self), key, attempt: Arc::clone(attempt) }
    }

    /// What can be seen now of an execution's attempts.
    #[must_use]
    pub fn seen(&self, execution: ExecutionId) -> Vec<Seen> {
        let own = self.attempts.iter().filter(|attempt| attempt.key().0 == execution);
        own.map(|attempt| Seen::of(&attempt.key().1, attempt.value())).collect()
    }

    /// What another node saw of its attempts, in the shape of one's own.
    #[must_use]
    pub fn of_another(execution: ExecutionId, seen: Vec<Seen>) -> Self {
        let live = Self::default();
        for (step, attempt) in seen.into_iter().map(Seen::into_attempt) {
            live.attempts.insert((execution, step), Arc::new(attempt));
        }
        live
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

    /// The one claim to run an execution on this node; `None` while someone has it. Whoever has it stops when `stop` is
    /// cancelled.
    #[must_use]
    pub fn claim(self: &Arc<Self>, execution: ExecutionId, stop: CancellationToken) -> Option<Claim> {
        match self.claimed.entry(execution) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                free.insert(stop);
                Some(Claim { live: Arc::clone(self), execution })
            }
        }
    }

    /// Tells the runners of some executions to stop once they run no attempt.
    pub fn stop(&self, which: impl Fn(ExecutionId) -> bool) {
        let runners = self.claimed.iter().filter(|runner| which(*runner.key()));
        runners.for_each(|runner| runner.cancel());
    }

    /// Whether any of some executions has a runner here.
    #[must_use]
    pub fn has_claimed(&self, which: impl Fn(ExecutionId) -> bool) -> bool {
        self.claimed.iter().any(|runner| which(*runner.key()))
    }

    /// The executions of which attempts run here.
    #[must_use]
    pub fn executing(&self) -> Vec<ExecutionId> {
        let begun = self.attempts.iter().filter(|attempt| !attempt.unplaced);
        begun.map(|attempt| attempt.key().0).collect()
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
