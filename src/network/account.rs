//! What became of a program's connections, in numbers and in words. Never in here: anything that was sent.

use super::limits::MOST_REFUSALS;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a program did with the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that reached their host.
    pub connections: u64,
    /// Bytes that the program sent.
    pub sent_bytes: u64,
    /// Bytes that it received.
    pub received_bytes: u64,
    /// What was refused it, at most [`MOST_REFUSALS`] different ones, in the order of their first time.
    pub refusals: Vec<Refusal>,
    /// How often something else was refused beyond those.
    pub more_refusals: u64,
}

/// A connection that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The host, as the program named it.
    pub host: String,
    /// The port; unknown where only the name was asked for.
    pub port: Option<u16>,
    /// Why.
    pub reason: Reason,
    /// How often.
    pub times: u64,
}

/// Why a connection was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The host is not granted.
    NotGranted,
    /// The name leads to an address that names must not lead to; which kind of address.
    Forbidden(String),
    /// The host could not be found or reached; what the system said.
    Failed(String),
}

impl Reason {
    /// Whether it was refused, rather than tried in vain.
    #[must_use]
    pub const fn is_denial(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotGranted => f.write_str("not granted"),
            Self::Forbidden(what) => write!(
                f,
                "its name leads to an address that only a grant of the address itself allows: {what}"
            ),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

/// Counts while the program runs.
#[derive(Debug, Default)]
pub(super) struct Account {
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    refused: Mutex<(Vec<Refusal>, u64)>,
}

impl Account {
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, host: &str, port: Option<u16>, reason: Reason) {
        let mut refused = self.refusals();
        let (known, more) = &mut *refused;
        let same =
            |refusal: &&mut Refusal| refusal.host == host && refusal.port == port && refusal.reason == reason;
        if let Some(refusal) = known.iter_mut().find(same) {
            refusal.times += 1;
        } else if known.len() < MOST_REFUSALS {
            known.push(Refusal { host: host.to_owned(), port, reason, times: 1 });
        } else {
            *more += 1;
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        let (refusals, more_refusals) = self.refusals().clone();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            connections: read(&self.connections),
            sent_bytes: read(&self.sent),
            received_bytes: read(&self.received),
            refusals,
            more_refusals,
        }
    }

    fn refusals(&self) -> MutexGuard<'_, (Vec<Refusal>, u64)> {
        // a list is whole after each of its operations
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, MOST_REFUSALS, Reason};

    #[test]
    fn a_program_that_tries_everything_fills_no_memory() {
        let account = Account::default();
        for _ in 0..3 {
            account.refused("a", Some(1), Reason::NotGranted);
        }
        for port in 0..200 {
            account.refused("b", Some(port), Reason::NotGranted);
        }
        let traffic = account.traffic();
        assert_eq!((traffic.refusals.len(), traffic.refusals[0].times), (MOST_REFUSALS, 3));
        assert_eq!(traffic.more_refusals, 200 - (MOST_REFUSALS as u64 - 1));
    }
}
