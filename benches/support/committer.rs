//! A committer on PostgreSQL with nothing around it, and writers that keep it busy with what a command stores: one event
//! and the row of the command. Nothing here knows what is compared, and nothing prints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use flexcore::postgres::PostgresStore;
use flexcore_actors::domain::event::{NewEvent, Origin};
use flexcore_actors::domain::ids::{
    CommandId, CorrelationId, Epoch, EventId, ExecutionId, StreamId, Version,
};
use flexcore_actors::domain::integrity::leaf::LeafHash;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::{Append, AppendOutcome, CommandRecord, StreamAppend};
use flexcore_actors::ports::{EventStore, IdSource};
use flexcore_actors::runtime::committer::Committer;
use flexcore_actors::runtime::inspect::Inspector;
use flexcore_actors::runtime::supervisor::SupervisorHandle;
use flexcore_actors::testkit::conformance::own_all;

/// How long the committer has to end.
const DRAIN: Duration = Duration::from_secs(10);
/// The leaf before an event: to the benchmark one is as good as another.
const PREVIOUS: LeafHash = LeafHash([1; 32]);
/// A payload as large as that of a pause.
const PAYLOAD: &[u8] = b"\x80";

/// The committer and its writers.
pub struct BareCommitter {
    committer: Committer,
    supervisor: SupervisorHandle,
    epochs: Vec<Epoch>,
    writers: usize,
}

impl BareCommitter {
    /// Starts it on a database that is its own.
    pub async fn start(url: &str, writers: usize) -> Result<Self> {
        let store = Arc::new(PostgresStore::connect(url).await?);
        let (epochs, head) = (own_all(&*store, "bench").await, store.head().await?);
        let supervisor =
            SupervisorHandle::spawn("node", Inspector::new("bench"), Arc::new(System), None).await?;
        let committer = Committer::start("bench", store as _, Arc::new(System), &supervisor, head).await;
        Ok(Self { committer, supervisor, epochs, writers })
    }

    /// Lets every writer append to a stream of its own for a while, one event after the other; how many a second.
    pub async fn load(&self, time: Duration) -> Result<f64> {
        let began = Instant::now();
        let writers = (0..self.writers).map(|_| {
            let (committer, stream) =
                (self.committer.clone(), StreamId::execution(ExecutionId(System.uuid())));
            let epoch = self.epochs[usize::from(stream.shard().0)];
            tokio::spawn(async move {
                let mut version = 0;
                while began.elapsed() < time {
                    let commit = committer.append(unit(&stream, epoch, version)).await?;
                    ensure!(matches!(commit.outcome, AppendOutcome::Committed(_)), "not stored: {commit:?}");
                    version += 1;
                }
                Ok(version)
            })
        });
        let mut done = 0;
        for writer in writers.collect::<Vec<_>>() {
            done += writer.await??;
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }

    /// Ends it.
    pub async fn end(self) {
        self.supervisor.drain(DRAIN).await;
    }
}

fn unit(stream: &StreamId, epoch: Epoch, version: u64) -> Append {
    let event = NewEvent {
        id: EventId(System.uuid()),
        kind: "PipelinePaused",
        schema_version: 1,
        payload: Bytes::from_static(PAYLOAD),
    };
    let command = CommandRecord {
        id: CommandId(System.uuid()),
        request_hash: [7; 32],
        answer: Bytes::from_static(b"\x80"),
    };
    let correlation_id = CorrelationId(System.uuid());
    let origin = Origin { actor: "bench".to_owned(), correlation_id, causation_id: None };
    let part = StreamAppend {
        stream: stream.clone(),
        epoch: Some(epoch),
        expected: Version(version),
        previous: PREVIOUS,
        events: vec![event],
    };
    Append { command: Some(command), origin, streams: vec![part], wakeups: Vec::new() }
}
