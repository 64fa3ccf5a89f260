//! What a worker needs of others before it starts programs, and gives back afterwards: the permits of plugins.
//! Everything it takes commits only while its execution is not cancelled (S7).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::aggregate::{Directory, SubmitError, Submitted};
use super::retry;
use super::services::{InternalRequest, Services};
use super::worker::{Hindrance, Work};
use crate::domain::aggregate::{Aggregate, Rejection};
use crate::domain::execution::Execution;
use crate::domain::ids::{CommandId, CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::outcome::{Cause, CauseKind, Usage};
use crate::domain::plugin::{AttemptId, Granted, Leads, Manifest, Plugin, PluginCommand, Policy};
use crate::limits::{LOG_TAIL_LINES, WAIT_POLL};
use crate::ports::cluster::Member;
use crate::ports::plugin_host::AttemptEnd;

/// A plugin as it was when it was admitted.
pub(super) struct Admitted {
    pub manifest: Manifest,
    pub leads: Option<Leads>,
}

impl Work {
    /// Takes the permits of all plugins, by name, so that two steps never hold each other's.
    pub(super) async fn admit_all(
        &self,
        stop: &CancellationToken,
        admitted: &mut Vec<Name>,
    ) -> Result<BTreeMap<Name, Admitted>, Hindrance> {
        let mut wanted: BTreeMap<Name, u32> = BTreeMap::new();
        for program in &self.step.pipe {
            *wanted.entry(program.plugin.clone()).or_default() += 1;
        }
        let mut plugins = BTreeMap::new();
        for (name, programs) in wanted {
            let plugin = self.admit(&name, programs, stop).await?;
            admitted.push(name.clone());
            plugins.insert(name, plugin);
        }
        Ok(plugins)
    }

    async fn admit(
        &self,
        plugin: &Name,
        programs: u32,
        stop: &CancellationToken,
    ) -> Result<Admitted, Hindrance> {
        let stream = StreamId::plugin(plugin);
        let _turn = self.turn(plugin, stop).await?;
        loop {
            let (state, mut changes) = match self.services.plugins.follow(&stream).await {
                Ok(found) => found,
                Err(error) => {
                    self.pause(stop, None::<&mut watch::Receiver<Arc<Plugin>>>, error.to_string()).await?;
                    continue;
                }
            };
            let granted = match &state.manifest {
                Some(manifest) => self.granted(manifest)?,
                None => Granted::default(),
            };
            let command = PluginCommand::Admit {
                attempt: self.attempt_id(),
                programs,
                incarnation: self.services.incarnation,
                granted,
            };
            match self.guarded(&self.services.plugins, &stream, command).await {
                Ok(()) => {
                    let manifest = state.manifest.clone().ok_or_else(|| self.unknown_plugin(plugin))?;
                    return Ok(Admitted { manifest, leads: state.leads.clone() });
                }
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

    /// What the manifest asks for, if all of it is granted here: a program with less would fail in ways that nobody
    /// understands. It was granted when the plugin was registered, but the policy may have changed, or be another
    /// node's.
    fn granted(&self, manifest: &Manifest) -> Result<Granted, Hindrance> {
        match denied_by(&self.services.policy, manifest) {
            None => Ok(self.services.policy.judge(manifest).granted),
            Some(cause) => Err(Hindrance::Cause(cause)),
        }
    }

    /// One attempt of this node after the other asks a plugin for its permits, in the order they came: the many that
    /// wait neither crowd its mailbox at each change, nor pass one that needs more permits than they do.
    async fn turn(
        &self,
        plugin: &Name,
        stop: &CancellationToken,
    ) -> Result<tokio::sync::OwnedMutexGuard<()>, Hindrance> {
        let turn = Arc::clone(&self.services.turns.entry(plugin.clone()).or_default());
        if let Ok(mine) = Arc::clone(&turn).try_lock_owned() {
            return Ok(mine);
        }
        self.live.wait_for(Some(format!("other attempts wait for plugin {plugin} before it")));
        tokio::select! {
            () = stop.cancelled() => Err(Hindrance::Stopped),
            mine = turn.lock_owned() => Ok(mine),
        }
    }

    fn unknown_plugin(&self, plugin: &Name) -> Hindrance {
        Hindrance::Cause(Cause::new(
            CauseKind::StartFailed,
            format!("plugin {plugin} does not exist: register it"),
        ))
    }

    fn attempt_id(&self) -> AttemptId {
        AttemptId { execution: self.id, step: self.step.name.clone(), attempt: self.attempt }
    }

    /// The permits of these plugins.
    pub(super) fn permits(&self, plugins: Vec<Name>) -> Permits {
        let (services, correlation_id) = (Arc::clone(&self.services), self.correlation_id);
        Permits {
            services,
            correlation_id,
            attempt: self.attempt_id(),
            plugins: plugins.into_iter().collect(),
        }
    }

    /// Waits for a change, or a while; fails when the attempt is stopped.
    pub(super) async fn pause<T>(
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

    /// Submits a command that commits only while the execution is not cancelled (S7).
    async fn guarded<A: Aggregate>(
        &self,
        directory: &Directory<A>,
        stream: &StreamId,
        command: A::Command,
    ) -> Result<(), SubmitError> {
        let (services, execution) = (&*self.services, &self.execution);
        let guarded = Guarded { services, execution, id: self.id, correlation_id: self.correlation_id };
        guarded.submit_once(directory, stream, command, None).await.map(drop)
    }
}

/// Why a policy lets a plugin not start with what its manifest asks for, if it does not.
pub(super) fn denied_by(policy: &Policy, manifest: &Manifest) -> Option<Cause> {
    let denied = policy.judge(manifest).denied;
    let first = denied.0.first()?;
    let (plugin, field, message) = (&manifest.name, &first.field, &first.message);
    let cause = Cause::new(CauseKind::SandboxDenied, format!("{plugin} was not started: {field}: {message}"));
    Some(cause.with_detail(serde_json::json!({"plugin": plugin, "denials": denied})))
}

/// The permits that an attempt holds or may hold.
pub(super) struct Permits {
    pub services: Arc<Services>,
    pub correlation_id: CorrelationId,
    pub attempt: AttemptId,
    pub plugins: BTreeSet<Name>,
}

impl Permits {
    /// Gives all of them back; those that are not held are left alone.
    pub(super) async fn give_back_all(&self, end: &AttemptEnd) {
        for plugin in &self.plugins {
            self.give_back(plugin, end).await;
        }
    }

    /// What a program that crashed said last. Without it the end is recorded all the same.
    async fn log_tail(&self, plugin: &Name) -> Vec<String> {
        let execution = self.attempt.execution;
        let lines = match self.ran_at().await {
            Some(member) => {
                Ok(self.services.shared.cluster.tail_at(&member, execution, plugin, LOG_TAIL_LINES).await)
            }
            None => self.services.logs.tail(execution, plugin, LOG_TAIL_LINES).await,
        };
        match lines {
            Ok(lines) => lines.into_iter().map(|line| line.text).collect(),
            Err(error) => {
                tracing::warn!(%execution, %plugin, %error, "the log of a crashed program cannot be read");
                Vec::new()
            }
        }
    }

    /// The other node that ran the attempt's programs, if one did.
    async fn ran_at(&self) -> Option<Member> {
        let stream = StreamId::execution(self.attempt.execution);
        let execution = self.services.executions.read(&stream).await.ok()?;
        let attempts = &execution.step(&self.attempt.step)?.attempts;
        let attempt = attempts.iter().find(|attempt| attempt.number == self.attempt.attempt)?;
        self.services.shared.cluster.other(&attempt.node)
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
        let crashed = cause.as_ref().is_some_and(|cause| cause.kind.opens_circuit());
        let command = PluginCommand::Complete {
            attempt: self.attempt.clone(),
            incarnation: self.services.incarnation,
            cause,
            usage,
            log_tail: if crashed { self.log_tail(plugin).await } else { Vec::new() },
        };
        let stream = StreamId::plugin(plugin);
        let request = InternalRequest::of(self.correlation_id);
        let given = retry::until_known(&self.services, "plugin execution's end", || {
            self.services.command(&self.services.plugins, &stream, command.clone(), request.clone())
        });
        if let Err(error) = given.await {
            let execution = self.attempt.execution;
            tracing::warn!(%execution, %plugin, %error, "the end of a plugin execution was not recorded");
        }
    }
}

/// Submits what an execution does to others, while it may.
pub(super) struct Guarded<'a> {
    pub services: &'a Services,
    pub execution: &'a watch::Receiver<Arc<Execution>>,
    pub id: ExecutionId,
    pub correlation_id: CorrelationId,
}

impl Guarded<'_> {
    /// Submits a command that commits only while the execution is at a version at which it is not cancelled: the
    /// version is checked in the same transaction, so that nothing slips in behind a cancel (S7). With an id it
    /// happens once.
    pub(super) async fn submit_once<A: Aggregate>(
        &self,
        directory: &Directory<A>,
        stream: &StreamId,
        command: A::Command,
        once: Option<CommandId>,
    ) -> Result<Submitted, SubmitError> {
        let Self { services, id, correlation_id, .. } = *self;
        let mut state = Arc::clone(&self.execution.borrow());
        loop {
            if state.cancel_requested || state.ended() {
                return Err(Rejection::Stale("the execution was cancelled".to_owned()).into());
            }
            let guard = Some((StreamId::execution(id), state.version));
            let request = InternalRequest { guard, id: once, ..InternalRequest::of(correlation_id) };
            match services.command(directory, stream, command.clone(), request).await {
                // the execution moved on: its actor answers when it has applied (or, if need be, reloaded) that
                Err(SubmitError::GuardFailed) => {
                    let newer = services.executions.read(&StreamId::execution(id)).await?;
                    if newer.version == state.version {
                        return Err(SubmitError::Unavailable(format!("execution {id} is behind its events")));
                    }
                    state = newer;
                }
                other => return other,
            }
        }
    }
}
