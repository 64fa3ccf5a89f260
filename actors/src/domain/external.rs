//! The streams `external-<name>`: what happened outside of FlexCore, as programs tell it. Whatever is published is taken
//! as it is. Never in here: who may publish (a plugin's manifest and the operator's policy say that).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aggregate::{Aggregate, Decision, Recorded, Rejection};
use super::codec::event_set;
use super::ids::{Category, ExecutionId, Name, Version};

/// Somebody told that something had happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPublished {
    /// What happened, in the publisher's own words, such as `orders.loaded`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whatever belongs to it.
    pub data: Value,
    /// The program that published it.
    pub by: Publisher,
}

/// A program of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub step: Name,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The plugin.
    pub plugin: Name,
}

event_set! {
    /// What can happen to an external stream.
    ExternalEvent {
        EventPublished = 1,
    }
}

/// What an external stream can be asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternalCommand {
    /// Keep this event.
    Publish(Box<EventPublished>),
}

/// An external stream; it begins with its first event. A changed shape, or a changed meaning of an event, is a new
/// [`SHAPE`](Aggregate::SHAPE).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The version of the stream, which is how many events it has.
    pub version: Version,
}

impl Aggregate for External {
    type Command = ExternalCommand;
    type Event = ExternalEvent;
    const CATEGORY: Category = Category::External;
    const SHAPE: u32 = 1;

    fn decide(&self, command: ExternalCommand, _: Timestamp) -> Result<Decision<ExternalEvent>, Rejection> {
        let ExternalCommand::Publish(event) = command;
        Ok(Decision::events(vec![(*event).into()]))
    }

    fn apply(&mut self, _: &ExternalEvent, recorded: Recorded) {
        self.version = recorded.version;
    }
}
