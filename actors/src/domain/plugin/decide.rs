//! What a plugin can be asked to do, and what comes of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::events::{
    AttemptId, PluginDisabled, PluginEnabled, PluginEvent, PluginExecutionCompleted, PluginExecutionStarted,
    PluginQuarantined, PluginRegistered, PluginReleased, PluginRetired, PluginRevised,
};
use super::manifest::Manifest;
use super::policy::Granted;
use super::state::{Permit, Plugin, Status};
use crate::domain::aggregate::{Aggregate, Answer, Decision, Recorded, Rejection};
use crate::domain::codec::EventSet;
use crate::domain::execution::{ExecutionEvent, ExecutionQueued};
use crate::domain::ids::{Category, ExecutionId, Incarnation, StreamId};
use crate::domain::outcome::{Cause, CauseKind, Usage};
use crate::limits::{CIRCUIT_FAILURES, LOG_TAIL_CHARS, LOG_TAIL_LINES};

/// What a plugin can be asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginCommand {
    /// Make it known with what it is granted, and allow its execution.
    Register(Box<Manifest>, Granted),
    /// Replace its manifest, and what it is granted.
    Revise(Box<Manifest>, Granted),
    /// Allow its execution.
    Enable,
    /// Refuse its execution for now.
    Disable,
    /// Never execute it again.
    Retire,
    /// Close its circuit.
    Release,
    /// Execute it alone: opens an execution stream.
    Execute {
        /// The new execution.
        execution: ExecutionId,
        /// Its first event.
        queued: Box<ExecutionQueued>,
    },
    /// Take a permit for an attempt.
    Admit {
        /// The attempt.
        attempt: AttemptId,
        /// How many programs.
        programs: u32,
        /// The life of the node that will run them.
        incarnation: Incarnation,
        /// What they are granted.
        granted: Granted,
    },
    /// Everything started for an attempt is gone.
    Complete {
        /// The attempt.
        attempt: AttemptId,
        /// The life of the node that ran it.
        incarnation: Incarnation,
        /// Why it did not complete.
        cause: Option<Cause>,
        /// What it used.
        usage: Usage,
        /// The last lines that it logged, when it crashed.
        log_tail: Vec<String>,
    },
    /// Nodes are gone: what they ran is lost.
    Lose {
        /// Their lives.
        ended: Vec<Incarnation>,
    },
}

impl Aggregate for Plugin {
    type Command = PluginCommand;
    type Event = PluginEvent;
    const CATEGORY: Category = Category::Plugin;
    const SHAPE: u32 = 3;

    fn decide(&self, command: PluginCommand, now: Timestamp) -> Result<Decision<PluginEvent>, Rejection> {
        let Some(manifest) = &self.manifest else {
            return match command {
                PluginCommand::Register(manifest, granted) => Ok(Decision::events(vec![
                    PluginRegistered { manifest: *manifest, granted }.into(),
                    PluginEnabled {}.into(),
                ])),
                _ => Err(Rejection::NotFound),
            };
        };
        match command {
            PluginCommand::Register(..) => Err(self.already_known(manifest)),
            PluginCommand::Revise(new, granted)
                if self.status != Status::Retired && *new == *manifest && granted.leads == self.leads =>
            {
                Ok(Decision::nothing())
            }
            PluginCommand::Revise(new, granted) => {
                self.unless_retired(manifest, PluginRevised { manifest: *new, granted }.into())
            }
            PluginCommand::Enable if self.status == Status::Enabled => Ok(Decision::nothing()),
            PluginCommand::Enable => self.unless_retired(manifest, PluginEnabled {}.into()),
            PluginCommand::Disable if self.status == Status::Disabled => Ok(Decision::nothing()),
            PluginCommand::Disable => self.unless_retired(manifest, PluginDisabled {}.into()),
            PluginCommand::Retire if self.status == Status::Retired => Ok(Decision::nothing()),
            PluginCommand::Retire => Ok(Decision::events(vec![PluginRetired {}.into()])),
            PluginCommand::Release if self.quarantined.is_none() => Ok(Decision::nothing()),
            PluginCommand::Release => Ok(Decision::events(vec![PluginReleased {}.into()])),
            PluginCommand::Execute { execution, queued } => self.execute(manifest, execution, *queued, now),
            PluginCommand::Admit { attempt, programs, incarnation, granted } => {
                self.admit(manifest, attempt, Permit { programs, incarnation }, granted, now)
            }
            PluginCommand::Complete { attempt, incarnation, cause, usage, log_tail } => {
                let completed = PluginExecutionCompleted { attempt, cause, usage };
                self.complete(manifest, completed, incarnation, log_tail, now)
            }
            PluginCommand::Lose { ended } => Ok(self.lose(manifest, &ended)),
        }
    }

    fn apply(&mut self, event: &PluginEvent, recorded: Recorded) {
        self.change(event, recorded);
    }
}

impl Plugin {
    fn already_known(&self, manifest: &Manifest) -> Rejection {
        let name = &manifest.name;
        Rejection::Exists(match self.status {
            Status::Retired => {
                format!("plugin {name} is retired and its name stays reserved: choose another name")
            }
            _ => format!("plugin {name} exists already: revise it with PUT, or choose another name"),
        })
    }

    fn unless_retired(
        &self,
        manifest: &Manifest,
        event: PluginEvent,
    ) -> Result<Decision<PluginEvent>, Rejection> {
        if self.status == Status::Retired {
            return Err(retired(manifest));
        }
        Ok(Decision::events(vec![event]))
    }

