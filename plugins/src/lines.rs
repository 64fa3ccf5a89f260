//! Lines of a stream or file, of bounded length, each with its number and place. Knows nothing of what is in them.

use std::io::{self, BufRead, BufReader, Read};

/// The longest line that is read, in bytes without its end: the runtime's default `limits.line`.
pub(crate) const MAX_LINE: usize = 128 << 20;

/// How much is asked of the system at once, in bytes.
pub(crate) const READ_BUFFER: usize = 256 << 10;

/// What is kept of a grown line buffer once the long line is done, in bytes.
const KEEP_BUFFER: usize = 1 << 20;

/// One line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub number: u64,
    pub bytes: &'a [u8],
    /// False only for a last line that the stream ended in the middle of.
    pub terminated: bool,
}

/// Why there is no next line.
#[derive(Debug)]
pub(crate) enum LineError {
    Read(io::Error),
    /// The line of this number is longer than [`MAX_LINE`].
    TooLong(u64),
}

/// Reads lines ended by `\n` or `\r\n`.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
    offset: u64,
    max: usize,
}

impl<R: Read> Lines<R> {
    /// Lines from where `reader` stands.
    pub fn new(reader: R) -> Self {
        Self::starting_at(reader, 0, 0)
    }

    /// Lines of a reader that already stands after `number` lines and `offset` bytes.
    pub fn starting_at(reader: R, number: u64, offset: u64) -> Self {
        let reader = BufReader::with_capacity(READ_BUFFER, reader);
        Self { reader, line: Vec::new(), number, offset, max: MAX_LINE }
    }

    /// How many lines have been read, those before the start included.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes have been read as lines, those before the start included.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The reader underneath.
    pub fn get_ref(&self) -> &R {
        self.reader.get_ref()
    }

    /// Whether the next line can be begun without asking the system.
    pub fn has_buffered(&self) -> bool {
        !self.reader.buffer().is_empty()
    }

    /// The next line; `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, LineError> {
        self.line.clear();
        self.line.shrink_to(KEEP_BUFFER);
        let most = self.max as u64 + 2;
        let read =
            (&mut self.reader).take(most).read_until(b'\n', &mut self.line).map_err(LineError::Read)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.offset += read as u64;
        let terminated = self.line.ends_with(b"\n");
        let mut bytes = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        if terminated {
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        }
        if bytes.len() > self.max {
            return Err(LineError::TooLong(self.number));
        }
        Ok(Some(Line { number: self.number, bytes, terminated }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_number_and_end() {
        let mut lines = Lines::new(&b"a\r\n\nlast"[..]);
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            seen.push((line.number, line.bytes.to_vec(), line.terminated));
        }
        assert_eq!(seen, [(1, b"a".to_vec(), true), (2, b"".to_vec(), true), (3, b"last".to_vec(), false)]);
        assert_eq!(lines.offset(), 8);
    }

    #[test]
    fn a_line_over_the_limit_is_refused_by_number() {
        let mut lines = Lines::new(&b"1234\r\n12345\n"[..]);
        lines.max = 4;
        assert!(lines.next_line().unwrap().is_some());
        assert!(matches!(lines.next_line(), Err(LineError::TooLong(2))));
    }
}
