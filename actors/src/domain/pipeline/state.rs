//! The state of a pipeline and how events change it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{Definition, OnConflict, Step};
use super::events::PipelineEvent;
use crate::domain::aggregate::Recorded;
use crate::domain::codec::maybe_null;
use crate::domain::ids::{ExecutionId, Name, Version};

/// A pipeline; the default is one that does not exist. A changed shape, or a changed meaning of an event, is a new
/// [`SHAPE`](crate::domain::aggregate::Aggregate::SHAPE).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// What it does; `None` while it does not exist.
    pub definition: Option<Definition>,
    /// How often it was defined, from 1.
    pub revision: u64,
    /// Where it is in its lifecycle.
    pub status: Status,
    /// Executions that have not ended, oldest first: the first of them are admitted, the others wait.
    pub open: Vec<ExecutionId>,
    /// Its bookmarks by name.
    pub bookmarks: BTreeMap<String, Bookmark>,
    /// The latest execution.
    pub last_execution: Option<ExecutionId>,
    /// The version of its stream.
    pub version: Version,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// Where a pipeline is in its lifecycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Defined; can be tried by hand.
    #[default]
    Draft,
    /// In use.
    Active,
    /// Starts nothing for now.
    Paused,
    /// Never starts again.
    Archived,
}

impl Status {
    /// The contract's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Archived => "archived",
        }
    }
}

/// How far a step has durably come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bookmark {
    /// The step.
    pub step: Name,
    /// The Singer state; `None` before the first and after a clear.
    #[serde(with = "maybe_null")]
    pub state: Option<Value>,
    /// The execution that reached it; `None` when an operator set it.
    pub reached_by: Option<ExecutionId>,
    /// When the state was stored.
    pub updated_at: Timestamp,
    /// The stream's version at which the state was stored.
    pub version: Version,
    /// Who may advance it.
    pub holder: Option<Holder>,
}

/// Who may advance a bookmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt of the step.
    pub attempt: u32,
    /// The last state it stored; the next must be above.
    pub sequence: u64,
}

impl Pipeline {
    /// Whether an open execution may begin now.
    #[must_use]
    pub fn admits(&self, execution: ExecutionId) -> bool {
        self.status != Status::Paused && self.open.iter().take(self.room()).any(|id| *id == execution)
    }

    /// The open executions that have to make room for this one: the oldest, as many as there are too many.
    #[must_use]
    pub fn replaced_by(&self, execution: ExecutionId) -> &[ExecutionId] {
        let replaces =
            self.definition.as_ref().is_some_and(|d| d.concurrency.on_conflict == OnConflict::Replace);
        let place = self.open.iter().position(|id| *id == execution).filter(|_| replaces);
        &self.open[..place.map_or(0, |place| (place + 1).saturating_sub(self.room()))]
    }

    fn room(&self) -> usize {
        let room = self.definition.as_ref().map_or(1, |d| d.concurrency.executions);
        usize::try_from(room).unwrap_or(usize::MAX).max(1)
    }

    /// A step of the present revision.
    #[must_use]
    pub fn step(&self, name: &Name) -> Option<&Step> {
        self.definition.as_ref()?.steps.iter().find(|step| step.name == *name)
    }

    pub(super) fn change(&mut self, event: &PipelineEvent, recorded: Recorded) {
        self.version = recorded.version;
        self.updated_at = Some(recorded.at);
        match event {
            PipelineEvent::PipelineCreated(e) => {
                self.definition = Some(e.definition.clone());
                self.revision = 1;
                self.created_at = Some(recorded.at);
            }
            PipelineEvent::PipelineRevised(e) => {
                self.definition = Some(e.definition.clone());
                self.revision = e.revision;
            }
            PipelineEvent::PipelineActivated(_) | PipelineEvent::PipelineResumed(_) => {
                self.status = Status::Active
            }
            PipelineEvent::PipelinePaused(_) => self.status = Status::Paused,
            PipelineEvent::PipelineArchived(_) => self.status = Status::Archived,
            PipelineEvent::PipelineStarted(e) => {
                self.open.push(e.execution);
                self.last_execution = Some(e.execution);
            }
            PipelineEvent::PipelineCompleted(e) => {
                self.open.retain(|id| *id != e.execution);
                let of_it = |b: &&mut Bookmark| b.holder.is_some_and(|h| h.execution == e.execution);
                self.bookmarks.values_mut().filter(of_it).for_each(|b| b.holder = None);
            }
            PipelineEvent::BookmarkAcquired(e) => {
                let holder = Holder { execution: e.execution, attempt: e.attempt, sequence: 0 };
                self.bookmark(&e.name, &e.step, recorded).holder = Some(holder);
            }
            PipelineEvent::BookmarkAdvanced(e) => {
                let bookmark = self.bookmark(&e.name, &e.step, recorded);
                bookmark.store(Some(e.state.clone()), Some(e.execution), recorded);
                let holder = Holder { execution: e.execution, attempt: e.attempt, sequence: e.sequence };
                bookmark.holder = Some(holder);
            }
            PipelineEvent::BookmarkSet(e) => {
                self.bookmark(&e.name, &e.step, recorded).store(Some(e.state.clone()), None, recorded);
            }
            PipelineEvent::BookmarkCleared(e) => {
                self.bookmark(&e.name, &e.step, recorded).store(None, None, recorded)
            }
        }
    }

    fn bookmark(&mut self, name: &str, step: &Name, recorded: Recorded) -> &mut Bookmark {
        let bookmark = self.bookmarks.entry(name.to_owned()).or_insert_with(|| Bookmark {
            step: step.clone(),
            state: None,
            reached_by: None,
            updated_at: recorded.at,
            version: recorded.version,
            holder: None,
        });
        bookmark.step.clone_from(step);
        bookmark
    }
}

impl Bookmark {
    fn store(&mut self, state: Option<Value>, reached_by: Option<ExecutionId>, recorded: Recorded) {
        self.state = state;
        self.reached_by = reached_by;
        self.updated_at = recorded.at;
        self.version = recorded.version;
    }
}
