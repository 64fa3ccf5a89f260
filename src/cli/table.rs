//! Tables that line up, without borders. Never in here: what stands in them.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table as Grid, presets};

use super::human::printable;
use super::output::{tint, tone_of};

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

/// Colours whole status words; done on finished lines, so that escapes cannot disturb the widths.
fn tint_words(line: &str) -> String {
    line.split(' ').map(|word| tint(word, tone_of(word), true)).collect::<Vec<_>>().join(" ")
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
}
