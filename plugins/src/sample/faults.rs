//! The faults that any program may have. Each does what it says to the process it runs in.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, Signal};

use super::config::Config;
use crate::Error;
use crate::cli::log;

/// Touched at this distance, so that every page is really there.
const PAGE: usize = 4096;

/// Faults that are there from the start. Keep the answer: it is the memory to be held.
pub(super) fn at_start(config: &Config) -> Result<Vec<u8>, Error> {
    if config.ignore_sigterm {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        let blocked = signals.thread_block(); // before any thread is started, so for all of them
        blocked.map_err(|errno| Error::Stream { operation: "block SIGTERM", source: errno.into() })?;
    }
    if config.spawn_child {
        spawn_child()?;
    }
    flood_stderr(config.stderr_flood);
    let size = usize::try_from(config.allocate)
        .map_err(|_| Error::invalid("allocate is more than this machine can address"))?;
    let mut memory = vec![0; size];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    Ok(std::hint::black_box(memory))
}

/// Faults that are due when so many records are done.
pub(super) fn after(config: &Config, records: u64) -> Result<(), Error> {
    if config.crash_after == Some(records) {
        log("ERROR", format_args!("crashing after {records} records as configured"));
        std::process::abort();
    }
    if let Some(exit) = config.exit_after.filter(|exit| exit.records == records) {
        log("ERROR", format_args!("ending after {records} records with code {} as configured", exit.code));
        return Err(Error::Exit(exit.code));
    }
    if config.hang_after == Some(records) {
        log("INFO", format_args!("hanging after {records} records as configured"));
        hang();
    }
    Ok(())
}

/// Whether [`after`] would do something, so that output is handed over before it.
pub(super) fn due_after(config: &Config, records: u64) -> bool {
    [config.crash_after, config.hang_after, config.exit_after.map(|exit| exit.records)]
        .contains(&Some(records))
}

/// Never returns, and uses no cpu time.
pub(super) fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// What the spawned child is: alone in a session of its own, for ever.
pub(super) fn linger() -> ! {
    // Fails only for a leader of a group, which a child of ours is not; then it lingers in its group.
    let _ = nix::unistd::setsid();
    hang()
}

fn spawn_child() -> Result<(), Error> {
    let failed = |source| Error::Stream { operation: "start the lingering child", source };
    let program = std::env::current_exe().map_err(failed)?;
    let child = Command::new(program)
        .arg0("flexcore-sample")
        .arg("linger")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    log("INFO", format_args!("started child {}", child.id()));
    Ok(())
}

fn flood_stderr(bytes: u64) {
    let line = [b"0123456789abcdef".repeat(8).as_slice(), b"\n"].concat();
    let mut stderr = std::io::stderr().lock();
    for _ in 0..bytes.div_ceil(line.len() as u64) {
        if stderr.write_all(&line).is_err() {
            return;
        }
    }
}
