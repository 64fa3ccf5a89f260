//! Where answers go: tables that line up, JSON, colour only on a terminal. Never in here: what the answers are.

use std::io::{self, IsTerminal as _, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table as Grid, presets};
use jiff::Timestamp;
use owo_colors::OwoColorize as _;
use serde_json::Value;

use super::failure::{Exit, Failure};

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

fn tint(text: &str, tone: Tone, colour: bool) -> String {
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

/// Rows under headings, without borders.
#[derive(Debug, Clone)]
pub struct Table {
    headings: Vec<(&'static str, CellAlignment)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; one that begins with `>` stands over numbers, which line up on the right.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        let headings = headings
            .iter()
            .map(|heading| match heading.strip_prefix('>') {
                Some(heading) => (heading, CellAlignment::Right),
                None => (*heading, CellAlignment::Left),
            })
            .collect();
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(
            cells.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).collect(),
        );
    }

    /// The table as text; status words are coloured when `colour`.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        grid.set_header(self.headings.iter().map(|(text, align)| Cell::new(text).set_alignment(*align)));
        for row in &self.rows {
            let cells = row.iter().zip(&self.headings);
            grid.add_row(cells.map(|(text, (_, align))| Cell::new(printable(text)).set_alignment(*align)));
        }
        for column in grid.column_iter_mut() {
            column.set_padding((0, 3));
        }
        let mut text = String::new();
        for line in grid.lines() {
            text.push_str(&if colour { tint_words(line.trim_end()) } else { line.trim_end().to_owned() });
            text.push('\n');
        }
        text
    }
}

/// Control characters (a name or message may come from anywhere) become visible; a cell is one line.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Colours whole status words; done on finished lines, so that escapes cannot disturb the widths.
fn tint_words(line: &str) -> String {
    line.split(' ').map(|word| tint(word, tone_of(word), true)).collect::<Vec<_>>().join(" ")
}

/// A field of an answer as one cell: texts bare, nothing as an empty text, numbers and others as JSON.
#[must_use]
pub fn field(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A number with thousands set apart: `12,345`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes for people: `4.1 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn bytes(number: u64) -> String {
    match number {
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
        n if n >= 1 << 20 => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
        n if n >= 1 << 10 => format!("{:.1} KiB", n as f64 / f64::from(1 << 10)),
        n => format!("{n} B"),
    }
}

/// A span for people: `0.4s`, `12.3s`, `2m05s`, `3h10m`.
#[must_use]
pub fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{}s", milliseconds % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long ago a time of the contract was: `5m12s`; empty when it is absent.
#[must_use]
pub fn age(time: &str, now: Timestamp) -> String {
    between(time, now).map(span).unwrap_or_default()
}

/// Milliseconds from a time of the contract to `end`.
#[must_use]
pub fn between(start: &str, end: Timestamp) -> Option<u64> {
    let start: Timestamp = start.parse().ok()?;
    u64::try_from(end.as_millisecond() - start.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_cells_hold() {
        let mut table = Table::new(&["NAME", ">RECORDS", "STATUS"]);
        table.row(["a".into(), "1".into(), "completed".into()]);
        table.row(["much-longer é".into(), "12,345".into(), String::new()]);
        table.row(["tab\there\nnewline".into(), "7".into(), "failed".into()]);
        let text = table.render(false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let column = |line: &str, word: &str| {
            line.chars().take(line.find(word).map_or(0, |at| line[..at].chars().count())).count()
        };
        assert_eq!(column(lines[0], "STATUS"), column(lines[1], "completed"), "{text}");
        assert_eq!(column(lines[0], "STATUS"), column(lines[3], "failed"), "{text}");
        assert_eq!(
            column(lines[2], "12,345") + 6,
            column(lines[1], " 1 ") + 2,
            "numbers end together\n{text}"
        );
        assert!(lines[2].ends_with('-'), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(
            lines.iter().all(|line| *line == line.trim_end() && line.starts_with(char::is_alphanumeric)),
            "{text}"
        );
    }

    #[test]
    fn colour_changes_no_letter() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(["x".into(), "failed".into()]);
        let coloured = table.render(true);
        assert!(coloured.contains("\u{1b}[31mfailed\u{1b}[39m"), "{coloured:?}");
        let bare = coloured.replace("\u{1b}[31m", "").replace("\u{1b}[39m", "");
        assert_eq!(bare, table.render(false));
    }

    #[test]
    fn quantities_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!([bytes(12), bytes(4_300_000), bytes(3 << 30)], ["12 B", "4.1 MiB", "3.0 GiB"]);
        for (ms, text) in [
            (420, "0.4s"),
            (12_345, "12.3s"),
            (125_000, "2m05s"),
            (11_400_000, "3h10m"),
            (180_000_000, "2d02h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
