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
use super::services::{InternalRequest, Services};
use crate::domain::aggregate::Rejection;
use crate::domain::execution::Execution;
use crate::domain::ids::{CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind, ProgramReport, Usage};
use crate::domain::pipeline::{Step, StepProgram, Values, fill};
use crate::domain::plugin::{AttemptId, Manifest, Plugin, PluginCommand, Protocol};
use crate::limits::{BOOKMARK_INTERVAL, STOP_GRACE, WAIT_POLL};
use crate::ports::plugin_host::{AttemptEnd, HostEvent, PipeSpec, ProgramSpec};

/// Host events that may wait for the worker; then the host waits.
const HOST_EVENTS: usize = 64;

/// How long to wait for the state that a lost guard says is there.
const GUARD_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

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
enum Hindrance {
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
        let work = self.admitted(&stop);
        tokio::pin!(watcher, work);
        tokio::select! {
            end = &mut work => end,
            reason = &mut watcher => {
                let mut end = (&mut work).await;
                let ours = end.cause.as_ref().is_none_or(|cause| cause.kind == CauseKind::Cancelled);
                if ours {
                    end.cause = Some(reason);
                }
                end
            }
        }
    }

    async fn admitted(&self, stop: &CancellationToken) -> AttemptEnd {
        let mut admitted = Vec::new();
        let end = match self.admit_all(stop, &mut admitted).await {
            Ok(manifests) => self.bookmarked(manifests, stop).await,
            Err(hindrance) => self.hindered(hindrance),
        };
        self.live.wait_for(None);
        for plugin in admitted {
            self.give_back(&plugin, &end).await;
        }
        end
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

    /// Takes the permits of all plugins, by name, so that two steps never hold each other's.
    async fn admit_all(
        &self,
        stop: &CancellationToken,
        admitted: &mut Vec<Name>,
    ) -> Result<BTreeMap<Name, Manifest>, Hindrance> {
        let mut wanted: BTreeMap<Name, u32> = BTreeMap::new();
        for program in &self.step.pipe {
            *wanted.entry(program.plugin.clone()).or_default() += 1;
        }
        let mut manifests = BTreeMap::new();
        for (name, programs) in wanted {
            let manifest = self.admit(&name, programs, stop).await?;
            admitted.push(name.clone());
            manifests.insert(name, manifest);
        }
        Ok(manifests)
    }

    async fn admit(
        &self,
        plugin: &Name,
        programs: u32,
        stop: &CancellationToken,
    ) -> Result<Manifest, Hindrance> {
        let stream = StreamId::plugin(plugin);
        loop {
            let (state, mut changes) = match self.services.plugins.follow(&stream).await {
                Ok(found) => found,
                Err(error) => {
                    self.pause(stop, None::<&mut watch::Receiver<Arc<Plugin>>>, error.to_string()).await?;
                    continue;
                }
            };
            let command = PluginCommand::Admit {
                attempt: self.attempt_id(),
                programs,
                incarnation: self.services.incarnation,
            };
            match self.guarded(&self.services.plugins, &stream, command).await {
                Ok(()) => return state.manifest.clone().ok_or_else(|| self.unknown_plugin(plugin)),
                Err(SubmitError::Rejected(Rejection::Wait(why))) => {
                    self.pause(stop, Some(&mut changes), why).await?
                }
                Err(SubmitError::Rejected(Rejection::NotFound)) => return Err(self.unknown_plugin(plugin)),
                Err(SubmitError::Rejected(Rejection::Stale(_))) => return Err(Hindrance::Stopped),
                Err(SubmitError::Rejected(why)) => {
                    return Err(Hindrance::Cause(Cause::new(CauseKind::StartFailed, why.to_string())));
                }
                Err(error) => self.pause(stop, Some(&mut changes), error.to_string()).await?,
            }
        }
    }

    fn unknown_plugin(&self, plugin: &Name) -> Hindrance {
        Hindrance::Cause(Cause::new(
            CauseKind::StartFailed,
            format!("plugin {plugin} does not exist: register it"),
        ))
    }

    /// Submits a command that commits only while the execution is not cancelled (S7).
    async fn guarded<A: crate::domain::aggregate::Aggregate>(
        &self,
        directory: &super::aggregate::Directory<A>,
        stream: &StreamId,
        command: A::Command,
    ) -> Result<(), SubmitError> {
        guarded(&self.services, &self.execution, self.id, self.correlation_id, directory, stream, command)
            .await
    }

    /// Waits for a change, or a while; fails when the attempt is stopped.
    async fn pause<T>(
        &self,
        stop: &CancellationToken,
        changes: Option<&mut watch::Receiver<T>>,
        why: String,
    ) -> Result<(), Hindrance> {
        self.live.wait_for(Some(why));
        let changed = async {
            match changes {
                Some(changes) => match changes.changed().await {
                    Ok(()) => {}
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => Err(Hindrance::Stopped),
            () = changed => Ok(()),
            () = tokio::time::sleep(WAIT_POLL) => Ok(()),
        }
    }

    fn attempt_id(&self) -> AttemptId {
        AttemptId { execution: self.id, step: self.step.name.clone(), attempt: self.attempt }
    }

    /// Records that everything started of a plugin is gone. Tried until it is stored: a permit must not leak.
    async fn give_back(&self, plugin: &Name, end: &AttemptEnd) {
        let of_it = || end.report.programs.iter().filter(|p| p.plugin == *plugin);
        let usage = of_it().fold(Usage::default(), |sum, p| Usage {
            wall_ms: sum.wall_ms.max(p.usage.wall_ms),
            cpu_ms: sum.cpu_ms + p.usage.cpu_ms,
            peak_memory_bytes: sum.peak_memory_bytes.max(p.usage.peak_memory_bytes),
        });
        let own = of_it().find_map(|p| p.cause.clone());
        // without a program of its own to blame, an attempt that failed before the start is nobody's crash
        let cause = own.or_else(|| end.cause.clone().filter(|_| of_it().all(|p| p.pid.is_none())));
        let command = PluginCommand::Complete {
            attempt: self.attempt_id(),
            incarnation: self.services.incarnation,
            cause,
            usage,
        };
        let stream = StreamId::plugin(plugin);
        let request = InternalRequest::of(self.correlation_id);
        let given = super::retry::until_known(&self.services, "plugin execution's end", || {
            self.services.command(&self.services.plugins, &stream, command.clone(), request.clone())
        });
        if let Err(error) = given.await {
            tracing::warn!(execution = %self.id, %plugin, %error, "the end of a plugin execution was not recorded");
        }
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

/// Submits a command that commits only while the execution is at a version at which it is not cancelled: the
/// version is checked in the same transaction, so that nothing slips in behind a cancel (S7).
pub(super) async fn guarded<A: crate::domain::aggregate::Aggregate>(
    services: &Services,
    execution: &watch::Receiver<Arc<Execution>>,
    id: ExecutionId,
    correlation_id: CorrelationId,
    directory: &super::aggregate::Directory<A>,
    stream: &StreamId,
    command: A::Command,
) -> Result<(), SubmitError> {
    loop {
        let state = Arc::clone(&execution.borrow());
        if state.cancel_requested || state.ended() {
            return Err(Rejection::Stale("the execution was cancelled".to_owned()).into());
        }
        let guard = Some((StreamId::execution(id), state.version));
        let request = InternalRequest { guard, ..InternalRequest::of(correlation_id) };
        match services.command(directory, stream, command.clone(), request).await {
            Ok(_) => return Ok(()),
            // the execution moved on: its watch shows the new version as soon as that commit was applied
            Err(SubmitError::GuardFailed) => tokio::time::sleep(GUARD_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}
