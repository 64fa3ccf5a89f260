//! The worker: carries out one attempt of a step, from the permits of its plugins to the end of everything it
//! started. It records in the plugins' and the pipeline's streams; how the attempt ended is the runner's to record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::admission::Admitted;
use super::aggregate::SubmitError;
use super::bookmark::{BookmarkWriter, Found};
use super::calls::ProgramCalls;
use super::cluster::Place;
use super::live::LiveAttempt;
use super::services::Services;
use super::views::Phase;
use crate::domain::aggregate::Rejection;
use crate::domain::execution::Execution;
use crate::domain::ids::{CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind, ProgramReport, Usage};
use crate::domain::pipeline::{
    Step, StepProgram, Values, fill, schema_problems, secret_places, secret_problems,
};
use crate::domain::plugin::Protocol;
use crate::limits::{BOOKMARK_INTERVAL, STOP_GRACE};
use crate::ports::BoxFuture;
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
    /// Where its programs run.
    pub place: Place,
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
        self.live.enter(Phase::CleaningUp);
        self.permits(admitted).give_back_all(&end).await;
        end
    }

    async fn work(&self, stop: &CancellationToken, admitted: &mut Vec<Name>) -> AttemptEnd {
        match self.prepare(stop, admitted).await {
            Ok((spec, writer)) => {
                self.live.wait_for(None);
                self.host(spec, writer, stop).await
            }
            Err(hindrance) => self.hindered(hindrance),
        }
    }

    /// Takes what the attempt needs: its bookmark first, then the permits. A bookmark may have to be waited for until
    /// another execution has ended, and that one may need the very permits: who waits for it must hold none.
    async fn prepare(
        &self,
        stop: &CancellationToken,
        admitted: &mut Vec<Name>,
    ) -> Result<(PipeSpec, Option<BookmarkWriter>), Hindrance> {
        let execution = Arc::clone(&self.execution.borrow());
        let (writer, found) = self.hold_bookmark(&execution, stop).await?.unzip();
        let plugins = self.admit_all(stop, admitted).await?;
        let usable = |f: &Found| !execution.from_scratch || f.reached_by == Some(self.id);
        let state = found.flatten().filter(usable).map(|f| f.state);
        let spec = self.spec(&execution, &plugins, state).map_err(Hindrance::Cause)?;
        Ok((spec, writer))
    }

    fn hindered(&self, hindrance: Hindrance) -> AttemptEnd {
        let programs = self.step.pipe.iter().map(|program| ProgramReport {
            plugin: program.plugin.clone(),
            pid: None,
            exit_code: None,
            cause: None,
            usage: Usage::default(),
            network: None,
            sandbox: None,
            warm: false,
            denials: Vec::new(),
        });
        let report = AttemptReport { programs: programs.collect(), ..AttemptReport::default() };
        let cause = match hindrance {
            Hindrance::Cause(cause) => cause,
            Hindrance::Stopped => Cause::new(CauseKind::Cancelled, "it was stopped before it started"),
        };
        AttemptEnd { cause: Some(cause), report }
    }

    /// Holds the step's bookmark, if it has one, and finds what it holds.
    async fn hold_bookmark(
        &self,
        execution: &Execution,
        stop: &CancellationToken,
    ) -> Result<Option<(BookmarkWriter, Option<Found>)>, Hindrance> {
        let Some(pipeline) = execution.pipeline.clone() else { return Ok(None) };
        if !self.all_singer(stop).await? {
            return Ok(None);
        }
        let name = self.step.bookmark_name(&pipeline);
        let mut writer = BookmarkWriter::new(self, pipeline, name);
        loop {
            match writer.acquire().await {
                Ok(found) => return Ok(Some((writer, found))),
                Err(SubmitError::Rejected(Rejection::Stale(_))) => return Err(Hindrance::Stopped),
                Err(why) => self.pause(stop, writer.changes(), why.to_string()).await?,
            }
        }
    }

    /// Whether all programs of the step speak Singer: only those have a bookmark.
    async fn all_singer(&self, stop: &CancellationToken) -> Result<bool, Hindrance> {
        for program in &self.step.pipe {
            let stream = StreamId::plugin(&program.plugin);
            let plugin = loop {
                match self.services.plugins.read(&stream).await {
                    Ok(plugin) => break plugin,
                    Err(why) => {
                        self.pause(stop, None::<&mut watch::Receiver<()>>, why.to_string()).await?;
                    }
                }
            };
            if plugin.manifest.as_ref().is_none_or(|manifest| manifest.protocol != Protocol::Singer) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn spec(
        &self,
        execution: &Execution,
        plugins: &BTreeMap<Name, Admitted>,
        state: Option<serde_json::Value>,
    ) -> Result<PipeSpec, Cause> {
        let queued = execution.queued_at.unwrap_or_else(|| self.services.shared.clock.now());
        let today = queued.to_zoned(jiff::tz::TimeZone::UTC).date();
        let values = Values { parameters: &execution.parameters, execution: self.id, today };
        let program = |program: &StepProgram| {
            let Admitted { manifest, leads } = &plugins[&program.plugin];
            let config = fill(&program.config, values);
            let secrets = secret_places(&program.config, Some(values));
            let mut problems = secret_problems(manifest, &program.config, &program.parameters, "");
            if secrets.is_empty() {
                // with secrets in it only the host has the whole configuration, and checks it
                problems.0.extend(schema_problems(manifest, &config, "config").0);
            }
            if let Some(problem) = problems.0.first() {
                let message = format!("{}: {}", problem.field, problem.message);
                return Err(Cause::new(CauseKind::StartFailed, message));
            }
            Ok(ProgramSpec {
                manifest: manifest.clone(),
                leads: leads.clone(),
                config,
                secrets,
                catalog: program.catalog.clone(),
                select: program.select.clone(),
                operation: program.operation.clone(),
                parameters: fill(&program.parameters, values),
            })
        };
        let programs = self.step.pipe.iter().map(program).collect::<Result<Vec<_>, _>>()?;
        Ok(PipeSpec {
            execution: self.id,
            step: self.step.name.clone(),
            attempt: self.attempt,
            calls: Arc::new(ProgramCalls::new(self, &programs)),
            programs,
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
        let (progress, stop_too) = (Arc::clone(&self.live.progress), stop.clone());
        let (host, cluster) = (&self.services.host, &self.services.shared.cluster);
        let run = match &self.place {
            Place::Here => match self.services.hosted.begin(&spec, false) {
                Some(run) => Some(run),
                None => {
                    let gone = "another node was told that it is gone, and goes on with it";
                    return self.hindered(Hindrance::Cause(Cause::new(CauseKind::LostNode, gone)));
                }
            },
            Place::At(_) => None,
        };
        let mut running: BoxFuture<'_, AttemptEnd> = match &self.place {
            Place::Here => host.run(spec, events, progress, stop_too),
            Place::At(member) => Box::pin(cluster.run_at(member, spec, events, progress, stop_too)),
        };
        let mut tick = tokio::time::interval(BOOKMARK_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        let (mut storing, mut unstored) = (None, Ok(()));
        let mut end = loop {
            tokio::select! {
                end = &mut running => break end,
                Some(event) = told.recv() => self.heard(event, writer.as_mut()),
                _ = tick.tick(), if storing.is_none() && unstored.is_ok() => {
                    storing = writer.as_mut().and_then(BookmarkWriter::store_latest);
                }
                // beside the host, not before it: a store that is away must not keep the programs from being stopped
                stored = ended(&mut storing), if storing.is_some() => {
                    storing = None;
                    unstored = stored;
                    if unstored.is_err() {
                        stop.cancel();
                    }
                }
            }
        };
        drop(run);
        while let Ok(event) = told.try_recv() {
            self.heard(event, writer.as_mut());
        }
        if storing.is_some() {
            unstored = ended(&mut storing).await;
        }
        if let (Some(last), Ok(())) = (writer.as_mut().and_then(BookmarkWriter::store_latest), &unstored) {
            unstored = last.await;
        }
        if let (None, Err(cause)) = (&end.cause, unstored) {
            end.cause = Some(cause);
        }
        end
    }

    fn heard(&self, event: HostEvent, writer: Option<&mut BookmarkWriter>) {
        match event {
            HostEvent::Preparing(what) => self.live.wait_for(Some(what)),
            HostEvent::Started { program, pid } => {
                self.live.wait_for(None);
                self.services.live.programs.fetch_add(1, Relaxed);
                self.live.started(program, pid);
            }
            HostEvent::CleaningUp => self.live.enter(Phase::CleaningUp),
            HostEvent::State(state) => {
                if let Some(writer) = writer {
                    writer.reached(state);
                }
            }
        }
    }
}

/// The result of a future, if there is one; else never.
async fn ended<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The end of an attempt that was stopped for a reason; what failed before the stop stays the cause.
fn because_of(reason: Cause, mut end: AttemptEnd) -> AttemptEnd {
    if end.cause.as_ref().is_none_or(|cause| cause.kind == CauseKind::Cancelled) {
        end.cause = Some(reason);
    }
    end
}
