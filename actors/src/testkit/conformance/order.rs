//! Promises about the one global order: gapless, and never changed behind a reader's back.

use std::time::Duration;

use super::Fixture;
use super::kit::{Writer, pipeline, plugin};
use crate::domain::ids::{Position, StreamId};
use crate::ports::event_store::EventFilter;

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
