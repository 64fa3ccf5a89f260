//! Runs a command in the foreground to its end, so that nothing started beside it outlives an interruption.
//!
//! While a command runs here, Ctrl-C, SIGTERM and SIGHUP do not end this process: the command gets them, and the
//! caller's guards (servers, folders) are dropped as after any other end.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;

/// How long the command may take to end after an interruption before it is killed.
const INTERRUPTED_DEADLINE: Duration = Duration::from_secs(30);
/// How often the command's end and a signal's arrival are looked for.
const POLL: Duration = Duration::from_millis(20);
/// Added to a signal's number, as shells do.
const SIGNAL_EXIT_BASE: i32 = 128;

/// The last signal that arrived; 0 for none.
static ARRIVED: AtomicI32 = AtomicI32::new(0);

/// From now on an interruption is remembered instead of ending this process.
///
/// Handlers, unlike masks, are not inherited through exec: the commands started later behave as usual.
pub fn catch_interruptions() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(remember), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot handle {signal}"))?;
    }
    Ok(())
}

/// The exit code for an interruption that arrived between two commands.
pub fn interrupted() -> Option<u8> {
    match ARRIVED.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(u8::try_from(SIGNAL_EXIT_BASE + signal).unwrap_or(1)),
    }
}

/// Runs `command` to its end and returns its exit code, 128 + n when signal n ended it.
pub fn run(command: &mut Command) -> Result<u8> {
    let program = command.get_program().to_owned();
    let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    let mut interrupted_at: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(exit_code(status));
        }
        match (ARRIVED.load(Ordering::Relaxed), interrupted_at) {
            (0, _) => {}
            (signal, None) => {
                interrupted_at = Some(Instant::now());
                pass_on(&child, signal);
            }
            (_, Some(since)) if since.elapsed() > INTERRUPTED_DEADLINE => child.kill()?,
            _ => {}
        }
        std::thread::sleep(POLL);
    }
}

extern "C" fn remember(signal: nix::libc::c_int) {
    ARRIVED.store(signal, Ordering::Relaxed);
}

/// Ctrl-C has reached the whole foreground group already (a second SIGINT would make nextest give up its clean end);
/// the other signals are sent to one process, us.
fn pass_on(child: &Child, signal: i32) {
    if let (Ok(pid), Ok(signal)) = (i32::try_from(child.id()), Signal::try_from(signal))
        && signal != Signal::SIGINT
        && let Err(error) = kill(Pid::from_raw(pid), signal)
    {
        eprintln!("warning: cannot pass {signal} on to process {pid}: {error}");
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNAL_EXIT_BASE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_commands() {
        let run_shell = |script: &str| run(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(run_shell("exit 0"), 0);
        assert_eq!(run_shell("exit 7"), 7);
        assert_eq!(run_shell("kill -KILL $$"), 137);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("/nonexistent/program")).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/program"), "{error:#}");
    }
}
