//! Lets the plugin host start its programs under the launcher: the two adapters do not know each other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flexcore_actors::domain::outcome::Usage;
use flexcore_actors::ports::BoxFuture;

use crate::plugins::launch::{Control, Ended, Launch, LaunchFailure, Launched, Start, Status};
use crate::sandbox::{self, Launcher, Program, ProgramLimits, programs};

/// The launcher as the plugin host knows it.
pub(super) struct Jailed(pub(super) Launcher);

impl Launch for Jailed {
    fn resolve(&self, program: &str, directories: &[PathBuf]) -> Result<PathBuf, LaunchFailure> {
        programs::resolve(program, Path::new("/"), directories).map_err(|error| LaunchFailure(error.to_string()))
    }

    fn start(&self, start: Start) -> BoxFuture<'_, Result<Launched, LaunchFailure>> {
        Box::pin(async move {
            let limits = ProgramLimits {
                memory_bytes: start.limits.memory.0,
                cpu_time: start.limits.cpu_time,
                open_files: u64::from(start.limits.open_files),
                file_size: start.limits.file_size.map(|bytes| bytes.0),
            };
            let Start { argv, env, workdir, stdin, stdout, stderr, .. } = start;
            let program = Program { argv, env, workdir, stdin, stdout, stderr, limits };
            let mut running = self.0.start(program).await.map_err(|error| LaunchFailure(describe(&error)))?;
            let (pid, control) = (running.pid(), running.control());
            let ended: BoxFuture<'static, Ended> = Box::pin(async move { convert(running.wait().await) });
            Ok(Launched { pid, control: Box::new(ControlOf(control)), ended })
        })
    }
}

struct ControlOf(sandbox::Control);

impl Control for ControlOf {
    fn stop(&self, grace: Duration) {
        self.0.stop(grace);
    }
}

/// The error with its source: the reader of an execution sees one sentence.
fn describe(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn convert(ended: sandbox::Ended) -> Ended {
    let status = match ended.status {
        sandbox::Status::Exit(code) => Status::Exit(code),
        sandbox::Status::Signal(number) => Status::Signal(number),
        sandbox::Status::Oom { limit, peak } => Status::Oom { limit, peak },
        sandbox::Status::Lost => Status::Lost,
    };
    let sandbox::Usage { wall_ms, cpu_ms, peak_memory_bytes } = ended.usage;
    Ended { status, usage: Usage { wall_ms, cpu_ms, peak_memory_bytes }, survivors: ended.survivors.len() }
}
