//! What must hold in every state, numbered as in ARCHITECTURE.md, and what must be reachable, so that it does not hold
//! for want of anything that happens.

use std::collections::BTreeSet;

use stateright::Property;

use crate::model::Shard;
use crate::state::{Fact, State, Stream};

/// All of them.
pub fn all() -> Vec<Property<Shard>> {
    vec![
        Property::always("S1", |_: &Shard, state: &State| {
            state.log.iter().all(|event| event.epoch == event.under)
        }),
        Property::always("S2", |_: &Shard, state: &State| {
            contiguous(state, Stream::Execution) && contiguous(state, Stream::Pipeline)
        }),
        Property::always("S3", |_: &Shard, state: &State| commands_once(state)),
        Property::always("S4", |_: &Shard, state: &State| {
            let rise = state.claims.is_sorted_by(|earlier, later| earlier < later);
            rise && state.nodes.iter().all(|node| node.dead || !node.buried)
        }),
        Property::always("S6", |_: &Shard, state: &State| {
            state.answered.iter().all(|command| state.is_stored(*command))
        }),
        Property::always("S7", |_: &Shard, state: &State| nothing_after_cancel(state)),
        Property::always("S9", |_: &Shard, state: &State| bookmark_in_order(state)),
        Property::sometimes(
            "a second attempt moves the bookmark under another epoch",
            |_: &Shard, state: &State| {
                state
                    .log
                    .iter()
                    .any(|event| event.epoch > 1 && matches!(event.fact, Fact::Moved { attempt: 2, .. }))
            },
        ),
        Property::sometimes("an execution whose bookmark moved is cancelled", |_: &Shard, state: &State| {
            let is = |wanted: fn(&Fact) -> bool| state.log.iter().any(|event| wanted(&event.fact));
            is(|fact| matches!(fact, Fact::Moved { .. })) && is(|fact| *fact == Fact::Cancelled)
        }),
        Property::sometimes(
            "a client's repeat is answered by the first outcome",
            |_: &Shard, state: &State| state.sent_again == 1 && state.answered.len() == 2,
        ),
    ]
}

fn contiguous(state: &State, stream: Stream) -> bool {
    let of_stream = state.log.iter().filter(|event| event.fact.stream() == stream);
    of_stream.zip(1..).all(|(event, version)| event.version == version)
}

fn commands_once(state: &State) -> bool {
    let mut seen = BTreeSet::new();
    state.log.iter().filter_map(|event| event.fact.command()).all(|command| seen.insert(command))
}

fn nothing_after_cancel(state: &State) -> bool {
    let after = state.log.iter().skip_while(|event| event.fact != Fact::Cancelled);
    !after.map(|event| event.fact).any(|fact| matches!(fact, Fact::Started { .. } | Fact::Moved { .. }))
}

fn bookmark_in_order(state: &State) -> bool {
    let (mut holder, mut position) = (0, 0);
    state.log.iter().all(|event| match event.fact {
        Fact::Acquired { attempt } => std::mem::replace(&mut holder, attempt) < attempt,
        Fact::Moved { attempt, to } => attempt == holder && std::mem::replace(&mut position, to) < to,
        _ => true,
    })
}
