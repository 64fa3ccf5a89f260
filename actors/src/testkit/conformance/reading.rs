//! Promises about reading: pages, filters, lists, and that everything comes back as it was given.

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::Fixture;
use super::kit::{Writer, pipeline, plugin};
use crate::domain::ids::{Category, ExecutionId, Position, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::limits::MAX_EVENT_BYTES;
use crate::ports::event_store::{AppendOutcome, EventFilter, StreamOrder, Wakeup};
use crate::ports::{EventStore, IdSource, batch};

/// `read_stream` goes on after a version and returns at most its limit, of its stream only.
pub async fn streams_are_read_in_pages<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let (stream, other) = (pipeline("paged"), pipeline("paged-2"));
    for n in 0..5 {
        writer
            .append_all(&[writer.unit(&stream, n * 2, 2), writer.unit(&other, n, 1)])
            .await
            .expect("append");
    }
    let page = async |after, limit| -> Vec<u64> {
        let events = writer.store.read_stream(&stream, Version(after), limit).await.expect("read_stream");
        assert!(events.iter().all(|e| e.stream == stream));
        events.iter().map(|e| e.version.0).collect()
    };
    assert_eq!(page(0, 4).await, [1, 2, 3, 4]);
    assert_eq!(page(4, 4).await, [5, 6, 7, 8]);
    assert_eq!(page(8, 4).await, [9, 10]);
    assert!(page(10, 4).await.is_empty());
    assert!(page(0, 0).await.is_empty());
    assert!(writer.stream(&pipeline("absent")).await.is_empty());
}

/// `read_all` goes on after a position and returns at most its limit.
pub async fn the_log_is_read_in_pages<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    for n in 0..4 {
        let (a, b) = (pipeline("a"), plugin("b"));
        writer.append_all(&[writer.unit(&a, n, 1), writer.unit(&b, n * 2, 2)]).await.expect("append");
    }
    let mut positions = Vec::new();
    let mut after = Position(0);
    loop {
        let page = writer.store.read_all(after, 5, &EventFilter::default()).await.expect("read_all");
        assert!(page.len() <= 5);
        let Some(last) = page.last() else { break };
        after = last.position;
        positions.extend(page.iter().map(|e| e.position.0));
    }
    assert_eq!(positions, (1..=12).collect::<Vec<_>>());
}

/// Each filter of `read_all`, alone and together, with paging.
pub async fn the_log_is_filtered<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let (a, b) = (pipeline("a"), pipeline("b"));
    for (n, kind) in (0..).zip(["Begun", "Ended", "Begun"]) {
        let mut batch = [writer.unit(&a, n, 1), writer.unit(&b, n, 1)];
        batch[0].streams[0].events[0].kind = kind;
        writer.append_all(&batch).await.expect("append");
    }
    let read = async |after, limit, filter: &EventFilter| -> Vec<u64> {
        let events = writer.store.read_all(Position(after), limit, filter).await.expect("read_all");
        events.iter().map(|e| e.position.0).collect()
    };
    let of_a = EventFilter { stream: Some(a.clone()), ..EventFilter::default() };
    assert_eq!(read(0, 10, &of_a).await, [1, 3, 5]);
    assert_eq!(read(1, 1, &of_a).await, [3]);
    let begun = EventFilter { kinds: vec!["Begun".to_owned()], ..EventFilter::default() };
    assert_eq!(read(0, 10, &begun).await, [1, 5]);
    assert_eq!(read(0, 10, &EventFilter { stream: Some(b), ..begun.clone() }).await, Vec::<u64>::new());
    assert_eq!(read(1, 10, &EventFilter { stream: Some(a), ..begun }).await, [5]);
    let both = ["Begun", "Ended"].map(str::to_owned);
    let either = EventFilter { kinds: both.to_vec(), ..EventFilter::default() };
    assert_eq!(read(1, 2, &either).await, [3, 5], "several types, in the order of the log");
    filters_of_time(&writer).await;
}

async fn filters_of_time(writer: &Writer) {
    let log = writer.log().await;
    let at = log[2].recorded_at;
    let just_after = at + jiff::SignedDuration::from_nanos(1);
    for bound in [at, just_after] {
        let from = EventFilter { from: Some(bound), ..EventFilter::default() };
        let to = EventFilter { to: Some(bound), ..EventFilter::default() };
        let later = writer.store.read_all(Position(0), 10, &from).await.expect("read_all");
        let earlier = writer.store.read_all(Position(0), 10, &to).await.expect("read_all");
        assert!(
            later.iter().all(|e| e.recorded_at >= bound) && earlier.iter().all(|e| e.recorded_at < bound)
        );
        assert_eq!(later.len() + earlier.len(), log.len(), "every event is on one side of {bound}");
    }
    let empty = EventFilter { from: Some(at), to: Some(at), ..EventFilter::default() };
    assert_eq!(writer.store.read_all(Position(0), 10, &empty).await.expect("read_all"), []);
}

