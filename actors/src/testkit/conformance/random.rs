//! Random batches from a seed, so that adapters can be compared with each other: the same seed must give the same
//! outcomes and the same log on every store.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::Store;
use super::kit::{Writer, command, own_all, pipeline, plugin};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{CommandId, Epoch, Position, StreamId, Version};
use crate::ports::event_store::{Append, AppendOutcome, EventFilter, Wakeup};
use crate::ports::{EventStore, IdSource};
use crate::testkit::ManualClock;

const BATCHES: u64 = 60;
const MAX_UNITS: u64 = 12;
const STREAMS: u64 = 10;

/// What became of a store.
#[derive(Debug, PartialEq)]
pub struct History {
    /// The outcomes, batch by batch.
    pub outcomes: Vec<Vec<AppendOutcome>>,
    /// All events.
    pub log: Vec<RecordedEvent>,
    /// What is open at the end.
    pub wakeups: Vec<Wakeup>,
}

/// Sends the batches of a seed to an empty store: new and repeated commands, right and wrong versions, stale epochs,
/// guards, units over several streams, and takeovers between batches.
pub async fn random_history(store: Arc<dyn Store>, seed: u64) -> History {
    let dice = Arc::new(ManualClock::new(seed));
    let (node, leaves) = ("node-0".to_owned(), Arc::default());
    let reached = Arc::clone(&store) as Arc<dyn EventStore>;
    let mut writer =
        Writer { node, epochs: vec![Epoch(0); 256], store: reached, ids: Arc::clone(&dice), leaves };
    let mut sent: Vec<Append> = Vec::new();
    let mut outcomes = Vec::new();
    for batch in 0..BATCHES {
        if batch == 1 || dice.below(20) == 0 {
            writer.node = format!("node-{batch}");
            writer.epochs = own_all(&*store, &writer.node).await;
        }
        let units = random_batch(&writer, &sent).await;
        outcomes.push(writer.append_all(&units).await.expect("append"));
        sent.extend(units);
    }
    let log = writer.store.read_all(Position(0), 100_000, &EventFilter::default()).await.expect("read_all");
    History { outcomes, log, wakeups: writer.store.wakeups(None, 1_000).await.expect("wakeups") }
}

async fn random_batch(writer: &Writer, sent: &[Append]) -> Vec<Append> {
    let mut free: Vec<StreamId> = (0..STREAMS)
        .map(|n| if n % 3 == 0 { plugin(&format!("s{n}")) } else { pipeline(&format!("s{n}")) })
        .collect();
    let mut batch = Vec::new();
    for _ in 0..=writer.ids.below(MAX_UNITS) {
        let unit = match writer.ids.below(6) {
            0 if !sent.is_empty() => random_repeat(&writer.ids, sent),
            _ => random_unit(writer, &free).await,
        };
        let fits = unit.streams.iter().all(|part| free.contains(&part.stream));
        if fits && !unit.streams.is_empty() {
            free.retain(|stream| unit.streams.iter().all(|part| part.stream != *stream));
            batch.push(unit);
        }
    }
    batch
}

/// A unit that was sent before, sometimes under the same id with another request.
fn random_repeat(dice: &ManualClock, sent: &[Append]) -> Append {
    let index = dice.below(sent.len() as u64);
    let mut unit = sent[usize::try_from(index).expect("an index")].clone();
    let other_request = dice.below(4) == 0;
    if let Some(command) = unit.command.as_mut().filter(|_| other_request) {
        command.request_hash = [9; 32];
    }
    unit
}

async fn random_unit(writer: &Writer, free: &[StreamId]) -> Append {
    let dice = &writer.ids;
    let mut parts = Vec::new();
    for stream in free {
        if dice.below(4) == 0 && parts.len() < 3 {
            let events = writer.store.read_stream(stream, Version(0), 100_000).await.expect("read_stream");
            let wrong = u64::from(dice.below(8) == 0);
            let count = usize::try_from(dice.below(4)).expect("small");
            parts.push((stream, events.len() as u64 + wrong, count));
        }
    }
    if parts.is_empty() {
        // an empty unit is left out by the caller
        let mut unit = writer.unit(&pipeline("none"), 0, 0);
        unit.streams.clear();
        return unit;
    }
    let mut unit = writer.unit_of(&parts);
    command(&mut unit).id = CommandId(dice.uuid());
    command(&mut unit).answer = Bytes::from(dice.random().to_le_bytes().to_vec());
    if dice.below(3) == 0 {
        unit.command = None;
    }
    unit.origin.causation_id = (dice.below(2) == 0).then(|| dice.uuid());
    if dice.below(10) == 0 {
        unit.streams[0].epoch = unit.streams[0].epoch.map(|epoch| Epoch(epoch.0 + 1));
    }
    for part in &mut unit.streams {
        for event in &mut part.events {
            event.payload = Bytes::from(dice.random().to_le_bytes().to_vec());
        }
        if dice.below(3) == 0 {
            let due = i64::try_from(dice.below(1 << 40)).expect("40 bits");
            let due = (dice.below(3) > 0).then(|| Timestamp::from_microsecond(due).expect("in range"));
            unit.wakeups.push(Wakeup { stream: part.stream.clone(), due });
        }
    }
    unit
}
