//! Reading what programs print beside the relay: their standard error, and the standard output of those that end a
//! pipe or stand alone. Always read to the end, so that no program hangs on a full pipe.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use tokio::net::unix::pipe::Receiver;
use tokio_util::sync::CancellationToken;

use super::limits::LOG_READ;
use super::log::{ProgramLog, Stream};

/// Our end of a program's output.
#[derive(Debug)]
pub struct Output {
    pipe: Receiver,
    /// Cancelled when the program's whole tree is gone: what the pipe holds then is all there is, even if a stranger
    /// keeps the writing end open.
    gone: CancellationToken,
}

impl Output {
    /// Takes the reading end of a pipe.
    ///
    /// # Errors
    /// When it is no pipe.
    pub fn new(end: OwnedFd, gone: CancellationToken) -> io::Result<Self> {
        Ok(Self { pipe: Receiver::from_owned_fd(end)?, gone })
    }

    /// Reads what there is, waiting for it; 0 at the end. May be dropped at any time.
    ///
    /// # Errors
    /// When the pipe fails in a way pipes do not.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.gone.is_cancelled() {
                return self.rest(buffer);
            }
            match self.pipe.try_read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => tokio::select! {
                    ready = self.pipe.readable() => ready?,
                    () = self.gone.cancelled() => {}
                },
                read => return read,
            }
        }
    }

    /// Reads what the pipe still holds. The pipe itself is asked: the runtime may not have heard yet that there is
    /// something in it, and would say that there is nothing.
    fn rest(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match nix::unistd::read(&self.pipe, buffer) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(0),
                read => return Ok(read?),
            }
        }
    }

    /// Writes every line into the log until the end.
    pub async fn log_to(mut self, log: ProgramLog, stream: Stream) {
        let (mut cutter, mut buffer) = (LineCutter::new(super::limits::MAX_LOG_LINE), vec![0; LOG_READ]);
        loop {
            let count = self.read(&mut buffer).await.unwrap_or(0);
            let lines = if count == 0 {
                cutter.finish().into_iter().collect()
            } else {
                cutter.push(&buffer[..count])
            };
            log.lines(stream, &lines);
            if count == 0 {
                return;
            }
        }
    }
}

/// One line without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its bytes, at most as many as the cutter's bound.
    pub bytes: Vec<u8>,
    /// Whether there were more.
    pub cut: bool,
}

/// Cuts bytes into lines of bounded length, whatever the chunks they come in; the rest of a longer one is dropped.
#[derive(Debug)]
pub struct LineCutter {
    max: usize,
    line: Line,
}

impl LineCutter {
    /// Lines of at most `max` bytes.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { max, line: Line { bytes: Vec::new(), cut: false } }
    }

    /// Takes bytes and gives the lines that ended in them.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            self.take(&rest[..newline]);
            lines.push(std::mem::replace(&mut self.line, Line { bytes: Vec::new(), cut: false }));
            rest = &rest[newline + 1..];
        }
        self.take(rest);
        lines
    }

    /// The last line, when its newline is missing.
    pub fn finish(&mut self) -> Option<Line> {
        let line = std::mem::replace(&mut self.line, Line { bytes: Vec::new(), cut: false });
        (!line.bytes.is_empty()).then_some(line)
    }

    fn take(&mut self, part: &[u8]) {
        let room = self.max - self.line.bytes.len();
        self.line.bytes.extend_from_slice(&part[..part.len().min(room)]);
        self.line.cut |= part.len() > room;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// The end of a program may be known before the runtime has heard of what it had written.
    #[tokio::test]
    async fn what_the_pipe_holds_is_read_after_the_program_is_gone() {
        let (end, writing) = super::super::relay::pipe::small().unwrap();
        let gone = CancellationToken::new();
        let mut output = Output::new(end, gone.clone()).unwrap();
        std::fs::File::from(writing.try_clone().unwrap()).write_all(b"last words").unwrap();
        gone.cancel();
        let mut buffer = [0; 64];
        // `writing` is still open, as by a stranger
        assert_eq!(output.read(&mut buffer).await.unwrap(), 10);
        assert_eq!(output.read(&mut buffer).await.unwrap(), 0);
        drop(writing);
    }

    #[test]
    fn lines_are_cut_whatever_the_chunks() {
        let input = b"one\n\nlonger than eight\nlast";
        for size in 1..=input.len() {
            let mut cutter = LineCutter::new(8);
            let mut lines: Vec<Line> = input.chunks(size).flat_map(|chunk| cutter.push(chunk)).collect();
            lines.extend(cutter.finish());
            let shown: Vec<(&str, bool)> =
                lines.iter().map(|l| (str::from_utf8(&l.bytes).unwrap(), l.cut)).collect();
            assert_eq!(shown, [("one", false), ("", false), ("longer t", true), ("last", false)], "{size}");
        }
    }
}