/// `list_streams` pages through one category by name, up and down; guards alone make no stream.
pub async fn streams_are_listed_in_both_orders<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let names = ["a", "a-b", "a.b", "a0", "a_", "b"];
    let mut expected: Vec<StreamId> = names.map(pipeline).to_vec();
    for stream in expected.iter().rev().chain([&plugin("a"), &plugin("b")]) {
        writer.commit(&writer.unit(stream, 0, 1)).await;
    }
    writer.commit(&writer.unit(&pipeline("guarded"), 0, 0)).await;
    let run = StreamId::execution(ExecutionId(writer.ids.uuid()));
    writer.commit(&writer.unit(&run, 0, 1)).await;

    expected.sort();
    assert_eq!(listed(&*writer.store, Category::Pipeline, StreamOrder::Ascending).await, expected);
    expected.reverse();
    assert_eq!(listed(&*writer.store, Category::Pipeline, StreamOrder::Descending).await, expected);
    assert_eq!(listed(&*writer.store, Category::Execution, StreamOrder::Descending).await, [run]);
    assert_eq!(listed(&*writer.store, Category::External, StreamOrder::Ascending).await, []);
    let elsewhere = pipeline("zzz");
    for (order, count) in [(StreamOrder::Ascending, 2), (StreamOrder::Descending, 0)] {
        let page = writer.store.list_streams(Category::Plugin, Some(&elsewhere), order, 9).await;
        assert_eq!(page.expect("list_streams").len(), count, "a cursor of another category bounds by name");
    }
}

async fn listed(store: &dyn EventStore, category: Category, order: StreamOrder) -> Vec<StreamId> {
    let mut all: Vec<StreamId> = Vec::new();
    loop {
        let page = store.list_streams(category, all.last(), order, 4).await.expect("list_streams");
        assert!(page.len() <= 4);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Wake-ups are set and cleared with the append, kept to the microsecond and listed by name in pages.
pub async fn wakeups_are_set_moved_and_cleared<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let streams = ["a", "b", "c"].map(pipeline);
    let due =
        |micros: i64| Some(Timestamp::from_microsecond(1_800_000_000_000_000 + micros).expect("in range"));
    let wakeup = |stream: &StreamId, due| Wakeup { stream: stream.clone(), due };
    let mut unit = writer.unit(&streams[0], 0, 1);
    unit.wakeups = (1..).zip(&streams).map(|(n, stream)| wakeup(stream, due(n))).collect();
    unit.wakeups.push(wakeup(&streams[2], due(9)));
    writer.commit(&unit).await;

    let set = writer.store.wakeups(None, 2).await.expect("wakeups");
    assert_eq!(set, [wakeup(&streams[0], due(1)), wakeup(&streams[1], due(2))]);
    let rest = writer.store.wakeups(Some(&streams[1]), 2).await.expect("wakeups");
    assert_eq!(rest, [wakeup(&streams[2], due(9))], "of several for one stream the last counts");

    let mut change = writer.unit(&streams[0], 1, 0);
    change.wakeups = vec![
        wakeup(&streams[0], None),
        wakeup(&streams[1], due(7)),
        wakeup(&streams[2], due(8)),
        wakeup(&streams[2], None),
        wakeup(&plugin("never-set"), None),
    ];
    writer.commit(&change).await;
    assert_eq!(writer.store.wakeups(None, 9).await.expect("wakeups"), [wakeup(&streams[1], due(7))]);
}

/// What a refused or repeated unit wants to wake is not touched.
pub async fn wakeups_of_refused_units_are_not_set<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("woken");
    let due = Some(Timestamp::from_second(1_800_000_000).expect("in range"));
    let mut refused = writer.unit(&stream, 5, 1);
    refused.wakeups = vec![Wakeup { stream: stream.clone(), due }];
    let batch = [refused, writer.unit(&pipeline("beside"), 0, 1)];
    let outcomes = writer.append_all(&batch).await.expect("append");
    assert!(matches!(outcomes[0], AppendOutcome::Conflict { .. }));
    assert_eq!(writer.store.wakeups(None, 9).await.expect("wakeups"), []);

    let mut set = writer.unit(&stream, 0, 1);
    set.wakeups = vec![Wakeup { stream: stream.clone(), due }];
    writer.commit(&set).await;
    let mut clear = writer.unit(&stream, 1, 0);
    clear.wakeups = vec![Wakeup { stream, due: None }];
    writer.commit(&clear).await;
    assert!(matches!(writer.append(&set).await, AppendOutcome::Duplicate(_)));
    assert_eq!(writer.store.wakeups(None, 9).await.expect("wakeups"), [], "a repeat sets nothing again");
}

