//! Promises about versions, conflicts and atomicity (S2).

use super::Fixture;
use super::kit::{Writer, command, pipeline, plugin};
use crate::domain::ids::{Position, Version};
use crate::ports::event_store::AppendOutcome;

/// S2: a stream's versions are 1, 2, 3 … over several appends.
pub async fn versions_are_contiguous<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("contiguous");
    for (expected, events) in [(0, 1), (1, 3), (4, 2)] {
        let committed = writer.commit(&writer.unit(&stream, expected, events)).await;
        assert_eq!(committed.first_version, Version(expected));
    }
    let versions: Vec<u64> = writer.stream(&stream).await.iter().map(|e| e.version.0).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
}

/// A wrong expected version, too low or too high, is answered with the stream and the version it has.
pub async fn a_conflict_names_the_stream_and_its_version<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("contested");
    writer.commit(&writer.unit(&stream, 0, 2)).await;
    for expected in [0, 1, 3, u64::MAX] {
        let outcome = writer.append(&writer.unit(&stream, expected, 1)).await;
        assert_eq!(outcome, AppendOutcome::Conflict { stream: stream.clone(), actual: Version(2) });
    }
    let absent = plugin("absent");
    let outcome = writer.append(&writer.unit(&absent, 1, 1)).await;
    assert_eq!(outcome, AppendOutcome::Conflict { stream: absent, actual: Version(0) });
    assert_eq!(writer.log().await.len(), 2, "a conflict stores nothing");
}

/// A part without events checks its version and stores nothing of its own.
pub async fn a_guard_checks_without_events<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let (written, guarded) = (pipeline("written"), plugin("guarded"));
    writer.commit(&writer.unit(&guarded, 0, 1)).await;

    let outcome = writer.append(&writer.unit_of(&[(&written, 0, 1), (&guarded, 0, 0)])).await;
    assert_eq!(outcome, AppendOutcome::Conflict { stream: guarded.clone(), actual: Version(1) });
    assert!(writer.stream(&written).await.is_empty());

    let held = writer.commit(&writer.unit_of(&[(&written, 0, 1), (&guarded, 1, 0)])).await;
    assert_eq!((held.events, held.position), (1, Position(2)));
    let only = writer.commit(&writer.unit(&pipeline("never-written"), 0, 0)).await;
    assert_eq!((only.events, only.first_version, only.position), (0, Version(0), Position(2)));
    writer.commit(&writer.unit(&guarded, 1, 1)).await;
}

/// A unit is stored whole or not at all; a refused one does not hurt its neighbours.
pub async fn a_unit_is_atomic_and_leaves_others_alone<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let (a, b, c, d) = (pipeline("a"), pipeline("b"), pipeline("c"), pipeline("d"));
    writer.commit(&writer.unit(&b, 0, 1)).await;
    let batch = [
        writer.unit(&a, 0, 2),
        writer.unit_of(&[(&c, 0, 1), (&b, 0, 1)]),
        writer.unit_of(&[(&d, 0, 1), (&plugin("d"), 0, 2)]),
    ];
    let outcomes = writer.append_all(&batch).await.expect("append");
    assert!(
        matches!(&outcomes[0], AppendOutcome::Committed(c) if c.events == 2 && c.position == Position(3))
    );
    assert_eq!(outcomes[1], AppendOutcome::Conflict { stream: b.clone(), actual: Version(1) });
    assert!(
        matches!(&outcomes[2], AppendOutcome::Committed(c) if c.events == 3 && c.position == Position(6))
    );
    assert!(writer.stream(&c).await.is_empty(), "nothing of the refused unit is stored");
    let streams: Vec<_> = writer.log().await.into_iter().map(|e| e.stream).collect();
    assert_eq!(streams, [b, a.clone(), a, d.clone(), plugin("d"), plugin("d")]);
}

/// An empty batch is no error and stores nothing.
pub async fn an_empty_batch_is_answered_with_nothing<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    assert_eq!(writer.append_all(&[]).await.expect("append"), []);
    assert_eq!(writer.store.head().await.expect("head"), Position(0));
}

/// The outcome of a stored unit agrees with what is then read.
pub async fn a_committed_unit_tells_where_it_is<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let (a, b) = (pipeline("a"), plugin("b"));
    writer.commit(&writer.unit(&a, 0, 3)).await;
    let mut unit = writer.unit_of(&[(&a, 3, 2), (&b, 0, 1)]);
    command(&mut unit).answer = b"\xa5hello".as_slice().into();
    let committed = writer.commit(&unit).await;
    assert_eq!((committed.first_version, committed.events), (Version(3), 3));
    assert_eq!(committed.answer, command(&mut unit).answer);
    let last = writer.log().await.pop().expect("six events");
    assert_eq!((last.position, last.recorded_at), (committed.position, committed.at));
}
