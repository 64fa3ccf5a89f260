//! The state of a plugin and how events change it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::events::{AttemptId, PluginEvent};
use super::manifest::Manifest;
use super::policy::{Granted, Leads};
use crate::domain::aggregate::Recorded;
use crate::domain::codec::pairs;
use crate::domain::ids::{Incarnation, Version};
use crate::domain::outcome::Cause;
use crate::limits::CIRCUIT_WINDOW;

/// A plugin; the default is one that does not exist. A changed shape, or a changed meaning of an event, is a new
/// [`SHAPE`](crate::domain::aggregate::Aggregate::SHAPE).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// What it is; `None` while it does not exist.
    pub manifest: Option<Manifest>,
    /// Where paths that it is granted lead by links; absent where nobody looked when it was registered.
    pub leads: Option<Leads>,
    /// Where it is in its lifecycle.
    pub status: Status,
    /// Attempts that hold a permit: how many programs, and in which node's life.
    #[serde(with = "pairs")]
    pub running: BTreeMap<AttemptId, Permit>,
    /// When recent crashes happened, without a success since; those older than the window are dropped.
    pub crashes: Vec<Timestamp>,
    /// Why its circuit is open, while it is.
    pub quarantined: Option<Quarantine>,
    /// Attempts it was admitted to.
    pub total: u64,
    /// Attempts that ended well.
    pub completed: u64,
    /// Attempts that ended otherwise.
    pub failed: u64,
    /// Why the last attempt that failed did.
    pub last_error: Option<Cause>,
    /// The version of its stream.
    pub version: Version,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// Where a plugin is in its lifecycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Known, never enabled.
    #[default]
    Registered,
    /// May be executed.
    Enabled,
    /// May not be executed for now.
    Disabled,
    /// Never executed again.
    Retired,
}

impl Status {
    /// The contract's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Retired => "retired",
        }
    }
}

/// An open circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The last of the crashes that opened it.
    pub cause: Cause,
    /// How many were counted.
    pub failures: u32,
    /// What the program logged last before that.
    pub log_tail: Vec<String>,
    /// Since when.
    pub since: Timestamp,
}

/// What an attempt holds of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// How many programs.
    pub programs: u32,
    /// The life of the node that runs them.
    pub incarnation: Incarnation,
}

impl Plugin {
    /// `healthy`, `backing_off` (crashed lately) or `quarantined`.
    #[must_use]
    pub fn health(&self, now: Timestamp) -> &'static str {
        if self.quarantined.is_some() {
            "quarantined"
        } else if self.recent_crashes(now) > 0 {
            "backing_off"
        } else {
            "healthy"
        }
    }

    /// Programs that hold a permit.
    #[must_use]
    pub fn programs_running(&self) -> u32 {
        self.running.values().map(|permit| permit.programs).sum()
    }

    /// Crashes within the circuit's window, without a success since.
    #[must_use]
    pub fn recent_crashes(&self, now: Timestamp) -> usize {
        self.crashes.iter().filter(|at| within_window(**at, now)).count()
    }

    pub(super) fn change(&mut self, event: &PluginEvent, recorded: Recorded) {
        match event {
            PluginEvent::PluginRegistered(e) => self.is_now(&e.manifest, &e.granted),
            PluginEvent::PluginRevised(e) => self.is_now(&e.manifest, &e.granted),
            PluginEvent::PluginEnabled(_) => self.status = Status::Enabled,
            PluginEvent::PluginDisabled(_) => self.status = Status::Disabled,
            PluginEvent::PluginRetired(_) => self.status = Status::Retired,
            PluginEvent::PluginExecutionStarted(e) => {
                let permit = Permit { programs: e.programs, incarnation: e.incarnation };
                self.running.insert(e.attempt.clone(), permit);
                self.total += 1;
            }
            PluginEvent::PluginExecutionCompleted(e) => {
                self.running.remove(&e.attempt);
                self.end(e.cause.as_ref(), recorded.at);
            }
            PluginEvent::PluginQuarantined(e) => {
                self.quarantined = Some(Quarantine {
                    cause: e.cause.clone(),
                    failures: e.failures,
                    log_tail: e.log_tail.clone(),
                    since: recorded.at,
                });
            }
            PluginEvent::PluginReleased(_) => {
                self.quarantined = None;
                self.crashes.clear();
            }
        }
        self.version = recorded.version;
        self.updated_at = Some(recorded.at);
    }

    fn is_now(&mut self, manifest: &Manifest, granted: &Granted) {
        self.manifest = Some(manifest.clone());
        self.leads.clone_from(&granted.leads);
    }

    fn end(&mut self, cause: Option<&Cause>, at: Timestamp) {
        let Some(cause) = cause else {
            self.completed += 1;
            self.crashes.clear();
            return;
        };
        self.failed += 1;
        self.last_error = Some(cause.clone());
        if cause.kind.opens_circuit() {
            self.crashes.retain(|crash| within_window(*crash, at));
            self.crashes.push(at);
        }
    }
}

fn within_window(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) < SignedDuration::try_from(CIRCUIT_WINDOW).expect("a minute fits")
}
