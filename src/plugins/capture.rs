//! Runs a helping program (`--discover`, `venv`, `pip`) to its end and keeps what it printed, within bounds.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::launch::{Jail, Launch, Launched, Start, Status};
use super::limits::{LOG_READ, MAX_LOG_LINE};
use super::log::{ProgramLog, Stream};
use super::output::{Line, LineCutter, Output};
use super::relay::pipe;
use super::report;

/// A helping program.
#[derive(Debug)]
pub struct Helper {
    /// Arguments, environment and limits, as in [`Start`].
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Where it starts.
    pub workdir: std::path::PathBuf,
    /// What it sees and may do; `None` for a helper of FlexCore's own.
    pub jail: Option<Jail>,
    /// What it may use.
    pub limits: flexcore_actors::domain::plugin::Limits,
    /// How long it may take.
    pub timeout: Duration,
    /// Bytes of standard output to keep; more is an error.
    pub max_output: usize,
    /// Where its standard error goes, besides [`Captured::tail`].
    pub log: Option<ProgramLog>,
    /// Whether its standard output goes there too.
    pub log_output: bool,
}

/// What a helping program did.
#[derive(Debug)]
pub struct Captured {
    /// How it ended.
    pub status: Status,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The last lines of its standard error.
    pub tail: Vec<String>,
}

/// Why a helping program gave nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// It did not start.
    #[error("{0}")]
    NotStarted(String),
    /// It took too long and was ended.
    #[error("it did not end within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It printed too much and was ended.
    #[error("it printed more than {0} bytes")]
    TooMuch(usize),
    /// It was ended because nobody wants it any more.
    #[error("it was stopped")]
    Stopped,
}

impl From<io::Error> for HelperError {
    fn from(error: io::Error) -> Self {
        Self::NotStarted(format!("its pipes could not be made: {error}"))
    }
}

/// Lines of standard error that [`Captured::tail`] holds.
const TAIL_LINES: usize = super::limits::BUILD_TAIL;

/// Runs a helper to its end; whatever the outcome, its whole tree is gone then.
///
/// # Errors
/// [`HelperError`]; a failing exit code is none.
pub async fn capture(
    launcher: &dyn Launch,
    helper: Helper,
    stop: &CancellationToken,
) -> Result<Captured, HelperError> {
    let (stdout, child_stdout) = pipe::small()?;
    let (stderr, child_stderr) = pipe::small()?;
    let Helper { argv, env, workdir, jail, limits, timeout, max_output, log, log_output } = helper;
    let (output_log, remarks) = (log.clone().filter(|_| log_output), log.clone());
    let start =
        Start { argv, env, workdir, stdin: None, stdout: child_stdout, stderr: child_stderr, limits, jail };
    let Launched { control, mut ended, .. } =
        launcher.start(start).await.map_err(|e| HelperError::NotStarted(e.to_string()))?;
    let gone = CancellationToken::new();
    let reading = {
        let (stdout, stderr) = (Output::new(stdout, gone.clone())?, Output::new(stderr, gone.clone())?);
        async { tokio::join!(keep(stdout, max_output, output_log), tail(stderr, log)) }
    };
    tokio::pin!(reading);
    let deadline = tokio::time::sleep(timeout);
    tokio::pin!(deadline);
    let (mut status, mut kept, mut failure) = (None, None, None);
    while status.is_none() || kept.is_none() {
        tokio::select! {
            end = &mut ended, if status.is_none() => {
                if let Some(log) = &remarks {
                    report::remark_on_network(end.network.as_ref(), log);
                }
                status = Some(end.status);
                gone.cancel();
            }
            (output, lines) = &mut reading, if kept.is_none() => {
                if output.is_err() {
                    control.stop(Duration::ZERO);
                }
                kept = Some((output, lines));
            }
            () = &mut deadline, if status.is_none() && failure.is_none() => {
                failure = Some(HelperError::TimedOut(timeout));
                control.stop(Duration::ZERO);
            }
            () = stop.cancelled(), if status.is_none() && failure.is_none() => {
                failure = Some(HelperError::Stopped);
                control.stop(Duration::ZERO);
            }
        }
    }
    let (Some(status), Some((output, tail)), None) = (status, kept, failure.as_ref()) else {
        return Err(failure.unwrap_or(HelperError::Stopped));
    };
    Ok(Captured { status, stdout: output?, tail })
}

/// Keeps everything up to `max` bytes; ends early beyond.
async fn keep(mut output: Output, max: usize, log: Option<ProgramLog>) -> Result<Vec<u8>, HelperError> {
    let (mut kept, mut buffer, mut cutter) = (Vec::new(), vec![0; LOG_READ], LineCutter::new(MAX_LOG_LINE));
    loop {
        let count = output.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        if kept.len() + count > max {
            return Err(HelperError::TooMuch(max));
        }
        kept.extend_from_slice(&buffer[..count]);
        if let Some(log) = &log {
            log.lines(Stream::Stdout, &cutter.push(&buffer[..count]));
        }
    }
}

/// Logs every line and keeps the last ones.
async fn tail(mut output: Output, log: Option<ProgramLog>) -> Vec<String> {
    let (mut cutter, mut buffer) = (LineCutter::new(MAX_LOG_LINE), vec![0; LOG_READ]);
    let mut last: VecDeque<String> = VecDeque::with_capacity(TAIL_LINES);
    loop {
        let count = output.read(&mut buffer).await.unwrap_or(0);
        let lines: Vec<Line> =
            if count == 0 { cutter.finish().into_iter().collect() } else { cutter.push(&buffer[..count]) };
        for line in lines.iter().filter(|line| !line.bytes.is_empty()) {
            if last.len() == TAIL_LINES {
                last.pop_front();
            }
            last.push_back(String::from_utf8_lossy(&line.bytes).trim_end().to_owned());
        }
        if let Some(log) = &log {
            log.lines(Stream::Stderr, &lines);
        }
        if count == 0 {
            return last.into();
        }
    }
}
