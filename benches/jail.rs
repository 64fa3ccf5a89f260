//! What the jail costs against bubblewrap with everything unshared and against a plain `posix_spawn`: one start at a time, a
//! hundred and a thousand at once, the memory of each and the end of all. In turns; it compares and prints, it never judges.
//!
//! Run it with `cargo build --profile dist && cargo bench --profile dist --bench jail`. Programs are ready when their first
//! byte arrives: then they are executed and work. The relay through the jail is a part of `pipe own`.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/figures.rs"]
mod figures;

use std::fs::{File, read_to_string};
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flexcore::sandbox::{Jail, Launcher, Program, ProgramLimits, Running, level};
use flexcore_jailer::process_tree::descendants;
use futures::future::{join_all, try_join_all};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::getpid;

use self::figures::percentile;

const STARTS: usize = 200;
const CROWD_ROUNDS: usize = 7;
const CROWD: usize = 100;
const MANY: usize = 1_000;
/// One process: says that it runs, and waits for the end of its input.
const PROGRAM: [&str; 3] = ["/bin/sh", "-c", "printf x; read y"];
const BUBBLEWRAP: [&str; 10] =
    ["--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--"];

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn figures(values: &[f64]) -> String {
    format!("{:.2} / {:.2}", percentile(values, 0.5), percentile(values, 0.95))
}

/// The pipes of a number of programs that are started together.
struct Streams {
    input: (PipeReader, PipeWriter),
    output: (PipeReader, PipeWriter),
}

impl Streams {
    fn new() -> Result<Self> {
        Ok(Self { input: pipe()?, output: pipe()? })
    }

    /// Waits until so many programs have said that they run.
    fn ready(&self, programs: usize) -> Result<()> {
        let mut said = vec![0; programs];
        Ok((&self.output.0).read_exact(&mut said)?)
    }
}

/// How programs are started without FlexCore.
#[derive(Clone, Copy)]
enum Other {
    Spawn,
    Bubblewrap,
}

impl Other {
    fn start(self, streams: &Streams) -> Result<Child> {
        let mut command = match self {
            Self::Spawn => Command::new(PROGRAM[0]),
            Self::Bubblewrap => {
                let mut command = Command::new("bwrap");
                command.args(BUBBLEWRAP).arg(PROGRAM[0]);
                command
            }
        };
        let (input, output) = (streams.input.0.try_clone()?, streams.output.1.try_clone()?);
        let command = command.args(&PROGRAM[1..]).stdin(input).stdout(output).stderr(Stdio::null());
        command.spawn().context("cannot be started")
    }
}

/// A program in the jail.
async fn jailed(launcher: &Launcher, folder: &Path, streams: &Streams) -> Result<Running> {
    let limits = ProgramLimits {
        memory_bytes: 512 << 20,
        cpu_time: None,
        open_files: 256,
        file_size: None,
        processes: 64,
        scratch_bytes: 1 << 28,
        millicpus: 1_000,
    };
    let program = Program {
        argv: PROGRAM.map(str::to_owned).to_vec(),
        env: Vec::new(),
        workdir: folder.to_path_buf(),
        stdin: Some(OwnedFd::from(streams.input.0.try_clone()?)),
        stdout: OwnedFd::from(streams.output.1.try_clone()?),
        stderr: OwnedFd::from(File::create("/dev/null")?),
        limits,
        jail: Some(Jail::default()),
    };
    Ok(launcher.start(program).await?)
}

/// One at a time, in turns: the milliseconds until each is ready.
async fn idle(launcher: &Launcher, folder: &Path, others: &[(&str, Other)]) -> Result<()> {
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); others.len()];
    for round in 0..=STARTS {
        for ((_, other), times) in others.iter().zip(&mut theirs) {
            let streams = Streams::new()?;
            let began = Instant::now();
            let mut child = other.start(&streams)?;
            streams.ready(1)?;
            times.push(ms(began.elapsed()));
            drop(streams);
            child.wait()?;
        }
        let streams = Streams::new()?;
        let began = Instant::now();
        let mut running = jailed(launcher, folder, &streams).await?;
        streams.ready(1)?;
        ours.push(ms(began.elapsed()));
        drop(streams);
        running.wait().await;
        if round == 0 {
            // the first of each finds cold caches
            ours.clear();
            theirs.iter_mut().for_each(Vec::clear);
        }
    }
    println!("one at a time, p50 / p95 of {STARTS} in ms until ready");
    println!("  {:<14}{}", "jail", figures(&ours));
    for ((name, _), times) in others.iter().zip(&theirs) {
        let ratio = percentile(&ours, 0.5) / percentile(times, 0.5);
        println!("  {name:<14}{:<16}jail : {name} = {ratio:.2}", figures(times));
    }
    Ok(())
}

