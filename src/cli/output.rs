//! Where answers go: standard output and error, colour only on a terminal. Never in here: what the answers are.

use std::io::{self, IsTerminal as _, Write};

use owo_colors::OwoColorize as _;
use serde_json::Value;

use super::failure::{Exit, Failure};
use super::table::Table;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    Table,
    /// The node's own answer, for programs.
    Json,
}

/// Standard output and error, and whether a person is looking.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    out_colour: bool,
    err_colour: bool,
    live: bool,
}

/// What a word says about the state of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// It failed.
    Bad,
    /// It is on its way, or waits.
    Busy,
    /// Nothing to see.
    Plain,
}

impl Terminal {
    /// The process's own.
    #[must_use]
    pub fn process() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let err_terminal = io::stderr().is_terminal();
        Self {
            out: Box::new(io::BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            out_colour: !plain && io::stdout().is_terminal(),
            err_colour: !plain && err_terminal,
            live: err_terminal,
        }
    }

    /// Two plain writers.
    #[cfg(test)]
    pub fn plain(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        let (out, err) = (Box::new(out), Box::new(err));
        Self { out, err, out_colour: false, err_colour: false, live: false }
    }

    /// Whether progress may be drawn over itself on standard error.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// Writes a line of the answer. It is seen at once.
    ///
    /// # Errors
    /// What the writer says; a closed pipe ends the command quietly.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// Writes text of the answer as it is.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    /// Writes a remark to standard error; nobody minds when it is lost.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Writes a table of the answer.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn table(&mut self, table: &Table) -> Result<(), Failure> {
        let text = table.render(self.out_colour);
        self.raw(text.as_bytes())
    }

    /// Writes JSON of the answer.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&format!("{value:#}"))
    }

    /// A word of the answer in its tone's colour.
    #[must_use]
    pub fn tinted(&self, text: &str, tone: Tone) -> String {
        tint(text, tone, self.out_colour)
    }

    /// A heading of the answer.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        if self.out_colour { text.bold().to_string() } else { text.to_owned() }
    }

    /// Says on standard error why a command did not succeed, and what to do next.
    pub fn failure(&mut self, failure: &Failure) {
        if failure.exit == Exit::OutputClosed || failure.message.is_empty() {
            return;
        }
        let label = tint("error", Tone::Bad, self.err_colour);
        self.note(&format!("{label}: {}", failure.message));
        for detail in &failure.details {
            self.note(&format!("  {detail}"));
        }
        if let Some(hint) = &failure.hint {
            let label = tint("hint", Tone::Busy, self.err_colour);
            self.note(&format!("{label}: {hint}"));
        }
    }
}

/// `text` in its tone's colour, or as it is.
#[must_use]
pub fn tint(text: &str, tone: Tone, colour: bool) -> String {
    match tone {
        _ if !colour => text.to_owned(),
        Tone::Good => text.green().to_string(),
        Tone::Bad => text.red().to_string(),
        Tone::Busy => text.yellow().to_string(),
        Tone::Plain => text.to_owned(),
    }
}

/// The tone of a status word of the contract.
#[must_use]
pub fn tone_of(status: &str) -> Tone {
    match status {
        "completed" | "active" | "enabled" | "healthy" | "created" | "running" => Tone::Good,
        "failed" | "quarantined" | "down" => Tone::Bad,
        "queued" | "paused" | "draft" | "backing_off" | "waiting" | "cancelled" | "disabled" | "revised" => {
            Tone::Busy
        }
        _ => Tone::Plain,
    }
}
