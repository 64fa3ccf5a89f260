//! How an event store tells its readers that there is more to read: one number that only rises. In one place, so that
//! all adapters agree. No I/O.

use tokio::sync::watch;

use super::event_store::AppendOutcome;
use crate::domain::ids::Position;

/// The last position an adapter knows of. It never goes back; whoever watches it may miss steps, never the last one.
#[derive(Debug)]
pub struct Head(watch::Sender<Position>);

impl Default for Head {
    /// The head of an empty store.
    fn default() -> Self {
        Self::new(Position(0))
    }
}

impl Head {
    /// A head at `position`.
    #[must_use]
    pub fn new(position: Position) -> Self {
        Self(watch::Sender::new(position))
    }

    /// The events up to `position` can be read now. One that was known already tells nobody anything.
    pub fn raise(&self, position: Position) {
        self.0.send_if_modified(|known| {
            let risen = position > *known;
            *known = position.max(*known);
            risen
        });
    }

    /// As [`Head::raise`], by what became of a batch: of what was stored before nobody may have been told, when its
    /// answer was lost.
    pub fn raise_by(&self, outcomes: &[AppendOutcome]) {
        let position = |outcome: &AppendOutcome| match outcome {
            AppendOutcome::Committed(committed) | AppendOutcome::Duplicate(committed) => {
                Some(committed.position)
            }
            _ => None,
        };
        if let Some(last) = outcomes.iter().filter_map(position).max() {
            self.raise(last);
        }
    }

    /// Follows it from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Position> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_tells_only_news() {
        let head = Head::new(Position(5));
        let mut changes = head.changes();
        for (position, known, news) in [(4, 5, false), (5, 5, false), (9, 9, true), (7, 9, false)] {
            head.raise(Position(position));
            assert_eq!(changes.has_changed().unwrap(), news, "after {position}");
            assert_eq!(*changes.borrow_and_update(), Position(known));
        }
    }
}
