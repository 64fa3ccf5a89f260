//! Cuts a byte stream into checked whole lines, whatever the chunks it arrives in. Pure: who reads and writes is
//! the link.

use std::ops::Range;

use super::check::{self, Fault, Kind};
use super::tally::Tally;
use crate::plugins::limits::RELAY_BUFFER;

/// Bytes that were read and not yet delivered.
#[derive(Debug)]
pub struct Lines {
    /// Storage; only the first `filled` bytes mean something.
    bytes: Vec<u8>,
    filled: usize,
    /// Up to here there is no newline.
    scanned: usize,
    /// The longest line, without its newline.
    limit: usize,
    /// The longest `STATE` line.
    state_limit: usize,
}

/// What the whole lines of a buffer turned out to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// The parts to deliver, in order; one part unless blank lines lie between.
    pub good: Vec<Range<usize>>,
    /// The `STATE` lines among them, without their newlines.
    pub states: Vec<Range<usize>>,
    /// The first bad line: its number and fault. Nothing after it was looked at.
    pub bad: Option<(u64, Fault)>,
    /// How many bytes the lines took.
    consumed: usize,
}

impl Lines {
    /// An empty buffer for lines of at most `limit` bytes, and `STATE` lines of at most `state_limit`.
    #[must_use]
    pub fn new(limit: usize, state_limit: usize) -> Self {
        Self { bytes: vec![0; RELAY_BUFFER], filled: 0, scanned: 0, limit, state_limit }
    }

    /// Free space to read into; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.filled == self.bytes.len() {
            // a line longer than the buffer; doubled, but never far beyond what `inspect` refuses
            let enough = self.limit.saturating_add(RELAY_BUFFER);
            let size = (self.bytes.len() * 2).min(enough).max(self.bytes.len() + RELAY_BUFFER);
            self.bytes.resize(size, 0);
        }
        &mut self.bytes[self.filled..]
    }

    /// `count` bytes of the space were read.
    pub fn filled(&mut self, count: usize) {
        self.filled += count;
    }

    /// Bytes of the buffer.
    #[must_use]
    pub fn part(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    /// Checks every whole line in the buffer and counts it.
    pub fn inspect(&mut self, tally: &mut Tally) -> Inspected {
        let mut found = Inspected::default();
        let (mut line_start, mut good_start) = (0, 0);
        for newline in memchr::memchr_iter(b'\n', &self.bytes[self.scanned..self.filled]) {
            let end = self.scanned + newline;
            let line = line_start..end;
            match self.verdict(line.clone(), tally) {
                Ok(Line::Blank) => {
                    push(&mut found.good, good_start..line_start);
                    good_start = end + 1;
                }
                Ok(Line::State) => found.states.push(line),
                Ok(Line::Plain) => {}
                Err(fault) => {
                    push(&mut found.good, good_start..line_start);
                    found.bad = Some((tally.lines, fault));
                    found.consumed = end + 1;
                    return found;
                }
            }
            line_start = end + 1;
        }
        push(&mut found.good, good_start..line_start);
        found.consumed = line_start;
        self.scanned = self.filled;
        if self.filled - line_start > self.limit {
            found.bad = Some((tally.lines + 1, Fault::TooLong(self.limit)));
        }
        found
    }

    /// Forgets the lines that were inspected and moves the beginning of the next one to the front.
    pub fn consume(&mut self, inspected: &Inspected) {
        let rest = inspected.consumed..self.filled;
        self.filled = rest.len();
        self.scanned = self.scanned.saturating_sub(inspected.consumed);
        if self.bytes.len() > RELAY_BUFFER && self.filled < RELAY_BUFFER / 2 {
            // a huge line has passed: give its memory back
            let mut smaller = vec![0; RELAY_BUFFER];
            smaller[..self.filled].copy_from_slice(&self.bytes[rest]);
            self.bytes = smaller;
        } else {
            self.bytes.copy_within(rest, 0);
        }
    }

    /// The stream has ended: completes a last line whose newline is missing, if it is a whole message, so that
    /// [`Self::inspect`] finds it.
    ///
    /// # Errors
    /// The number and fault of a last line that is cut off; it must not be delivered.
    pub fn finish(&mut self, tally: &Tally) -> Result<(), (u64, Fault)> {
        let rest = &self.bytes[..self.filled];
        if rest.is_empty() {
            return Ok(());
        }
        if !check::is_blank(rest) && check::check(rest).is_err() {
            return Err((tally.lines + 1, Fault::Half));
        }
        self.space()[0] = b'\n';
        self.filled(1);
        Ok(())
    }

    fn verdict(&self, line: Range<usize>, tally: &mut Tally) -> Result<Line, Fault> {
        tally.lines += 1;
        if line.len() > self.limit {
            return Err(Fault::TooLong(self.limit));
        }
        let line = &self.bytes[line];
        if check::is_blank(line) {
            tally.blank += 1;
            return Ok(Line::Blank);
        }
        let message = check::check(line)?;
        tally.non_finite += u64::from(!message.finite);
        match message.kind {
            Kind::Record => tally.record(&message.stream),
            Kind::State if line.len() > self.state_limit => {
                return Err(Fault::StateTooLong(self.state_limit));
            }
            Kind::State => return Ok(Line::State),
            Kind::Other => {}
        }
        Ok(Line::Plain)
    }
}

