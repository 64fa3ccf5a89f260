//! Connects the plugin host with the launcher and the network that programs are given. A part of composing: the only file
//! that names all of them, and nothing but conversions in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::outcome::{Denial, Denied, MAX_DENIALS, SandboxUsed, Usage};
use flexcore_actors::ports::BoxFuture;
use futures::FutureExt;

use super::network;
use crate::network::{Network, Plan, Traffic};
use crate::plugins::launch::{
    Control, Ended, Jail, Launch, LaunchFailure, Launched, PlacedFile, Shown, Start, Status,
};
use crate::sandbox;

/// What starts programs.
pub(super) struct Starter {
    /// Starts them.
    pub(super) launcher: sandbox::Launcher,
    /// Joins them with the hosts that they are granted.
    pub(super) network: Network,
    /// The isolation that programs get on this host.
    pub(super) sandbox: SandboxUsed,
}

impl Launch for Starter {
    fn resolve(&self, program: &str, directories: &[PathBuf]) -> Result<PathBuf, LaunchFailure> {
        let base = std::env::current_dir().map_err(|_| {
            LaunchFailure(
                "the node's working directory is gone: restart the node in one that exists".to_owned(),
            )
        })?;
        sandbox::programs::resolve(program, &base, directories).map_err(|e| LaunchFailure(e.to_string()))
    }

    fn refusal(&self) -> Option<String> {
        self.launcher.refusal().map(str::to_owned)
    }

    fn has_own_root(&self) -> bool {
        self.launcher.has_own_root()
    }

    fn start(&self, start: Start) -> BoxFuture<'_, Result<Launched, LaunchFailure>> {
        let limits = sandbox::ProgramLimits {
            memory_bytes: start.limits.memory.0,
            cpu_time: start.limits.cpu_time,
            open_files: u64::from(start.limits.open_files),
            file_size: start.limits.file_size.map(|size| size.0),
            processes: u64::from(start.limits.processes),
            scratch_bytes: start.limits.scratch.0,
            millicpus: millicpus(start.limits.cpus),
        };
        let Start { argv, env, workdir, stdin, stdout, stderr, jail, .. } = start;
        async move {
            let plan =
                network::plan(jail.as_ref().map_or(&[], |jail| &jail.connect)).map_err(LaunchFailure)?;
            if !plan.is_empty() && !self.launcher.has_own_root() {
                let why = "capabilities.connect cannot be had: without namespaces a program has no network; require the sandbox \
                           level strict or no-cgroup, on a host that has namespaces";
                return Err(LaunchFailure(why.to_owned()));
            }
            let sandbox = jail.is_some().then(|| self.sandbox.clone());
            let jail = jail.map(|jail| for_launcher(jail, &plan));
            let program = sandbox::Program { argv, env, workdir, stdin, stdout, stderr, limits, jail };
            let failed = |error: &dyn std::error::Error| LaunchFailure(error.to_string());
            let mut running = self.launcher.start(program).await.map_err(|error| failed(&error))?;
            let gate = running.sockets().map(|sockets| self.network.open(&plan, sockets)).transpose();
            let gate = gate.map_err(|error| failed(&error))?;
            let (pid, control) = (running.pid(), Box::new(running.control()));
            let ended = async move {
                let ended = running.wait().await;
                let traffic = match gate {
                    Some(gate) => gate.close().await,
                    None => Traffic::default(),
                };
                Ended { sandbox, ..of_launcher(ended, traffic) }
            };
            Ok(Launched { pid, control, ended: ended.boxed() })
        }
        .boxed()
    }
}

fn for_launcher(jail: Jail, plan: &Plan) -> sandbox::Jail {
    let Jail { view, files, subprocess, result, connect: _ } = jail;
    let shown = |Shown { source, target, write }| sandbox::Shown { source, target, write };
    let placed = |PlacedFile { path, mode, content }| sandbox::PlacedFile { path, mode, content };
    sandbox::Jail {
        view: view.into_iter().map(shown).collect(),
        files: files.into_iter().map(placed).collect(),
        subprocess,
        result,
        connect: plan.connections(),
    }
}

/// Within what the kernel takes; a manifest's bounds are narrower.
fn millicpus(cpus: f64) -> u32 {
    const LEAST: u32 = 10;
    ((cpus * 1_000.0).round() as u32).max(LEAST)
}

impl Control for sandbox::Control {
    fn stop(&self, grace: Duration) {
        Self::stop(self, grace);
    }
}

fn of_launcher(ended: sandbox::Ended, traffic: Traffic) -> Ended {
    let status = match ended.status {
        sandbox::Status::Exit(code) => Status::Exit(code),
        sandbox::Status::Signal(signal) => Status::Signal(signal),
        sandbox::Status::Oom { limit, peak } => Status::Oom { limit, peak },
        sandbox::Status::LeaseOver => Status::LeaseOver,
        sandbox::Status::Lost => Status::Lost,
    };
    let sandbox::Usage { wall_ms, cpu_ms, peak_memory_bytes } = ended.usage;
    let refused = ended.refused;
    let denial =
        |sandbox::Refused { call, why, times }| Denial { what: Denied::SystemCall(call), reason: why, times };
    Ended {
        status,
        usage: Usage { wall_ms, cpu_ms, peak_memory_bytes },
        survivors: ended.survivors.len(),
        result: ended.result.map(Arc::new),
        network: network::used(traffic),
        denials: refused.into_iter().take(MAX_DENIALS).map(denial).collect(),
        warm: false,
        sandbox: None,
    }
}

#[cfg(test)]
mod tests;
