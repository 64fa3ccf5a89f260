//! How the story is told: numbered lines that line up, with progress below them while it goes on. Never in here: what
//! happens in it.

use super::super::failure::Failure;
use super::super::output::{Terminal, Tone};
use super::super::progress::Progress;
use super::super::table::Table;
use super::super::wire::Execution;

/// The story on a terminal.
pub(super) struct Story<'t> {
    terminal: &'t mut Terminal,
    progress: Progress,
    told: u32,
}

impl<'t> Story<'t> {
    pub(super) fn new(terminal: &'t mut Terminal) -> Self {
        let progress = Progress::new(terminal.is_live());
        Self { terminal, progress, told: 0 }
    }

    /// The first line.
    pub(super) fn title(&mut self, text: &str) -> Result<(), Failure> {
        let text = self.terminal.bold(text);
        self.terminal.line(&format!("{text}\n"))
    }

    /// The next numbered line.
    pub(super) fn tell(&mut self, what: &str, text: &str) -> Result<(), Failure> {
        self.told += 1;
        // coloured after it is padded, so that colour takes no width
        let tone = if what == "kill -9" { Tone::Bad } else { Tone::Good };
        let what = self.terminal.tinted(&format!("{what:<10}"), tone);
        let line = format!("{:>3}  {what}  {text}", self.told);
        let terminal = &mut *self.terminal;
        self.progress.suspend(|| terminal.line(&line))
    }

    /// Lines that are no part of the story.
    pub(super) fn aside(&mut self, lines: &[&str]) -> Result<(), Failure> {
        self.terminal.line("")?;
        lines.iter().try_for_each(|line| self.terminal.line(line))
    }

    /// A table, set in.
    pub(super) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        let text = table.render(false);
        text.lines().try_for_each(|line| self.terminal.line(&format!("     {line}")))
    }

    /// How far it is.
    pub(super) fn progress(&mut self, execution: &Execution) {
        self.progress.show(self.terminal, execution);
    }

    /// Takes the moving part away.
    pub(super) fn still(&mut self) {
        self.progress.clear();
    }

    pub(super) fn finish(&mut self) {
        self.progress.clear();
    }
}
