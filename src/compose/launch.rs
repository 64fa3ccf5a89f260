//! Connects the plugin host with the launcher. A part of composing: the only file that names both, and nothing but
//! conversions in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::outcome::Usage;
use flexcore_actors::ports::BoxFuture;
use futures::FutureExt;

use crate::plugins::launch::{
    Control, Ended, Jail, Launch, LaunchFailure, Launched, PlacedFile, Shown, Start, Status,
};
use crate::sandbox;

impl Launch for sandbox::Launcher {
    fn resolve(&self, program: &str, directories: &[PathBuf]) -> Result<PathBuf, LaunchFailure> {
        let base = std::env::current_dir().map_err(|_| {
            LaunchFailure(
                "the node's working directory is gone: restart the node in one that exists".to_owned(),
            )
        })?;
        sandbox::programs::resolve(program, &base, directories).map_err(|e| LaunchFailure(e.to_string()))
    }

    fn refusal(&self) -> Option<String> {
        Self::refusal(self).map(str::to_owned)
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
        let jail = jail.map(sandbox::Jail::from);
        let program = sandbox::Program { argv, env, workdir, stdin, stdout, stderr, limits, jail };
        async move {
            let mut running = Self::start(self, program).await.map_err(|e| LaunchFailure(e.to_string()))?;
            let (pid, control) = (running.pid(), Box::new(running.control()));
            let ended = async move { running.wait().await.into() }.boxed();
            Ok(Launched { pid, control, ended })
        }
        .boxed()
    }
}

impl From<Jail> for sandbox::Jail {
    fn from(Jail { view, files, subprocess, result }: Jail) -> Self {
        let shown = |Shown { source, target, write }| sandbox::Shown { source, target, write };
        let placed = |PlacedFile { path, mode, content }| sandbox::PlacedFile { path, mode, content };
        Self {
            view: view.into_iter().map(shown).collect(),
            files: files.into_iter().map(placed).collect(),
            subprocess,
            result,
        }
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

impl From<sandbox::Ended> for Ended {
    fn from(ended: sandbox::Ended) -> Self {
        let status = match ended.status {
            sandbox::Status::Exit(code) => Status::Exit(code),
            sandbox::Status::Signal(signal) => Status::Signal(signal),
            sandbox::Status::Oom { limit, peak } => Status::Oom { limit, peak },
            sandbox::Status::Lost => Status::Lost,
        };
        let sandbox::Usage { wall_ms, cpu_ms, peak_memory_bytes } = ended.usage;
        let usage = Usage { wall_ms, cpu_ms, peak_memory_bytes };
        Self { status, usage, survivors: ended.survivors.len(), result: ended.result.map(Arc::new) }
    }
}