/// What starting `programs` together took.
#[derive(Default)]
struct Crowd {
    ready: Vec<f64>,
    memory: Vec<f64>,
    gone: Vec<f64>,
}

impl Crowd {
    fn print(&self, name: &str) {
        println!(
            "  {name:<14}{:<18}{:<16}{:.2}",
            figures(&self.ready),
            figures(&self.gone),
            percentile(&self.memory, 0.5)
        );
    }
}

/// All in the jail at once.
async fn jailed_crowd(launcher: &Launcher, folder: &Path, programs: usize, crowd: &mut Crowd) -> Result<()> {
    let streams = Streams::new()?;
    let began = Instant::now();
    let mut all = try_join_all((0..programs).map(|_| jailed(launcher, folder, &streams))).await?;
    streams.ready(programs)?;
    crowd.ready.push(ms(began.elapsed()));
    crowd.memory.push(memory_below() / programs as f64);
    let began = Instant::now();
    all.iter().for_each(Running::kill);
    let ends = join_all(all.iter_mut().map(Running::wait)).await;
    crowd.gone.push(ms(began.elapsed()));
    ensure!(ends.iter().all(|end| end.survivors.is_empty()), "programs survived");
    Ok(())
}

/// The same by bubblewrap.
fn other_crowd(other: Other, programs: usize, crowd: &mut Crowd) -> Result<()> {
    let streams = Streams::new()?;
    let began = Instant::now();
    let mut all = (0..programs).map(|_| other.start(&streams)).collect::<Result<Vec<_>>>()?;
    streams.ready(programs)?;
    crowd.ready.push(ms(began.elapsed()));
    crowd.memory.push(memory_below() / programs as f64);
    let began = Instant::now();
    for child in &mut all {
        child.kill()?;
    }
    for child in &mut all {
        child.wait()?;
    }
    // those below may outlive the one that was waited for
    while !descendants(getpid()).is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    crowd.gone.push(ms(began.elapsed()));
    Ok(())
}

/// MiB of everything below this process; pages that several share are divided among them.
fn memory_below() -> f64 {
    let kib = |pid| {
        let text = read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("Pss:"))?
            .split_whitespace()
            .next()?
            .parse::<f64>()
            .ok()
    };
    descendants(getpid()).into_iter().filter_map(|one| kib(one.pid)).sum::<f64>() / 1024.0
}

async fn crowds(launcher: &Launcher, folder: &Path, others: &[(&str, Other)]) -> Result<()> {
    let mut ours = Crowd::default();
    let mut theirs: Vec<Crowd> = others.iter().map(|_| Crowd::default()).collect();
    for _ in 0..CROWD_ROUNDS {
        jailed_crowd(launcher, folder, CROWD, &mut ours).await?;
        for ((_, other), crowd) in others.iter().zip(&mut theirs) {
            other_crowd(*other, CROWD, crowd)?;
        }
    }
    println!("{CROWD} at once, p50 / p95 of {CROWD_ROUNDS} in ms: all ready, all gone; MiB of each");
    ours.print("jail");
    for ((name, _), crowd) in others.iter().zip(&theirs) {
        crowd.print(name);
    }
    let mut many = Crowd::default();
    jailed_crowd(launcher, folder, MANY, &mut many).await?;
    println!("{MANY} at once, once");
    many.print("jail");
    Ok(())
}

/// The launcher beside this build's programs.
fn jailer() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_flexcore")).with_file_name("flexcore-jailer");
    ensure!(path.is_file(), "{} is missing: build it with the same profile first", path.display());
    Ok(path)
}

#[tokio::main]
async fn main() -> Result<()> {
    // a thousand programs take several descriptors each
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let folder = tempfile::tempdir()?;
    let launcher = Launcher::new(jailer()?);
    let (findings, groups) = launcher.probe(&format!("bench-{}", std::process::id())).await;
    println!("the jail's level on this host: {}", level::Level::without(&findings.missing()));
    let launcher = groups.into_iter().fold(launcher, Launcher::with_groups);
    let mut others = vec![("posix_spawn", Other::Spawn)];
    let found = Command::new("bwrap").arg("--version").stdout(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        others.push(("bubblewrap", Other::Bubblewrap));
    } else {
        println!("bubblewrap is not installed: nothing is compared with it");
    }
    // as a node has it; it would be one too many where all are counted
    idle(&launcher.clone().with_spare(), folder.path(), &others).await?;
    crowds(&launcher, folder.path(), &others).await
}
