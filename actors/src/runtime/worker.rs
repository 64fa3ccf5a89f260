//! The worker: carries out one attempt of a step, from the permits of its plugins to the end of everything it
//! started. It records in the plugins' and the pipeline's streams; how the attempt ended is the runner's to record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::aggregate::SubmitError;
use super::bookmark::BookmarkWriter;
use super::live::LiveAttempt;
use super::services::Services;
use crate::domain::aggregate::Rejection;
use crate::domain::execution::Execution;
use crate::domain::ids::{CorrelationId, ExecutionId, Name};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind, ProgramReport, Usage};
use crate::domain::pipeline::{Step, StepProgram, Values, fill};
use crate::domain::plugin::{Manifest, Protocol};
use crate::limits::{BOOKMARK_INTERVAL, STOP_GRACE};
use crate::ports::plugin_host::{AttemptEnd, HostEvent, PipeSpec, ProgramSpec};

/// Host events that may wait for the worker; then the host waits.
const HOST_EVENTS: usize = 64;

/// One attempt to be carried out.
pub(super) struct Work {
    pub services: Arc<Services>,
    pub execution: watch::Receiver<Arc<Execution>>,
    pub id: ExecutionId,
    pub correlation_id: CorrelationId,
    pub step: Step,
    pub attempt: u32,
    pub live: Arc<LiveAttempt>,
    /// Cancelled when the execution is.
    pub cancel: CancellationToken,
}

/// Why the worker cannot go on before anything was started.
pub(super) enum Hindrance {
    /// The attempt fails with this.
    Cause(Cause),
    /// Stopped while it waited.
    Stopped,
}

impl Work {
    /// Carries out the attempt; returns when everything it started is gone and recorded.
    pub(super) async fn run(self) -> AttemptEnd {
        let timeout = self.step.timeout;
        let stop = CancellationToken::new();
        let deadline = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        // an attempt ends once, for the first of these reasons
        let watcher = async {
            let reason = tokio::select! {
                () = self.cancel.cancelled() => Cause::new(CauseKind::Cancelled, "the execution was cancelled"),
                () = self.services.draining.cancelled() => Cause::new(CauseKind::LostNode, "the node was shut down"),
                () = deadline => {
                    let limit = crate::domain::quantity::format_duration(timeout.unwrap_or_default());
                    Cause::new(CauseKind::Timeout, format!("step {} took longer than its timeout of {limit}", self.step.name))
                }
            };
            stop.cancel();
            reason
        };
        let mut admitted = Vec::new();
        let end = {
            let work = self.work(&stop, &mut admitted);
            tokio::pin!(watcher, work);
            tokio::select! {
                end = &mut work => end,
                reason = &mut watcher => because_of(reason, (&mut work).await),
            }
        };
        self.live.wait_for(None);
        for plugin in admitted {
            self.give_back(&plugin, &end).await;
        }
        end
    }

    async fn work(&self, stop: &CancellationToken, admitted: &mut Vec<Name>) -> AttemptEnd {
        match self.admit_all(stop, admitted).await {
            Ok(manifests) => self.bookmarked(manifests, stop).await,
            Err(hindrance) => self.hindered(hindrance),
        }
    }

    fn hindered(&self, hindrance: Hindrance) -> AttemptEnd {
        let programs = self.step.pipe.iter().map(|program| ProgramReport {
            plugin: program.plugin.clone(),
            pid: None,
            exit_code: None,
            cause: None,
            usage: Usage::default(),
        });
        let report = AttemptReport { programs: programs.collect(), ..AttemptReport::default() };
        let cause = match hindrance {
            Hindrance::Cause(cause) => cause,
            Hindrance::Stopped => Cause::new(CauseKind::Cancelled, "it was stopped before it started"),
        };
        AttemptEnd { cause: Some(cause), report }
    }

