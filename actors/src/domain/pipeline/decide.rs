//! What a pipeline can be asked to do, and what comes of it.
//!
//! **S9:** a bookmark only moves forward in the order of the one attempt that holds it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::definition::{Definition, OnConflict};
use super::events::{
    BookmarkAcquired, BookmarkAdvanced, BookmarkCleared, BookmarkSet, Outcome, PipelineActivated,
    PipelineArchived, PipelineCompleted, PipelineCreated, PipelineEvent, PipelinePaused, PipelineResumed,
    PipelineRevised, PipelineStarted,
};
use super::state::{Holder, Pipeline, Status};
use crate::domain::aggregate::{Aggregate, Answer, Decision, Recorded, Rejection};
use crate::domain::codec::EventSet;
use crate::domain::execution::{ExecutionEvent, ExecutionQueued};
use crate::domain::ids::{Category, ExecutionId, Name, StreamId};
use crate::domain::outcome::Cause;
use crate::limits::MAX_QUEUED_EXECUTIONS;

/// What a pipeline can be asked to do. Definitions were validated against the plugins before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineCommand {
    /// Come into being, as a draft.
    Create(Box<Definition>),
    /// Take another definition.
    Revise(Box<Definition>),
    /// Leave the draft.
    Activate,
    /// Start nothing until resumed.
    Pause,
    /// Go on.
    Resume,
    /// Never start again.
    Archive,
    /// Start an execution.
    Start {
        /// Its id.
        execution: ExecutionId,
        /// Its parameters, defaults filled in.
        parameters: Map<String, Value>,
        /// Whether its first attempts ignore the bookmarks.
        from_scratch: bool,
    },
    /// An execution ended.
    Complete {
        /// The execution.
        execution: ExecutionId,
        /// How.
        outcome: Outcome,
        /// Why it did not complete.
        cause: Option<Cause>,
    },
    /// Hold a bookmark for an attempt.
    AcquireBookmark {
        /// The bookmark.
        name: String,
        /// The step.
        step: Name,
        /// The execution.
        execution: ExecutionId,
        /// The attempt.
        attempt: u32,
    },
    /// The holder reached a state.
    AdvanceBookmark(Box<BookmarkAdvanced>),
    /// Set a bookmark by hand.
    SetBookmark {
        /// The step.
        step: Name,
        /// The Singer state.
        state: Value,
    },
    /// Forget a bookmark.
    ClearBookmark {
        /// The step.
        step: Name,
    },
}

impl Aggregate for Pipeline {
    type Command = PipelineCommand;
    type Event = PipelineEvent;
    const CATEGORY: Category = Category::Pipeline;
    const SHAPE: u32 = 1;

    fn decide(&self, command: PipelineCommand, now: Timestamp) -> Result<Decision<PipelineEvent>, Rejection> {
        let Some(definition) = &self.definition else {
            return match command {
                PipelineCommand::Create(definition) => {
                    Ok(Decision::events(vec![PipelineCreated { definition: *definition }.into()]))
                }
                _ => Err(Rejection::NotFound),
            };
        };
        match command {
            PipelineCommand::Create(_) => Err(self.already_there(definition)),
            PipelineCommand::Revise(new) => self.revise(definition, *new),
            PipelineCommand::Activate => self.activate(definition),
            PipelineCommand::Pause => self.pause(definition),
            PipelineCommand::Resume => self.resume(definition),
            PipelineCommand::Archive if self.status == Status::Archived => Ok(Decision::nothing()),
            PipelineCommand::Archive => Ok(Decision::events(vec![PipelineArchived {}.into()])),
            PipelineCommand::Start { execution, parameters, from_scratch } => {
                self.start(definition, execution, parameters, from_scratch, now)
            }
            PipelineCommand::Complete { execution, outcome, cause } => {
                Ok(self.complete(execution, outcome, cause))
            }
            PipelineCommand::AcquireBookmark { name, step, execution, attempt } => {
                self.acquire_bookmark(name, step, execution, attempt)
            }
            PipelineCommand::AdvanceBookmark(advanced) => self.advance_bookmark(*advanced),
            PipelineCommand::SetBookmark { step, state } => {
                let name = self.free_bookmark(definition, &step)?;
                Ok(Decision::events(vec![BookmarkSet { name, step, state }.into()]))
            }
            PipelineCommand::ClearBookmark { step } => self.clear_bookmark(definition, step),
        }
    }

