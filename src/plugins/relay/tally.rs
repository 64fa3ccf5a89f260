//! Counts of what passes through a relay. Pure.

use std::collections::HashMap;

use crate::plugins::limits::{MAX_STREAMS, OTHER_STREAMS};

/// Counters of one link between two programs.
#[derive(Debug, Default)]
pub struct Tally {
    streams: Vec<StreamTally>,
    index: HashMap<String, usize>,
    last: usize,
    /// Lines seen, blank ones included: the number of the last line.
    pub lines: u64,
    /// Records checked.
    pub records: u64,
    /// Bytes delivered.
    pub bytes: u64,
    /// Blank lines that were dropped.
    pub blank: u64,
    /// Lines with `NaN` or infinite numbers.
    pub non_finite: u64,
}

/// Records of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTally {
    /// The stream.
    pub name: String,
    /// Records that the upstream program wrote.
    pub checked: u64,
    /// Records that the downstream program was given.
    pub delivered: u64,
}

impl Tally {
    /// Counts one record of `stream`.
    pub fn record(&mut self, stream: &str) {
        self.records += 1;
        // records come in runs of one stream
        if self.streams.get(self.last).is_none_or(|s| s.name != stream) {
            self.last = self.index_of(stream);
        }
        self.streams[self.last].checked += 1;
    }

    /// Everything checked so far has been delivered.
    pub fn delivered(&mut self, bytes: u64) {
        self.bytes += bytes;
        for stream in &mut self.streams {
            stream.delivered = stream.checked;
        }
    }

    /// The counts by stream, in the order of their first record.
    #[must_use]
    pub fn streams(&self) -> &[StreamTally] {
        &self.streams
    }

    fn index_of(&mut self, stream: &str) -> usize {
        if let Some(&known) = self.index.get(stream) {
            return known;
        }
        let name = if self.streams.len() < MAX_STREAMS { stream } else { OTHER_STREAMS };
        if let Some(&known) = self.index.get(name) {
            return known;
        }
        self.streams.push(StreamTally { name: name.to_owned(), checked: 0, delivered: 0 });
        self.index.insert(name.to_owned(), self.streams.len() - 1);
        self.streams.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_counted_apart_and_their_number_is_bounded() {
        let mut tally = Tally::default();
        for n in 0..MAX_STREAMS + 5 {
            tally.record(&format!("s{n}"));
        }
        tally.record("s0");
        assert_eq!(tally.streams().len(), MAX_STREAMS + 1);
        assert_eq!(tally.streams()[0].checked, 2);
        let other = &tally.streams()[MAX_STREAMS];
        assert_eq!((other.name.as_str(), other.checked), (OTHER_STREAMS, 5));
    }

    #[test]
    fn what_was_not_delivered_is_not_counted_as_such() {
        let mut tally = Tally::default();
        tally.record("a");
        tally.delivered(10);
        tally.record("a");
        assert_eq!(tally.streams(), [StreamTally { name: "a".into(), checked: 2, delivered: 1 }]);
    }
}
