//! What can be seen of the sealer without asking it: how far it has come, and what is wrong. Read by gateways, so that a
//! stuck store never holds up the one who looks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the sealer fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SealerState {
    /// It has not yet looked.
    #[default]
    Starting,
    /// All is well.
    Sealing,
    /// It could not do its work the last time; it tries again.
    Failing(String),
    /// The log contradicts what was sealed before: nothing is sealed until that is resolved.
    Alarm(String),
}

impl SealerState {
    /// In a word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Sealing => "sealing",
            Self::Failing(_) => "failing",
            Self::Alarm(_) => "alarm",
        }
    }

    /// What is wrong.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Sealing => None,
            Self::Failing(why) | Self::Alarm(why) => Some(why),
        }
    }
}

/// The sealer's figures.
#[derive(Debug, Default)]
pub struct SealerStatus {
    /// The size of the latest checkpoint in the store, as last seen.
    pub sealed: AtomicU64,
    /// The position of the last event, as last seen.
    pub position: AtomicU64,
    /// The size of the latest checkpoint that has its copy outside.
    pub published: AtomicU64,
    /// Checkpoints that this node sealed.
    pub seals: AtomicU64,
    /// Turns that failed.
    pub failures: AtomicU64,
    state: Mutex<SealerState>,
    outside: Mutex<Option<String>>,
}

impl SealerStatus {
    /// How it fares.
    #[must_use]
    pub fn state(&self) -> SealerState {
        lock(&self.state).clone()
    }

    /// What keeps the latest checkpoint from being copied outside.
    #[must_use]
    pub fn outside_error(&self) -> Option<String> {
        lock(&self.outside).clone()
    }

    /// Events that no checkpoint covers yet, as last seen.
    #[must_use]
    pub fn unsealed(&self) -> u64 {
        self.position.load(Relaxed).saturating_sub(self.sealed.load(Relaxed))
    }

    /// Sets how it fares; the answer is how it fared before.
    pub(super) fn set_state(&self, state: SealerState) -> SealerState {
        std::mem::replace(&mut *lock(&self.state), state)
    }

    pub(super) fn set_outside_error(&self, error: Option<String>) -> Option<String> {
        std::mem::replace(&mut *lock(&self.outside), error)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