    fn apply(&mut self, event: &PipelineEvent, recorded: Recorded) {
        self.change(event, recorded);
    }
}

type Decided = Result<Decision<PipelineEvent>, Rejection>;

impl Pipeline {
    fn already_there(&self, definition: &Definition) -> Rejection {
        let name = &definition.name;
        Rejection::Exists(match self.status {
            Status::Archived => {
                format!("pipeline {name} is archived and its name stays reserved: choose another name")
            }
            _ => format!("pipeline {name} exists already: revise it with PUT, or choose another name"),
        })
    }

    fn wrong_state(&self, definition: &Definition, wish: &str) -> Rejection {
        let (name, status) = (&definition.name, self.status.as_str());
        let cure = match self.status {
            Status::Draft => "activate it first",
            Status::Active => "pause it first",
            Status::Paused => "resume it first",
            Status::Archived => "create another under a new name",
        };
        Rejection::WrongState(format!("pipeline {name} is {status} and cannot be {wish}: {cure}"))
    }

    fn revise(&self, definition: &Definition, new: Definition) -> Decided {
        if self.status == Status::Archived {
            return Err(self.wrong_state(definition, "revised"));
        }
        if new == *definition {
            return Ok(Decision::nothing());
        }
        Ok(Decision::events(vec![PipelineRevised { revision: self.revision + 1, definition: new }.into()]))
    }

    fn activate(&self, definition: &Definition) -> Decided {
        match self.status {
            Status::Active => Ok(Decision::nothing()),
            Status::Draft => Ok(Decision::events(vec![PipelineActivated {}.into()])),
            Status::Paused => Ok(Decision::events(vec![PipelineResumed {}.into()])),
            Status::Archived => Err(self.wrong_state(definition, "activated")),
        }
    }

    fn pause(&self, definition: &Definition) -> Decided {
        match self.status {
            Status::Paused => Ok(Decision::nothing()),
            Status::Active => Ok(Decision::events(vec![PipelinePaused {}.into()])),
            Status::Draft | Status::Archived => Err(self.wrong_state(definition, "paused")),
        }
    }

    fn resume(&self, definition: &Definition) -> Decided {
        match self.status {
            Status::Active => Ok(Decision::nothing()),
            Status::Paused => Ok(Decision::events(vec![PipelineResumed {}.into()])),
            Status::Draft | Status::Archived => Err(self.wrong_state(definition, "resumed")),
        }
    }

    fn start(
        &self,
        definition: &Definition,
        execution: ExecutionId,
        parameters: Map<String, Value>,
        from_scratch: bool,
        now: Timestamp,
    ) -> Decided {
        if matches!(self.status, Status::Paused | Status::Archived) {
            return Err(self.wrong_state(definition, "started"));
        }
        let replaces = self.make_room(definition)?;
        let queued = ExecutionQueued {
            execution,
            pipeline: Some(definition.name.clone()),
            plugin: None,
            revision: Some(self.revision),
            steps: definition.steps.clone(),
            parameters,
            from_scratch,
        };
        let stream = StreamId::execution(execution);
        Ok(Decision {
            events: vec![PipelineStarted { execution, revision: self.revision, replaces }.into()],
            opens: vec![(stream.clone(), vec![ExecutionEvent::from(queued).encode()])],
            wakeups: vec![(stream, Some(now))],
            answer: Answer { execution_id: Some(execution) },
        })
    }

    /// The executions that one more replaces; none while there is room, or when it waits.
    fn make_room(&self, definition: &Definition) -> Result<Vec<ExecutionId>, Rejection> {
        let (name, open) = (&definition.name, self.open.len());
        let room = usize::try_from(definition.concurrency.executions).unwrap_or(usize::MAX).max(1);
        let Some(waiting) = open.checked_sub(room) else { return Ok(Vec::new()) };
        match definition.concurrency.on_conflict {
            OnConflict::Reject => Err(Rejection::WrongState(format!(
                "pipeline {name} has {open} open executions, and its concurrency is {room}: wait for one to end, or cancel it"
            ))),
            // also of those that replace others: a program that takes its time to end must not let the list grow
            _ if waiting >= MAX_QUEUED_EXECUTIONS => {
                Err(Rejection::Overloaded(format!("executions of pipeline {name}")))
            }
            OnConflict::Replace => Ok(self.open[..=waiting].to_vec()),
            OnConflict::Queue => Ok(Vec::new()),
        }
    }

