//! The pipeline aggregate: a named, revisioned definition, the admission of its executions, and its bookmarks.
//!
//! Draft → Active ⇄ Paused → Archived.

mod decide;
mod definition;
mod events;
mod read;
mod secrets;
mod state;
mod template;
#[cfg(test)]
mod tests;
mod validate;

pub use decide::PipelineCommand;
pub use definition::{
    Concurrency, DEFAULT_PRIORITY, Definition, OnConflict, Parameter, ParameterType, Step, StepProgram, When,
};
pub use events::{
    BookmarkAcquired, BookmarkAdvanced, BookmarkCleared, BookmarkSet, Outcome, PipelineActivated,
    PipelineArchived, PipelineCompleted, PipelineCreated, PipelineEvent, PipelinePaused, PipelineResumed,
    PipelineRevised, PipelineStarted,
};
pub use read::{read_definition, read_leniently};
pub use secrets::secret_problems;
pub use state::{Bookmark, Holder, Pipeline, Status};
pub use template::{Values, check_template, fill, secret_places};
pub use validate::{resolve_parameters, schema_problems, validate};
