//! One interpreter that waits, and how it becomes the program. What it does inside is `start.py`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flexcore_actors::domain::plugin::Limits;
use flexcore_jailer::protocol::frames::send_with_descriptors;
use futures::FutureExt;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use uuid::Uuid;

use crate::plugins::launch::{Jail, Launch, Launched, PlacedFile, Start};
use crate::plugins::limits::{WARM_ANSWER, WARM_READY};
use crate::plugins::relay::pipe;
use crate::plugins::scratch::Scratch;

/// What the interpreter does.
const START: &str = include_str!("start.py");
/// It has imported what it could.
const READY: u8 = b'r';
/// It has its files, variables and streams.
const KNOWS: u8 = b'k';
/// It is the program from here on.
const GO: u8 = b'g';
/// Names of the variables that may be given late: FlexCore's own, which nothing reads while it is imported.
const LATE: &str = "FLEXCORE_";

/// Everything about a start that is known before the execution: program and jail. Two that are equal differ for the program in
/// nothing but the execution's own files, arguments and streams.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plugins) struct Fixed {
    /// The program's script.
    pub program: PathBuf,
    /// The interpreter that the script names, in the plugin's environment.
    pub interpreter: PathBuf,
    /// The environment, without what an execution adds.
    pub env: Vec<(String, String)>,
    /// The working directory, empty at the start.
    pub workdir: PathBuf,
    /// What it may use.
    pub limits: Limits,
    /// What it sees and may do; its files are the plugin's secrets.
    pub jail: Jail,
}

impl Fixed {
    /// The same elsewhere: its own directory is named in its variables and files.
    fn moved(mut self, workdir: &Path) -> Self {
        let old = std::mem::replace(&mut self.workdir, workdir.to_owned());
        for (_, value) in &mut self.env {
            if Path::new(value) == old {
                *value = workdir.to_string_lossy().into_owned();
            }
        }
        for path in self.jail.result.iter_mut().chain(self.jail.files.iter_mut().map(|file| &mut file.path)) {
            if let Ok(below) = path.strip_prefix(&old) {
                *path = workdir.join(below);
            }
        }
        self
    }
}

/// Which files and directories of the host a jail shows, by what they are and not by their names.
fn shown(jail: &Jail) -> io::Result<Vec<(u64, u64)>> {
    jail.view.iter().map(|shown| fs::metadata(&shown.source).map(|it| (it.dev(), it.ino()))).collect()
}

/// The interpreter of a program in a virtual environment, if the program is a script that names it and nothing else.
pub(in crate::plugins) fn interpreter(program: &Path, environment: &Path) -> Option<PathBuf> {
    const LONGEST: u64 = 1 << 10;
    let mut head = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(program).ok()?, LONGEST), &mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let first = head.strip_prefix("#!")?.lines().next()?.trim();
    let named = Path::new(first);
    let of_environment = named.starts_with(environment) && program.starts_with(environment);
    let is_python = named.file_name()?.to_str()?.starts_with("python");
    (of_environment && is_python).then(|| named.to_owned())
}

/// An interpreter that has imported what its program depends on.
pub(in crate::plugins) struct Waiting {
    fixed: Fixed,
    shown: Vec<(u64, u64)>,
    since: Instant,
    line: UnixStream,
    /// What it printed before it was a program.
    noise: OwnedFd,
    launched: Launched,
    scratch: Scratch,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("program", &self.fixed.program).finish_non_exhaustive()
    }
}