    /// Whether it may be executed at all, circuit and permits apart.
    fn executable(&self, manifest: &Manifest) -> Result<(), Rejection> {
        match self.status {
            Status::Enabled => Ok(()),
            Status::Retired => Err(retired(manifest)),
            status => {
                let (name, status) = (&manifest.name, status.as_str());
                Err(Rejection::WrongState(format!("plugin {name} is {status}: enable it first")))
            }
        }
    }

    fn execute(
        &self,
        manifest: &Manifest,
        execution: ExecutionId,
        queued: ExecutionQueued,
        now: Timestamp,
    ) -> Result<Decision<PluginEvent>, Rejection> {
        self.executable(manifest)?;
        let stream = StreamId::execution(execution);
        Ok(Decision {
            events: Vec::new(),
            opens: vec![(stream.clone(), vec![ExecutionEvent::from(queued).encode()])],
            wakeups: vec![(stream, Some(now))],
            answer: Answer { execution_id: Some(execution) },
        })
    }

    fn admit(
        &self,
        manifest: &Manifest,
        attempt: AttemptId,
        Permit { programs, incarnation }: Permit,
        granted: Granted,
        now: Timestamp,
    ) -> Result<Decision<PluginEvent>, Rejection> {
        match self.running.get(&attempt) {
            None => {}
            Some(permit) if permit.incarnation == incarnation => return Ok(Decision::nothing()),
            Some(_) => return Err(given_away(&attempt)),
        }
        self.executable(manifest)?;
        let name = &manifest.name;
        if programs > manifest.concurrency {
            let limit = manifest.concurrency;
            return Err(Rejection::WrongState(format!(
                "the step needs {programs} programs of plugin {name} at once, whose concurrency is {limit}: raise it"
            )));
        }
        if let Some(quarantine) = &self.quarantined {
            let why = &quarantine.cause.message;
            return Err(Rejection::Wait(format!(
                "plugin {name} is quarantined ({why}): an operator has to release it"
            )));
        }
        if self.programs_running() + programs > manifest.concurrency {
            return Err(Rejection::Wait(format!(
                "all {} permits of plugin {name} are in use",
                manifest.concurrency
            )));
        }
        if granted.capabilities != manifest.capabilities {
            // judged by a manifest of before: whoever asks judges again
            return Err(Rejection::Wait(format!("plugin {name} was revised meanwhile")));
        }
        let started = PluginExecutionStarted {
            attempt,
            programs,
            incarnation,
            plugin_version: manifest.version.clone(),
            capabilities: granted.capabilities,
            policy: granted.policy,
        };
        let mut decision = Decision::events(vec![started.into()]);
        decision.wakeups = vec![(StreamId::plugin(name), Some(now))];
        Ok(decision)
    }

    fn complete(
        &self,
        manifest: &Manifest,
        completed: PluginExecutionCompleted,
        incarnation: Incarnation,
        log_tail: Vec<String>,
        now: Timestamp,
    ) -> Result<Decision<PluginEvent>, Rejection> {
        match self.running.get(&completed.attempt) {
            None => return Ok(Decision::nothing()),
            Some(permit) if permit.incarnation != incarnation => {
                return Err(given_away(&completed.attempt));
            }
            Some(_) => {}
        }
        let failures = self.recent_crashes(now) + 1;
        let opens = self.quarantined.is_none() && failures >= CIRCUIT_FAILURES;
        let crash = completed.cause.clone().filter(|cause| cause.kind.opens_circuit() && opens);
        let mut decision = Decision::events(vec![completed.into()]);
        if let Some(cause) = crash {
            let failures = u32::try_from(failures).unwrap_or(u32::MAX);
            let log_tail = last_lines(log_tail);
            decision.events.push(PluginQuarantined { cause, failures, log_tail }.into());
        }
        if self.running.len() == 1 {
            decision.wakeups = vec![(StreamId::plugin(&manifest.name), None)];
        }
        Ok(decision)
    }

    fn lose(&self, manifest: &Manifest, ended: &[Incarnation]) -> Decision<PluginEvent> {
        let lost = self.running.iter().filter(|(_, permit)| ended.contains(&permit.incarnation));
        let events: Vec<PluginEvent> = lost
            .map(|(attempt, _)| {
                let cause = Cause::new(CauseKind::LostNode, "the node that ran it ended without a word");
                PluginExecutionCompleted {
                    attempt: attempt.clone(),
                    cause: Some(cause),
                    usage: Usage::default(),
                }
                .into()
            })
            .collect();
        let clears = events.len() == self.running.len();
        let mut decision = Decision::events(events);
        if clears {
            decision.wakeups = vec![(StreamId::plugin(&manifest.name), None)];
        }
        decision
    }
}

/// As much of a log as an event may hold.
fn last_lines(mut lines: Vec<String>) -> Vec<String> {
    lines.drain(..lines.len().saturating_sub(LOG_TAIL_LINES));
    for line in &mut lines {
        if let Some((end, _)) = line.char_indices().nth(LOG_TAIL_CHARS) {
            line.truncate(end);
            line.push('…');
        }
    }
    lines
}

/// **S8:** an attempt runs in the one life of a node that was admitted to it.
fn given_away(attempt: &AttemptId) -> Rejection {
    let AttemptId { execution, step, attempt } = attempt;
    Rejection::Stale(format!(
        "attempt {attempt} of step {step} of execution {execution} was given to another node"
    ))
}

/// Nothing but a new name helps: a retired plugin stays retired.
fn retired(manifest: &Manifest) -> Rejection {
    Rejection::WrongState(format!("plugin {} is retired: register another under a new name", manifest.name))
}