    /// Holds the step's bookmark, if it has one, and runs the programs.
    async fn bookmarked(&self, manifests: BTreeMap<Name, Manifest>, stop: &CancellationToken) -> AttemptEnd {
        let state = Arc::clone(&self.execution.borrow());
        let singer = manifests.values().all(|manifest| manifest.protocol == Protocol::Singer);
        let pipeline = state.pipeline.clone().filter(|_| singer);
        let mut writer = None;
        let mut bookmark = None;
        if let Some(pipeline) = pipeline {
            let name = self.step.bookmark_name(&pipeline);
            let mut new = BookmarkWriter::new(self, pipeline, name);
            loop {
                match new.acquire().await {
                    Ok(found) => {
                        bookmark = found
                            .filter(|f| !state.from_scratch || f.reached_by == Some(self.id))
                            .map(|f| f.state);
                        break;
                    }
                    Err(SubmitError::Rejected(Rejection::Stale(_))) => {
                        return self.hindered(Hindrance::Stopped);
                    }
                    Err(why) => {
                        if let Err(stopped) = self.pause(stop, new.changes(), why.to_string()).await {
                            return self.hindered(stopped);
                        }
                    }
                }
            }
            writer = Some(new);
        }
        let spec = match self.spec(&state, &manifests, bookmark) {
            Ok(spec) => spec,
            Err(cause) => return self.hindered(Hindrance::Cause(cause)),
        };
        self.live.wait_for(None);
        self.host(spec, writer, stop).await
    }

    fn spec(
        &self,
        execution: &Execution,
        manifests: &BTreeMap<Name, Manifest>,
        state: Option<serde_json::Value>,
    ) -> Result<PipeSpec, Cause> {
        let queued = execution.queued_at.unwrap_or_else(|| self.services.shared.clock.now());
        let today = queued.to_zoned(jiff::tz::TimeZone::UTC).date();
        let values = Values { parameters: &execution.parameters, execution: self.id, today };
        let program = |program: &StepProgram| {
            let manifest = &manifests[&program.plugin];
            let config = fill(&program.config, values);
            if let Some(problem) =
                crate::domain::pipeline::schema_problems(manifest, &config, "config").0.first()
            {
                return Err(Cause::new(
                    CauseKind::StartFailed,
                    format!("{}: {}", problem.field, problem.message),
                ));
            }
            Ok(ProgramSpec {
                manifest: manifest.clone(),
                config,
                catalog: program.catalog.clone(),
                select: program.select.clone(),
                operation: program.operation.clone(),
                parameters: fill(&program.parameters, values),
            })
        };
        Ok(PipeSpec {
            execution: self.id,
            step: self.step.name.clone(),
            attempt: self.attempt,
            programs: self.step.pipe.iter().map(program).collect::<Result<_, _>>()?,
            state,
            grace: STOP_GRACE,
        })
    }

    /// Runs the programs and stores the bookmarks they reach: at most one in a while, and always the last.
    async fn host(
        &self,
        spec: PipeSpec,
        mut writer: Option<BookmarkWriter>,
        stop: &CancellationToken,
    ) -> AttemptEnd {
        let (events, mut told) = mpsc::channel(HOST_EVENTS);
        let running = self.services.host.run(spec, events, Arc::clone(&self.live.progress), stop.clone());
        tokio::pin!(running);
        let mut tick = tokio::time::interval(BOOKMARK_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        let mut unstored = Ok(());
        let mut end = loop {
            tokio::select! {
                end = &mut running => break end,
                Some(event) = told.recv() => self.heard(event, writer.as_mut()),
                _ = tick.tick(), if unstored.is_ok() => if let Some(writer) = &mut writer {
                    unstored = writer.store().await;
                    if unstored.is_err() {
                        stop.cancel();
                    }
                },
            }
        };
        while let Ok(event) = told.try_recv() {
            self.heard(event, writer.as_mut());
        }
        if let (Some(writer), Ok(())) = (&mut writer, &unstored) {
            unstored = writer.store().await;
        }
        if let (None, Err(cause)) = (&end.cause, unstored) {
            end.cause = Some(cause);
        }
        end
    }

    fn heard(&self, event: HostEvent, writer: Option<&mut BookmarkWriter>) {
        match event {
            HostEvent::Started { program, pid } => {
                self.services.live.programs.fetch_add(1, Relaxed);
                self.live.started(program, pid);
            }
            HostEvent::State(state) => {
                if let Some(writer) = writer {
                    writer.reached(state);
                }
            }
        }
    }
}

/// The end of an attempt that was stopped for a reason; what failed before the stop stays the cause.
fn because_of(reason: Cause, mut end: AttemptEnd) -> AttemptEnd {
    if end.cause.as_ref().is_none_or(|cause| cause.kind == CauseKind::Cancelled) {
        end.cause = Some(reason);
    }
    end
}