    fn complete(
        &self,
        execution: ExecutionId,
        outcome: Outcome,
        cause: Option<Cause>,
    ) -> Decision<PipelineEvent> {
        let mut decision = Decision::nothing();
        if self.open.contains(&execution) {
            decision.events.push(PipelineCompleted { execution, outcome, cause }.into());
        }
        decision.wakeups = vec![(StreamId::execution(execution), None)];
        decision
    }

    /// A bookmark is held to the end of its execution. The oldest open execution gets every bookmark it asks for and
    /// the others wait, so that no two can each hold what the other waits for.
    fn acquire_bookmark(&self, name: String, step: Name, execution: ExecutionId, attempt: u32) -> Decided {
        if !self.open.contains(&execution) {
            return Err(Rejection::Stale(format!("execution {execution} is not open: it has ended")));
        }
        match self.bookmarks.get(&name).and_then(|b| b.holder) {
            Some(holder) if holder.execution != execution => {
                let other = holder.execution;
                Err(Rejection::Wait(format!("bookmark {name} is held by execution {other}")))
            }
            Some(holder) if holder.attempt > attempt => {
                let (held, step) = (holder.attempt, &step);
                Err(Rejection::Stale(format!(
                    "bookmark {name} is held by attempt {held} of step {step}, which is later than {attempt}"
                )))
            }
            Some(holder) if holder.attempt == attempt => Ok(Decision::nothing()),
            None if self.open.first() != Some(&execution) => Err(Rejection::Wait(format!(
                "bookmark {name} goes to the oldest open execution of the pipeline first"
            ))),
            _ => Ok(Decision::events(vec![BookmarkAcquired { name, step, execution, attempt }.into()])),
        }
    }

    fn advance_bookmark(&self, advanced: BookmarkAdvanced) -> Decided {
        let bookmark = self.bookmarks.get(&advanced.name);
        let holder = bookmark.and_then(|b| b.holder);
        let of_it =
            Holder { execution: advanced.execution, attempt: advanced.attempt, sequence: advanced.sequence };
        // it was stored before, but its holder was not told
        if holder == Some(of_it) && bookmark.is_some_and(|b| b.state.as_ref() == Some(&advanced.state)) {
            return Ok(Decision::nothing());
        }
        let is_holder = holder.is_some_and(|h| {
            h.execution == advanced.execution
                && h.attempt == advanced.attempt
                && h.sequence < advanced.sequence
        });
        if !is_holder || !self.open.contains(&advanced.execution) {
            let BookmarkAdvanced { name, step, attempt, sequence, .. } = &advanced;
            return Err(Rejection::Stale(format!(
                "attempt {attempt} of step {step} does not hold bookmark {name}, or state {sequence} came too late"
            )));
        }
        // "no state" is what targets print before their first: it must not wipe what was reached
        if advanced.state.is_null() || advanced.state.as_object().is_some_and(Map::is_empty) {
            return Ok(Decision::nothing());
        }
        Ok(Decision::events(vec![advanced.into()]))
    }

    /// The bookmark's name of a step, when nobody holds it.
    fn free_bookmark(&self, definition: &Definition, step: &Name) -> Result<String, Rejection> {
        let found = self.step(step).map(|s| s.bookmark_name(&definition.name));
        let name = found.ok_or(Rejection::NotFound)?;
        match self.bookmarks.get(&name).and_then(|b| b.holder) {
            Some(holder) => {
                let execution = holder.execution;
                Err(Rejection::WrongState(format!(
                    "bookmark {name} is held by execution {execution}: wait for its end, or cancel it"
                )))
            }
            None => Ok(name),
        }
    }

    fn clear_bookmark(&self, definition: &Definition, step: Name) -> Decided {
        let name = self.free_bookmark(definition, &step)?;
        if self.bookmarks.get(&name).is_none_or(|b| b.state.is_none()) {
            return Ok(Decision::nothing());
        }
        Ok(Decision::events(vec![BookmarkCleared { name, step }.into()]))
    }
}