impl Waiting {
    /// Starts one and waits until it is ready.
    pub(super) async fn start(launcher: &dyn Launch, data_dir: &Path, fixed: Fixed) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let scratch = Scratch::create_named(data_dir, &format!("warm-{}", Uuid::now_v7())).map_err(text)?;
        let fixed = fixed.moved(&scratch.program(0).map_err(text)?);
        let shown = shown(&fixed.jail).map_err(text)?;
        let (line, theirs) = StdUnixStream::pair().map_err(text)?;
        line.set_nonblocking(true).map_err(text)?;
        let (noise, printed) = pipe::small().map_err(text)?;
        let start = Start {
            argv: vec![path(&fixed.interpreter), "-c".to_owned(), START.to_owned(), path(&fixed.program)],
            env: fixed.env.clone(),
            workdir: fixed.workdir.clone(),
            stdin: Some(theirs.into()),
            stdout: printed.try_clone().map_err(text)?,
            stderr: printed,
            limits: fixed.limits.clone(),
            jail: Some(fixed.jail.clone()),
        };
        let since = Instant::now();
        let launched = launcher.start(start).await.map_err(|failure| failure.to_string())?;
        let mut line = UnixStream::from_std(line).map_err(text)?;
        match timeout(WARM_READY, line.read_u8()).await {
            Ok(Ok(READY)) => Ok(Self { fixed, shown, since, line, noise, launched, scratch }),
            Ok(_) => Err(format!("it ended: {}", last_words(noise))),
            Err(_) => Err(format!("it was not ready within {} s", WARM_READY.as_secs())),
        }
    }

    /// What it was started with.
    pub(in crate::plugins) const fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    #[cfg(test)]
    pub(super) const fn pid(&self) -> u32 {
        self.launched.pid
    }

    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    /// Whether it printed nothing, and still runs: what it prints belongs to an execution.
    pub(super) fn is_quiet(&self) -> bool {
        let mut fds = [PollFd::new(self.noise.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
    }

    /// Whether it was started with exactly this, and what it is shown is still what bears the names.
    pub(super) fn fits(&self, wanted: &Fixed) -> bool {
        self.fixed == wanted.clone().moved(&self.fixed.workdir)
            && shown(&self.fixed.jail).is_ok_and(|shown| shown == self.shown)
    }

    /// Makes it the program; gives the start back when that cannot be, and nothing of it runs then.
    pub(super) async fn become_program(mut self, start: Start) -> Result<Launched, Start> {
        match timeout(WARM_ANSWER, self.tell(&start)).await {
            Ok(Ok(())) => {}
            answer => {
                let program = self.fixed.program.display().to_string();
                tracing::info!(
                    program,
                    ?answer,
                    "the interpreter that waited is of no use: starting another"
                );
                self.launched.control.stop(Duration::ZERO);
                self.launched.ended.await;
                return Err(start);
            }
        }
        let waited = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Self { launched, scratch, .. } = self;
        let ended = launched.ended.map(move |mut ended| {
            drop(scratch);
            ended.usage.wall_ms = ended.usage.wall_ms.saturating_sub(waited);
            ended.warm = true;
            ended
        });
        Ok(Launched { ended: ended.boxed(), ..launched })
    }

    async fn tell(&mut self, start: &Start) -> io::Result<()> {
        let order = self.order(start).ok_or(io::ErrorKind::InvalidInput)?.to_string();
        let length = u32::try_from(order.len()).map_err(io::Error::other)?;
        let message = [&length.to_be_bytes(), order.as_bytes()].concat();
        let streams: Vec<BorrowedFd<'_>> =
            start.stdin.iter().chain([&start.stdout, &start.stderr]).map(AsFd::as_fd).collect();
        self.line.writable().await?;
        let sent = send_with_descriptors(&self.line, &message, &streams)?;
        self.line.write_all(&message[sent..]).await?;
        if self.line.read_u8().await? != KNOWS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.line.write_u8(GO).await
    }

    /// What the execution brings; nothing, if that is more than may come late.
    fn order(&self, start: &Start) -> Option<serde_json::Value> {
        let Fixed { env, workdir, limits, jail, .. } = &self.fixed;
        let wanted = start.jail.as_ref()?;
        let (known, late) = wanted.files.split_at_checked(jail.files.len())?;
        let same = Jail { files: known.to_vec(), ..wanted.clone() } == *jail
            && (&start.workdir, &start.limits) == (workdir, limits)
            && env.iter().all(|variable| start.env.contains(variable));
        let added: Vec<_> = start.env.iter().filter(|variable| !env.contains(variable)).collect();
        if !same || added.iter().any(|(name, _)| !name.starts_with(LATE)) {
            return None;
        }
        let file = |PlacedFile { path, mode, content }: &PlacedFile| {
            let text = std::str::from_utf8(content).ok()?;
            path.starts_with(workdir).then(|| json!([path, mode, text]))
        };
        let files = late.iter().map(file).collect::<Option<Vec<_>>>()?;
        let added: serde_json::Map<_, _> =
            added.into_iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        Some(json!({"argv": start.argv, "env": added, "files": files, "stdin": start.stdin.is_some()}))
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The end of what it printed; its end of the pipe is closed, or full.
fn last_words(noise: OwnedFd) -> String {
    const MOST: u64 = 4 << 10;
    let mut printed = Vec::new();
    // a pipe that has no more to give says so, or ends
    let _ = io::Read::read_to_end(&mut io::Read::take(fs::File::from(noise), MOST), &mut printed);
    String::from_utf8_lossy(&printed).trim().lines().last().unwrap_or("without a word").to_owned()
}
