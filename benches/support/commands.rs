//! Commands as users' requests make them. Nothing here sends or measures.

use flexcore_actors::domain::ids::CorrelationId;
use flexcore_actors::ports::IdSource;
use flexcore_actors::ports::clock::System;
use flexcore_actors::runtime::api::{Command, CommandKind, Context};
use serde_json::Value;

/// A command whose id is the node's to give.
pub fn command(kind: CommandKind, name: &str, payload: Value) -> Command {
    let correlation_id = CorrelationId(System.uuid());
    let context = Context { actor: "bench".to_owned(), correlation_id, command_id: None, if_match: None };
    Command { kind, aggregate_id: name.to_owned(), payload, context }
}
