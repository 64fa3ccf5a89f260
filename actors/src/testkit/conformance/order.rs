//! Promises about the one global order: gapless, and never changed behind a reader's back.

use std::time::Duration;

use super::Fixture;
use super::kit::{Writer, pipeline, plugin};
use crate::domain::ids::{Position, StreamId};
use crate::ports::event_store::EventFilter;
use crate::runtime::subscription::Log;

const WRITERS: usize = 8;
const BATCHES: u64 = 12;
const UNITS: usize = 5;
const TOTAL: u64 = WRITERS as u64 * BATCHES * UNITS as u64 * 2;
/// Far beyond what the slowest machine needs; a reader that missed an event would wait for ever.
const DEADLINE: Duration = Duration::from_secs(120);

/// While eight writers append on handles of their own, a reader that polls from its last position sees every
/// position once and in order.
pub async fn positions_are_gapless_while_many_write<F: Fixture>(fixture: &F) {
    let owner = Writer::claim(fixture).await;
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let writer = owner.with(fixture.another().await);
        writers.push(tokio::spawn(async move { write(&writer, number).await }));
    }
    let seen = tokio::time::timeout(DEADLINE, follow(&owner)).await.expect("the reader missed an event");
    for writer in writers {
        writer.await.expect("a writer failed");
    }
    let log: Vec<_> = owner.log().await.into_iter().map(|event| (event.position, event.id)).collect();
    assert_eq!(seen, log, "what was read while others wrote is what is there");
}

/// Whoever waits for the head on a handle of its own learns of what eight writers append: never of less than before,
/// only of what can be read, and of the last position in the end.
pub async fn the_head_rises_to_what_can_be_read<F: Fixture>(fixture: &F) {
    let owner = Writer::claim(fixture).await;
    let reader = owner.with(fixture.another().await);
    let mut changes = reader.store.head_changes();
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let writer = owner.with(fixture.another().await);
        writers.push(tokio::spawn(async move { write(&writer, number).await }));
    }
    let watched = async {
        let mut last = *changes.borrow_and_update();
        while last.0 < TOTAL {
            changes.changed().await.expect("the store is held");
            let risen = *changes.borrow_and_update();
            assert!(risen > last, "the head went from {last} to {risen}");
            let read = reader.store.read_all(Position(risen.0 - 1), 1, &EventFilter::default()).await;
            assert_eq!(read.expect("read_all")[0].position, risen, "the head is ahead of what can be read");
            last = risen;
        }
        last
    };
    let last = tokio::time::timeout(DEADLINE, watched).await.expect("the last position never arrived");
    for writer in writers {
        writer.await.expect("a writer failed");
    }
    assert_eq!(last, owner.store.head().await.expect("head"));
    let fresh = fixture.another().await;
    assert_eq!(*fresh.head_changes().borrow(), last, "a handle knows from its start where the log ends");
}

async fn write(writer: &Writer, number: usize) {
    let streams: Vec<StreamId> = (0..UNITS).map(|unit| pipeline(&format!("w{number}-{unit}"))).collect();
    for batch in 0..BATCHES {
        let units: Vec<_> = streams.iter().map(|stream| writer.unit(stream, batch * 2, 2)).collect();
        writer.append_all(&units).await.expect("append");
    }
}

async fn follow(reader: &Writer) -> Vec<(Position, crate::domain::ids::EventId)> {
    let filter = EventFilter::default();
    let mut seen = Vec::new();
    let mut last = Position(0);
    while last.0 < TOTAL {
        for event in reader.store.read_all(last, 64, &filter).await.expect("read_all") {
            assert_eq!(event.position.0, last.0 + 1, "a gap or a step back after {last}");
            last = event.position;
            seen.push((event.position, event.id));
        }
        tokio::task::yield_now().await;
    }
    seen
}

/// While eight writers append on handles of their own, one who follows the log sees every position once and in order.
pub async fn a_follower_misses_nothing_while_many_write<F: Fixture>(fixture: &F) {
    let owner = Writer::claim(fixture).await;
    let reader = fixture.another().await;
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let writer = owner.with(fixture.another().await);
        writers.push(tokio::spawn(async move { write(&writer, number).await }));
    }
    let mut follower = Log::new(reader).follow(Position(0), EventFilter::default());
    let followed = async {
        let mut seen = Vec::new();
        while follower.position().0 < TOTAL {
            seen.extend(follower.next().await.expect("next").events);
        }
        seen
    };
    let seen = tokio::time::timeout(DEADLINE, followed).await.expect("the follower missed an event");
    for writer in writers {
        writer.await.expect("a writer failed");
    }
    assert_eq!(seen, owner.log().await, "what was followed while others wrote is what is there");
}

/// Within a batch, positions follow the order of its units, streams and events.
pub async fn positions_follow_the_order_of_the_batch<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let batch: Vec<_> = (0..50)
        .map(|n| {
            writer.unit_of(&[(&pipeline(&format!("z{}", 50 - n)), 0, 2), (&plugin(&format!("p{n}")), 0, 1)])
        })
        .collect();
    writer.append_all(&batch).await.expect("append");
    let asked =
        batch.iter().flat_map(|unit| &unit.streams).flat_map(|part| &part.events).map(|event| event.id);
    let stored: Vec<_> = writer.log().await.into_iter().map(|event| event.id).collect();
    assert_eq!(stored, asked.collect::<Vec<_>>());
}
