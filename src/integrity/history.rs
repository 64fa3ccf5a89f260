//! Reads all checkpoints of a directory, page by page: the files of its days by name, and in each one note after another.
//! Strict: whatever is no note is told, since nobody but us should write there. Never in here: whether a note is to be
//! believed.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flexcore_actors::domain::integrity::note::MAX_NOTE_BYTES;
use flexcore_actors::ports::checkpoints::{NotePage, NotePlace, OutsideError};

use super::directory::{LATEST, SIGNATURE, SUFFIX, TEXT_LINES, unavailable};

/// Notes of a page at most.
const PAGE: usize = 1_024;

/// The notes from a place on. After the last day comes `latest`, which a crash or a careful hand may have left alone.
pub(super) fn page(directory: &Path, from: NotePlace) -> Result<NotePage, OutsideError> {
    let mut at = from;
    for day in files(directory).map_err(unavailable("list its files"))? {
        if day < at.file {
            continue;
        }
        let offset = if day == at.file { at.offset } else { 0 };
        let (notes, end) = read(&directory.join(&day), offset)?;
        at = NotePlace { file: day, offset: end };
        if !notes.is_empty() {
            return Ok(NotePage { notes, next: at });
        }
    }
    Ok(NotePage { notes: Vec::new(), next: at })
}

/// The files that hold notes, in the order in which they were written; `latest` sorts behind all days.
fn files(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        if let Ok(name) = entry?.file_name().into_string()
            && (name.ends_with(SUFFIX) || name == LATEST)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Up to [`PAGE`] notes from an offset, and where the next one begins. A note without end is left where it is: it is
/// being written, or a crash has cut it.
fn read(path: &Path, offset: u64) -> Result<(Vec<String>, u64), OutsideError> {
    let name = path.display();
    let lines = |operation| unavailable(operation);
    let mut file = File::open(path).map_err(lines("open a file"))?;
    file.seek(SeekFrom::Start(offset)).map_err(lines("read a file"))?;
    let mut reader = BufReader::new(file);
    let (mut notes, mut end) = (Vec::new(), offset);
    let mut next = line(&mut reader).map_err(lines("read a file"))?;
    while notes.len() < PAGE && !next.is_empty() {
        let mut note = String::new();
        // three lines of text and an empty one, then all that sign
        while !next.is_empty() && (note.lines().count() <= TEXT_LINES || next.starts_with(SIGNATURE)) {
            if note.len() + next.len() > MAX_NOTE_BYTES {
                return Err(OutsideError::Damaged(format!("{name}: a note is longer than 64 KiB")));
            }
            note.push_str(&next);
            next = line(&mut reader).map_err(lines("read a file"))?;
        }
        if !note.ends_with('\n') || note.lines().count() <= TEXT_LINES + 1 {
            break;
        }
        end += note.len() as u64;
        notes.push(note);
    }
    Ok((notes, end))
}

/// A line with its end; at most the length of a note.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(MAX_NOTE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    String::from_utf8(line).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(size: u64) -> String {
        format!("example.com/log\n{size}\nroot\n\n\u{2014} example.com/log {size}AAAA\n")
    }

    fn all(directory: &Path) -> Vec<String> {
        let (mut found, mut at) = (Vec::new(), NotePlace::default());
        loop {
            let page = page(directory, at).unwrap();
            if page.notes.is_empty() {
                return found;
            }
            found.extend(page.notes);
            at = page.next;
        }
    }

    #[test]
    fn notes_come_in_the_order_of_the_days() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(all(folder.path()), Vec::<String>::new());
        let many: Vec<String> = (0..PAGE as u64 + 10).map(note).collect();
        write("2026-01-02.checkpoints", many.concat());
        write("2026-01-01.checkpoints", note(900_000) + &note(900_001));
        write("lock", String::new());
        let mut expected = vec![note(900_000), note(900_001)];
        expected.extend(many);
        assert_eq!(all(folder.path()), expected);
        // two keys sign while one is replaced; what a crash has cut is not there yet
        let two = note(7) + "\u{2014} example.com/log BBBB\n";
        write("2026-01-02.checkpoints", two.clone() + &note(8)[..30]);
        write("2026-01-01.checkpoints", String::new());
        assert_eq!(all(folder.path()), vec![two.clone()]);
        write("latest", note(8));
        assert_eq!(all(folder.path()), vec![two, note(8)]);
    }
}
