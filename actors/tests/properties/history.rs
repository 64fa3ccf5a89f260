//! A recorded history: commands are decided, their events encoded, decoded and applied, as a store would do it.

use std::fmt::Debug;

use flexcore_actors::domain::aggregate::{Aggregate, Decision, Recorded, Rejection};
use flexcore_actors::domain::codec::{Encoded, EventSet, from_bytes, to_bytes};
use flexcore_actors::domain::ids::Version;
use jiff::{SignedDuration, Timestamp};

/// A snapshot is tried after every so many events: from each one on, everything after it is folded.
const SNAPSHOT_STEP: usize = 7;

/// An aggregate and everything that was recorded of it.
pub(crate) struct History<A: Aggregate> {
    pub(crate) state: A,
    pub(crate) events: Vec<A::Event>,
    pub(crate) now: Timestamp,
    stored: Vec<(Encoded, Recorded)>,
}

impl<A: Aggregate + Debug + PartialEq> History<A>
where
    A::Event: Debug + PartialEq,
{
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        Self { state: A::default(), events: Vec::new(), now, stored: Vec::new() }
    }

    /// Decides a command and records what it led to. A refusal must change nothing.
    pub(crate) fn submit(&mut self, command: A::Command) -> Result<Decision<A::Event>, Rejection> {
        self.now += SignedDuration::from_secs(1);
        let decision = self.state.decide(command, self.now)?;
        for event in &decision.events {
            self.record(event);
        }
        Ok(decision)
    }

    /// Encodes, decodes and applies one event.
    pub(crate) fn record(&mut self, event: &A::Event) {
        let encoded = event.encode();
        let version = Version(self.stored.len() as u64 + 1);
        let recorded = Recorded { version, at: self.now };
        let decoded = decode::<A>(&encoded);
        assert_eq!(*event, decoded, "an event must survive its encoding");
        self.state.apply(&decoded, recorded);
        self.stored.push((encoded, recorded));
        self.events.push(decoded);
    }

    /// Reads everything again from the start, as after a restart; and from a snapshot after any event, which must
    /// come to the same.
    pub(crate) fn replayed(&self) -> A {
        let mut state = A::default();
        let mut snapshots = vec![to_bytes(&state)];
        for (encoded, recorded) in &self.stored {
            state.apply(&decode::<A>(encoded), *recorded);
            snapshots.push(to_bytes(&state));
        }
        for (taken, snapshot) in snapshots.iter().enumerate().step_by(SNAPSHOT_STEP) {
            let mut recovered: A = from_bytes(snapshot).unwrap();
            for (encoded, recorded) in &self.stored[taken..] {
                recovered.apply(&decode::<A>(encoded), *recorded);
            }
            assert_eq!(recovered, state, "recovered from a snapshot at version {taken}");
        }
        state
    }
}

fn decode<A: Aggregate>(encoded: &Encoded) -> A::Event {
    A::Event::decode(encoded.kind, encoded.schema_version, &encoded.payload).unwrap()
}
