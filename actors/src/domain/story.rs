//! The history of one aggregate in a unit test: commands go in, events come out and are applied, time passes by
//! hand. Never used outside tests.

use std::fmt::Debug;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::aggregate::{Aggregate, Decision, Recorded, Rejection};
use super::ids::{ExecutionId, Name, Version};

/// An aggregate, and the time and version at which its next event is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Story<A> {
    pub(crate) state: A,
    pub(crate) now: Timestamp,
    version: u64,
}

impl<A: Aggregate + Debug> Story<A>
where
    A::Event: Debug,
{
    /// Of an aggregate that does not exist yet, at midnight of 2026-01-01 UTC.
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        Self { state: A::default(), now, version: 0 }
    }

    /// Gives a command that has to be accepted; what it decided was applied.
    pub(crate) fn decides(&mut self, command: A::Command) -> Decision<A::Event> {
        let decision = self.state.decide(command, self.now).unwrap_or_else(|rejection| {
            panic!("refused: {rejection}; state: {:?}", self.state);
        });
        for event in &decision.events {
            self.record(event.clone());
        }
        decision
    }

    /// The events of a command that has to be accepted.
    pub(crate) fn does(&mut self, command: A::Command) -> Vec<A::Event> {
        self.decides(command).events
    }

    /// The reason why a command is refused.
    pub(crate) fn refuses(&self, command: A::Command) -> Rejection {
        self.state.decide(command, self.now).expect_err("the command has to be refused")
    }

    /// Applies an event.
    pub(crate) fn record(&mut self, event: impl Into<A::Event>) {
        self.version += 1;
        self.state.apply(&event.into(), Recorded { version: Version(self.version), at: self.now });
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += SignedDuration::try_from(time).unwrap();
    }
}

/// A valid name.
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The n-th execution.
pub(crate) fn execution(n: u128) -> ExecutionId {
    ExecutionId(uuid::Uuid::from_u128(n))
}