enum Line {
    Blank,
    State,
    Plain,
}

fn push(parts: &mut Vec<Range<usize>>, part: Range<usize>) {
    if !part.is_empty() {
        parts.push(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    /// Feeds `chunks` as they are and returns what would be delivered, the counts and the fault.
    fn relay<'c>(
        chunks: impl IntoIterator<Item = &'c [u8]>,
        limit: usize,
    ) -> (Vec<u8>, Tally, Option<(u64, Fault)>) {
        let (mut lines, mut tally, mut out) = (Lines::new(limit, LIMIT), Tally::default(), Vec::new());
        let mut pass = |lines: &mut Lines, tally: &mut Tally| {
            let inspected = lines.inspect(tally);
            inspected.good.iter().for_each(|part| out.extend_from_slice(lines.part(part)));
            lines.consume(&inspected);
            inspected.bad
        };
        for mut chunk in chunks {
            while !chunk.is_empty() {
                let space = lines.space();
                let n = space.len().min(chunk.len());
                space[..n].copy_from_slice(&chunk[..n]);
                lines.filled(n);
                chunk = &chunk[n..];
                if let Some(bad) = pass(&mut lines, &mut tally) {
                    return (out, tally, Some(bad));
                }
            }
        }
        let end = lines.finish(&tally);
        let bad = pass(&mut lines, &mut tally);
        (out, tally, bad.or(end.err()))
    }

    fn record(n: usize) -> String {
        format!("{{\"type\":\"RECORD\",\"stream\":\"s{}\",\"record\":{{\"n\":{n}}}}}\n", n % 3)
    }

    #[test]
    fn blank_lines_are_dropped_and_counted() {
        let input = format!("\n{}\r\n  \n{}\n", record(0), record(1));
        let (out, tally, bad) = relay([input.as_bytes()], LIMIT);
        assert_eq!(String::from_utf8(out).unwrap(), record(0) + &record(1));
        assert_eq!((tally.blank, tally.records, tally.lines, bad), (4, 2, 6, None));
    }

    #[test]
    fn whole_records_before_a_bad_line_are_kept() {
        let input = format!("{}{}oops\n{}", record(0), record(1), record(2));
        let (out, tally, bad) = relay([input.as_bytes()], LIMIT);
        assert_eq!(String::from_utf8(out).unwrap(), record(0) + &record(1));
        assert_eq!(bad, Some((3, Fault::NotJson(1, Some("oops".into())))));
        assert_eq!(tally.records, 2);
    }

    #[test]
    fn half_a_last_line_is_never_delivered() {
        let input = format!("{}{}", record(0), &record(1)[..20]);
        let (out, tally, bad) = relay([input.as_bytes()], LIMIT);
        assert_eq!(String::from_utf8(out).unwrap(), record(0));
        assert_eq!((tally.records, bad), (1, Some((2, Fault::Half))));
    }

    #[test]
    fn a_whole_last_line_gets_its_newline() {
        let (out, tally, bad) = relay([record(0).trim_end().as_bytes()], LIMIT);
        assert_eq!((String::from_utf8(out).unwrap(), tally.records, bad), (record(0), 1, None));
    }

    #[test]
    fn a_line_over_the_limit_is_refused_with_and_without_its_newline() {
        let long = format!("{{\"type\":\"RECORD\",\"stream\":\"s\",\"record\":\"{}\"}}", "x".repeat(2_000));
        for ending in ["", "\n"] {
            let input = format!("{}{long}{ending}", record(0));
            let (out, _, bad) = relay([input.as_bytes()], 1_000);
            assert_eq!(bad, Some((2, Fault::TooLong(1_000))), "{ending:?}");
            assert_eq!(String::from_utf8(out).unwrap(), record(0));
        }
        let (out, _, bad) = relay([format!("{long}\n").as_bytes()], long.len());
        assert_eq!((out.len(), bad), (long.len() + 1, None), "a line of exactly the limit passes");
    }

    #[test]
    fn a_line_of_64_mib_passes_and_its_memory_is_given_back() {
        let mut input = br#"{"type":"RECORD","stream":"s","record":""#.to_vec();
        input.resize(64 << 20, b'x');
        input.extend_from_slice(b"\"}\n");
        let mut lines = Lines::new(128 << 20, LIMIT);
        let mut tally = Tally::default();
        let (mut delivered, mut largest) = (0, 0);
        for chunk in input.chunks(256 << 10).chain([record(0).as_bytes()]) {
            let mut chunk = chunk;
            while !chunk.is_empty() {
                let space = lines.space();
                let n = space.len().min(chunk.len());
                space[..n].copy_from_slice(&chunk[..n]);
                lines.filled(n);
                chunk = &chunk[n..];
                largest = largest.max(lines.bytes.len());
                let inspected = lines.inspect(&mut tally);
                assert_eq!(inspected.bad, None);
                delivered += inspected.good.iter().map(Range::len).sum::<usize>();
                lines.consume(&inspected);
            }
        }
        assert_eq!(delivered, input.len() + record(0).len());
        assert!(largest <= 128 << 20, "{largest}");
        assert_eq!(lines.bytes.len(), RELAY_BUFFER);
    }

    #[test]
    fn states_are_found() {
        let state = "{\"type\":\"STATE\",\"value\":{\"a\":1}}";
        let input = format!("{}{state}\n{}", record(0), record(1));
        let mut lines = Lines::new(LIMIT, LIMIT);
        lines.space()[..input.len()].copy_from_slice(input.as_bytes());
        lines.filled(input.len());
        let inspected = lines.inspect(&mut Tally::default());
        assert_eq!(inspected.good.len(), 1);
        assert_eq!(inspected.states.iter().map(|s| lines.part(s)).collect::<Vec<_>>(), [state.as_bytes()]);
    }

    /// Pieces of streams, good and bad.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => (0_usize..9).prop_map(|n| record(n).into_bytes()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"{\"type\":\"STATE\",\"value\":{}}\n".to_vec()),
            1 => Just(b"{\"type\":\"RECORD\",\"stream\":\"s\",\"record\":{\"x\":NaN}}\r\n".to_vec()),
            1 => Just(b"stray text\n".to_vec()),
            1 => Just(b"\xff\n".to_vec()),
            1 => Just(b"{\"type\":\"REC".to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            pieces in prop::collection::vec(piece(), 0..40),
            sizes in prop::collection::vec(1_usize..80, 1..20),
        ) {
            let input = pieces.concat();
            let whole = relay([input.as_slice()], LIMIT);
            let mut chunks = Vec::new();
            let (mut rest, mut sizes) = (input.as_slice(), sizes.iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            let cut = relay(chunks, LIMIT);
            prop_assert_eq!(&whole.0, &cut.0);
            prop_assert_eq!(&whole.2, &cut.2);
            prop_assert_eq!(whole.1.streams(), cut.1.streams());
            prop_assert!(whole.0.is_empty() || whole.0.ends_with(b"\n"));
            prop_assert!(input.len() >= whole.0.len() || whole.0.len() == input.len() + 1);
        }
    }
}
