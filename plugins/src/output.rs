//! Standard output in whole lines and large writes. Knows nothing of the messages.

use std::io::Write;

use crate::Error;

/// Written out once this many bytes wait.
const WRITE_AT: usize = 128 << 10;

/// What is kept of a buffer that one huge message has grown, in bytes.
const KEEP_BUFFER: usize = 1 << 20;

/// Collects lines and writes them in large pieces. Only whole lines leave, whatever ends the program.
pub(crate) struct Output<W> {
    buffer: Vec<u8>,
    writer: W,
}

impl<W: Write> Output<W> {
    pub fn new(writer: W) -> Self {
        Self { buffer: Vec::with_capacity(2 * WRITE_AT), writer }
    }

    /// Where the next line is written. Finish it with `\n`, then call [`Self::line_done`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes out if enough has gathered.
    #[inline]
    pub fn line_done(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= WRITE_AT { self.write_out() } else { Ok(()) }
    }

    /// Hands everything to the reader now.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.write_out()?;
        self.writer.flush().map_err(Error::stdout)
    }

    fn write_out(&mut self) -> Result<(), Error> {
        self.writer.write_all(&self.buffer).map_err(Error::stdout)?;
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BUFFER);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_leave_in_large_pieces_and_whole() {
        let mut written = Vec::new();
        let mut output = Output::new(&mut written);
        output.buffer().extend_from_slice(b"short\n");
        output.line_done().unwrap();
        assert!(output.writer.is_empty());
        output.buffer().extend(std::iter::repeat_n(b'x', WRITE_AT));
        output.buffer().push(b'\n');
        output.line_done().unwrap();
        assert_eq!(written.len(), 6 + WRITE_AT + 1);
    }
}
