//! Promises about ownership: an event commits only under its shard's current epoch (S1), and epochs only rise (S4).

use super::Fixture;
use super::kit::{Writer, own_all, pipeline, plugin};
use crate::domain::ids::{Epoch, Incarnation, StreamId, Version};
use crate::ports::IdSource;
use crate::ports::event_store::AppendOutcome;

/// S1: after another node has claimed, the earlier owner's appends are refused and name the epoch.
pub async fn a_stale_epoch_is_fenced<F: Fixture>(fixture: &F) {
    let old = Writer::claim_as(fixture.store(), "node-a").await;
    let stream = pipeline("fenced");
    old.commit(&old.unit(&stream, 0, 1)).await;
    let new = Writer::claim_as(fixture.another().await, "node-b").await;

    let current = new.epochs[usize::from(stream.shard().0)];
    let fenced = AppendOutcome::Fenced { shard: stream.shard(), current };
    assert_eq!(old.append(&old.unit(&stream, 1, 1)).await, fenced);
    assert_eq!(old.append(&old.unit(&stream, 1, 0)).await, fenced);
    assert_eq!(old.append(&old.unit(&stream, 0, 1)).await, fenced, "fenced comes before conflict");

    let mut mixed = new.unit_of(&[(&stream, 1, 1), (&plugin("other"), 0, 1)]);
    mixed.streams[1].epoch = Some(Epoch(0));
    assert!(matches!(new.append(&mixed).await, AppendOutcome::Fenced { .. }), "each stream is fenced");
    new.commit(&new.unit(&stream, 1, 1)).await;
    assert_eq!(new.log().await.len(), 2);
}

/// S1: nobody owns a shard before the first claim.
pub async fn an_unclaimed_shard_is_fenced<F: Fixture>(fixture: &F) {
    let mut writer = Writer::claim(fixture).await;
    let stream = pipeline("early");
    writer.epochs = vec![Epoch(0); 256];
    assert!(matches!(writer.append(&writer.unit(&stream, 0, 1)).await, AppendOutcome::Fenced { .. }));
    writer.epochs = vec![Epoch(2); 256];
    assert!(matches!(writer.append(&writer.unit(&stream, 0, 1)).await, AppendOutcome::Fenced { .. }));
}

/// S4: every claim raises every epoch, whoever claims.
pub async fn epochs_only_rise<F: Fixture>(fixture: &F) {
    let store = fixture.store();
    let mut before = vec![Epoch(0); 256];
    for node in ["node-a", "node-b", "node-b", "node-a"] {
        let after = own_all(&*store, node).await;
        assert!(after.iter().zip(&before).all(|(after, before)| after > before), "{after:?}");
        before = after;
    }
}

/// A writer that lost an answer and then its shard sends the batch again and learns that it had been stored.
pub async fn a_fenced_writer_learns_what_it_had_stored<F: Fixture>(fixture: &F) {
    let old = Writer::claim_as(fixture.store(), "node-a").await;
    let unit = old.unit(&pipeline("lost-answer"), 0, 1);
    let first = old.commit(&unit).await;
    Writer::claim_as(fixture.another().await, "node-b").await;
    assert_eq!(old.append(&unit).await, AppendOutcome::Duplicate(first));
}

/// Events carry the name of the node under whose ownership they were stored.
pub async fn events_name_the_owner_of_their_shard<F: Fixture>(fixture: &F) {
    let stream = pipeline("owned");
    let a = Writer::claim_as(fixture.store(), "node-a").await;
    a.commit(&a.unit(&stream, 0, 1)).await;
    let b = Writer::claim_as(fixture.another().await, "node-b").await;
    b.commit(&b.unit(&stream, 1, 1)).await;
    let nodes: Vec<String> = b.stream(&stream).await.into_iter().map(|e| e.node).collect();
    assert_eq!(nodes, ["node-a", "node-b"]);
}

/// A guard checks the version of its stream, whoever owns the shard: an execution's version holds for what is written in
/// its name elsewhere (S7).
pub async fn a_guard_needs_no_shard<F: Fixture>(fixture: &F) {
    let writer = Writer::claim(fixture).await;
    let (written, guarded) = (pipeline("written"), plugin("guarded"));
    writer.commit(&writer.unit(&guarded, 0, 1)).await;
    let mut stranger = writer.clone();
    stranger.epochs[usize::from(guarded.shard().0)] = Epoch(0);
    assert_ne!(written.shard(), guarded.shard(), "two shards");
    stranger.commit(&stranger.unit_of(&[(&written, 0, 1), (&guarded, 1, 0)])).await;
    let late = stranger.append(&stranger.unit_of(&[(&written, 1, 1), (&guarded, 0, 0)])).await;
    assert_eq!(late, AppendOutcome::Conflict { stream: guarded.clone(), actual: Version(1) });
    let own = stranger.append(&stranger.unit(&guarded, 1, 0)).await;
    assert!(matches!(own, AppendOutcome::Fenced { .. }), "the commanded stream is fenced, {own:?}");
}

/// What one life of a node refused is written by that life, which owns no shard for it.
pub async fn the_stream_of_a_nodes_life_needs_no_shard<F: Fixture>(fixture: &F) {
    let old = Writer::claim_as(fixture.store(), "node-a").await;
    let audit = StreamId::audit("node-a", Incarnation(old.ids.uuid()));
    Writer::claim_as(fixture.another().await, "node-b").await;
    let mut unit = old.unit(&audit, 0, 2);
    (unit.command, unit.streams[0].epoch) = (None, None);
    old.commit(&unit).await;
    assert!(matches!(old.append(&unit).await, AppendOutcome::Duplicate(_)));
    assert_eq!(old.stream(&audit).await.len(), 2);
}
