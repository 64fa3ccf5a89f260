//! Promises about commands: carried out once, whatever is sent again (S3).

use super::Fixture;
use super::kit::{Writer, command, pipeline, plugin};
use crate::domain::ids::{CommandId, StreamId};
use crate::ports::event_store::AppendOutcome;

/// S3: the identical unit is answered with its first outcome and not stored again, also among others in a batch and
/// after the stream has moved on.
pub async fn a_repeated_command_gets_its_first_outcome<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("repeated");
    let unit = writer.unit_of(&[(&stream, 0, 2), (&plugin("beside"), 0, 1)]);
    let first = writer.commit(&unit).await;
    assert_eq!(writer.append(&unit).await, AppendOutcome::Duplicate(first.clone()));

    writer.commit(&writer.unit(&stream, 2, 1)).await;
    let batch = [writer.unit(&pipeline("new"), 0, 1), unit];
    let outcomes = writer.append_all(&batch).await.expect("append");
    assert!(matches!(outcomes[0], AppendOutcome::Committed(_)));
    assert_eq!(outcomes[1], AppendOutcome::Duplicate(first));
    assert_eq!(writer.log().await.len(), 5);
}

/// S3 also for a command that stored no event.
pub async fn a_command_without_events_is_remembered<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("idle");
    writer.commit(&writer.unit(&stream, 0, 1)).await;
    let mut unit = writer.unit(&stream, 1, 0);
    command(&mut unit).answer = b"\xa9unchanged".as_slice().into();
    let first = writer.commit(&unit).await;
    writer.commit(&writer.unit(&stream, 1, 1)).await;
    assert_eq!(writer.append(&unit).await, AppendOutcome::Duplicate(first));
}

/// The same id with another digest of the request is refused; on another stream it is another command.
pub async fn a_reused_command_id_is_refused<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let mut unit = writer.unit(&pipeline("reused"), 0, 1);
    writer.commit(&unit).await;
    let mut other = unit.clone();
    command(&mut other).request_hash = [8; 32];
    assert_eq!(writer.append(&other).await, AppendOutcome::CommandReused);
    let mut elsewhere = writer.unit(&pipeline("elsewhere"), 0, 1);
    command(&mut elsewhere).id = command(&mut unit).id;
    writer.commit(&elsewhere).await;
    assert_eq!(writer.log().await.len(), 2);
}

/// A command whose unit was refused may come again and is then stored.
pub async fn a_refused_command_is_not_remembered<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("again");
    let mut unit = writer.unit(&stream, 1, 1);
    assert!(matches!(writer.append(&unit).await, AppendOutcome::Conflict { .. }));
    assert_eq!(writer.store.find_command(&stream, command(&mut unit).id).await.expect("find_command"), None);
    unit.streams[0].expected.0 = 0;
    writer.commit(&unit).await;
}

/// A stored command is found with its digest and first outcome; others are not.
pub async fn commands_are_found<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let stream = pipeline("found");
    let mut unit = writer.unit(&stream, 0, 2);
    let committed = writer.commit(&unit).await;
    let find =
        async |stream: &StreamId, id| writer.store.find_command(stream, id).await.expect("find_command");
    assert_eq!(find(&stream, command(&mut unit).id).await, Some(([7; 32], committed)));
    assert_eq!(find(&pipeline("other"), command(&mut unit).id).await, None);
    assert_eq!(find(&stream, CommandId(uuid::Uuid::nil())).await, None);
}

/// A unit without a command is known by the id of its first event when the identical batch comes again, whatever was
/// stored since and whoever owns its shard then; other events in its place are a conflict.
pub async fn a_repeated_unit_is_known_by_its_events<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let (stream, other) = (pipeline("unnamed"), plugin("beside"));
    let mut unit = writer.unit_of(&[(&stream, 0, 2), (&other, 0, 1)]);
    unit.command = None;
    let batch = writer.batch(&[unit.clone(), writer.unit(&pipeline("named"), 0, 1)]);
    let first = writer.send(&batch).await.expect("append");
    let AppendOutcome::Committed(committed) = &first[0] else { panic!("not stored: {first:?}") };
    assert_eq!((committed.events, committed.position.0), (3, 3));
    assert!(committed.answer.is_empty());

    writer.commit(&writer.unit(&stream, 2, 1)).await;
    let again = writer.send(&batch).await.expect("append");
    assert_eq!(again[0], AppendOutcome::Duplicate(committed.clone()));
    let mut stranger = writer.unit_of(&[(&stream, 0, 2), (&other, 0, 1)]);
    stranger.command = None;
    assert!(matches!(writer.append(&stranger).await, AppendOutcome::Conflict { .. }));

    Writer::claim_as(fixture.another().await, "node-b").await;
    let fenced = writer.send(&batch).await.expect("append");
    assert_eq!(fenced[0], AppendOutcome::Duplicate(committed.clone()));
    assert_eq!(writer.log().await.len(), 5);
}