/// The largest payload, and the empty one, come back byte for byte.
pub async fn large_payloads_come_back<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("large");
    let noise: Vec<u8> = std::iter::repeat_with(|| writer.ids.random().to_le_bytes())
        .take(MAX_EVENT_BYTES / 8)
        .flatten()
        .collect();
    let mut unit = writer.unit(&stream, 0, 3);
    unit.streams[0].events[0].payload = noise.into();
    unit.streams[0].events[1].payload = vec![0; MAX_EVENT_BYTES].into();
    unit.streams[0].events[2].payload = Bytes::new();
    writer.commit(&unit).await;
    let stored = writer.stream(&stream).await;
    let same =
        stored.iter().zip(&unit.streams[0].events).all(|(stored, asked)| stored.payload == asked.payload);
    assert!(same && stored.len() == 3, "a payload of {MAX_EVENT_BYTES} bytes changed on its way");
}

/// Every field of an event comes back, the time as whole microseconds.
pub async fn every_field_comes_back<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = StreamId::execution(ExecutionId(writer.ids.uuid()));
    let mut unit = writer.unit(&stream, 0, 2);
    unit.origin.actor = "user:zoë \"o'clock\" \\ 東京".to_owned();
    unit.origin.causation_id = Some(Uuid::from_u128(u128::MAX - 1));
    unit.streams[0].events[0].schema_version = u16::MAX;
    unit.streams[0].events[0].kind = "ExecutionQueued";
    let committed = writer.commit(&unit).await;
    let stored = writer.stream(&stream).await;
    for (n, (stored, asked)) in (1..).zip(stored.iter().zip(&unit.streams[0].events)) {
        assert_eq!((stored.id, &stored.stream, stored.version), (asked.id, &stream, Version(n)));
        assert_eq!((stored.position, stored.recorded_at), (Position(n), committed.at));
        assert_eq!((stored.kind.as_str(), stored.schema_version), (asked.kind, asked.schema_version));
        assert_eq!((&stored.origin, stored.node.as_str()), (&unit.origin, "node-a"));
        assert_eq!(stored.payload, asked.payload);
        assert_eq!(batch::whole_micros(stored.recorded_at), stored.recorded_at);
    }
    assert_eq!(stored.len(), 2);
    assert_eq!(writer.log().await, stored, "both ways of reading agree");
}

/// `head` is 0, then the last event's position; commands without events do not move it.
pub async fn the_head_is_the_last_position<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("head");
    let head = async || writer.store.head().await.expect("head");
    assert_eq!(head().await, Position(0));
    writer.commit(&writer.unit(&stream, 0, 3)).await;
    assert_eq!(head().await, Position(3));
    writer.commit(&writer.unit(&stream, 3, 0)).await;
    assert_eq!(head().await, Position(3));
}

/// Bounds beyond what a database counts to are answered with nothing, not with an error.
pub async fn absurd_bounds_are_no_error<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("bounds");
    writer.commit(&writer.unit(&stream, 0, 1)).await;
    let (store, all) = (&writer.store, EventFilter::default());
    assert_eq!(store.read_stream(&stream, Version(u64::MAX), 1).await.expect("read_stream"), []);
    assert_eq!(store.read_all(Position(u64::MAX), 1, &all).await.expect("read_all"), []);
    assert_eq!(store.read_all(Position(0), usize::MAX, &all).await.expect("read_all").len(), 1);
    assert_eq!(store.read_all(Position(0), 0, &all).await.expect("read_all"), []);
    let order = StreamOrder::Ascending;
    let streams =
        store.list_streams(Category::Pipeline, None, order, usize::MAX).await.expect("list_streams");
    assert_eq!(streams, [stream]);
    let times = EventFilter { from: Some(Timestamp::MIN), to: Some(Timestamp::MAX), ..all };
    assert_eq!(store.read_all(Position(0), 9, &times).await.expect("read_all").len(), 1);
}

/// The hashes that were stored are those of the events as they are read, each chained on the one before it in its
/// stream.
pub async fn stored_hashes_verify<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let (a, b) = (pipeline("hashed"), plugin("hashed"));
    writer.commit(&writer.unit_of(&[(&a, 0, 2), (&b, 0, 1)])).await;
    writer.commit(&writer.unit_of(&[(&b, 1, 2), (&a, 2, 0)])).await;
    writer.commit(&writer.unit(&a, 2, 1)).await;
    for stream in [&a, &b] {
        let mut previous = LeafHash::NONE;
        for event in writer.stream(stream).await {
            assert_eq!(event.computed_hashes(previous), event.hashes, "{stream} {}", event.version);
            previous = event.hashes.leaf;
        }
        assert_ne!(previous, LeafHash::NONE);
    }
}
