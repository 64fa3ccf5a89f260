//! Properties of the aggregates under random sequences of commands: no decision panics, every event survives its
//! encoding, folding the events again gives the same state, and the numbered invariants hold after each of them.
//!
//! Not here: single cases with exact texts (the unit tests beside each aggregate). proptest prints the smallest
//! failing sequence and keeps its seed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod execution;
mod history;
mod merkle;
mod pipeline;
mod plugin;
mod policy;

use flexcore_actors::domain::ids::{ExecutionId, Name};
use flexcore_actors::domain::outcome::{Cause, CauseKind};
use proptest::prelude::*;
use proptest::sample::select;

/// Sequences that each property tries: enough to reach every transition, few enough for every build.
const CASES: u32 = 256;
/// Commands of one sequence.
const COMMANDS: usize = 60;

fn config() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn execution_id(n: u128) -> ExecutionId {
    ExecutionId(uuid::Uuid::from_u128(n))
}

/// Any way to end, completion included.
fn end() -> impl Strategy<Value = Option<Cause>> {
    let kinds = [
        CauseKind::Exit,
        CauseKind::Signal,
        CauseKind::Oom,
        CauseKind::Timeout,
        CauseKind::ProtocolError,
        CauseKind::StartFailed,
        CauseKind::SandboxDenied,
        CauseKind::LostNode,
        CauseKind::CountsDiffer,
    ];
    let cause = select(kinds.to_vec()).prop_map(|kind| {
        Cause::new(kind, "it ended").with_detail(serde_json::json!({"code": 3, "é": [null, -1, 0.5]}))
    });
    prop_oneof![2 => Just(None), 3 => cause.prop_map(Some)]
}
