//! What a simulated node has and never uses: programs, their logs, and a log that is sealed. Never anything that counts.

use std::ops::Range;
use std::sync::Arc;

use flexcore_actors::domain::ids::{ExecutionId, StreamId};
use flexcore_actors::domain::integrity::merkle::{Hash, Tile};
use flexcore_actors::domain::outcome::{AttemptReport, Cause, CauseKind};
use flexcore_actors::domain::plugin::Manifest;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::integrity_store::{LogState, Seal, SealOutcome, StoredCheckpoint, StreamEnd};
use flexcore_actors::ports::log_store::LogLine;
use flexcore_actors::ports::plugin_host::{AttemptEnd, Examination, HostEvent, PipeSpec, Progress};
use flexcore_actors::ports::{BoxFuture, IntegrityStore, LogStore, PluginHost};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runs nothing, keeps nothing, and has nothing to seal.
pub struct Idle;

impl PluginHost for Idle {
    fn run<'a>(
        &'a self,
        _: PipeSpec,
        _: mpsc::Sender<HostEvent>,
        _: Arc<Progress>,
        _: CancellationToken,
    ) -> BoxFuture<'a, AttemptEnd> {
        let cause = Some(Cause::new(CauseKind::StartFailed, "nothing runs in a simulation"));
        Box::pin(async move { AttemptEnd { cause, report: AttemptReport::default() } })
    }

    fn prepare<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Result<(), Cause>> {
        Box::pin(async { Ok(()) })
    }

    fn examine<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Examination> {
        Box::pin(async { Examination::default() })
    }
}

impl LogStore for Idle {
    fn append(&self, _: ExecutionId, _: &[LogLine]) {}

    fn read(
        &self,
        _: ExecutionId,
        after: u64,
        _: usize,
    ) -> BoxFuture<'_, std::io::Result<(Vec<LogLine>, u64)>> {
        Box::pin(async move { Ok((Vec::new(), after)) })
    }
}

/// A log that seems empty to the sealer.
impl IntegrityStore for Idle {
    fn log_state(&self) -> BoxFuture<'_, Result<LogState, StoreError>> {
        Box::pin(async { Ok(LogState::default()) })
    }

    fn leaves(&self, _: Range<u64>) -> BoxFuture<'_, Result<Vec<Hash>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn tiles(&self, _: u8, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Tile>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn tile_roots(&self, _: u8, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Hash>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn checkpoints(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<StoredCheckpoint>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn stream_ends<'a>(
        &'a self,
        _: Option<&'a StreamId>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEnd>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn seal(&self, _: Arc<Seal>) -> BoxFuture<'_, Result<SealOutcome, StoreError>> {
        Box::pin(async { Ok(SealOutcome::Behind) })
    }
}
