//! What is written is read back, and what is missing or strange is said with the file's name.

use flexcore_actors::domain::event::{Origin, RecordedEvent};
use flexcore_actors::domain::ids::{CorrelationId, EventId, Position, Version};
use flexcore_actors::domain::integrity::leaf::{EventHashes, LeafHash};
use flexcore_actors::ports::event_store::EventFilter;
use jiff::Timestamp;
use uuid::Uuid;

use super::{ArchiveError, Checked, Draft, Reader, Recorded};

fn event(position: u64) -> RecordedEvent {
    let stream = if position.is_multiple_of(2) { "pipeline-even" } else { "pipeline-odd" };
    RecordedEvent {
        id: EventId(Uuid::from_u128(position.into())),
        stream: stream.parse().unwrap(),
        version: Version(position.div_ceil(2)),
        position: Position(position),
        kind: format!("Kind{}", position % 3),
        schema_version: 2,
        recorded_at: Timestamp::from_second(1_000 + i64::try_from(position).unwrap()).unwrap(),
        node: "node-a".to_owned(),
        origin: Origin {
            actor: "user:ada".to_owned(),
            correlation_id: CorrelationId(Uuid::from_u128(7)),
            causation_id: position.is_multiple_of(2).then(|| Uuid::from_u128(9)),
        },
        payload: vec![0x80; 3].into(),
        hashes: EventHashes { payload: [1; 32], leaf: LeafHash([u8::try_from(position).unwrap(); 32]) },
    }
}

fn written(dir: &std::path::Path, positions: impl IntoIterator<Item = u64>) -> std::path::PathBuf {
    let events: Vec<_> = positions.into_iter().map(event).collect();
    let mut draft = Draft::create(dir, &(5..=20)).unwrap();
    let (first, second) = events.split_at(events.len() / 2);
    draft.add(first).unwrap();
    draft.add(second).unwrap();
    dir.join(draft.finish().unwrap().file)
}

#[test]
fn what_was_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let reader = Reader::open(&written(folder.path(), 5..=20), 5..=20).unwrap();
    let read = |after, limit, filter: &EventFilter| reader.all(Position(after), limit, filter).unwrap();
    let none = EventFilter::default();
    assert_eq!(read(0, 100, &none), (5..=20).map(event).collect::<Vec<_>>());
    assert_eq!(read(7, 2, &none), [event(8), event(9)]);
    let even = "pipeline-even".parse().unwrap();
    assert_eq!(reader.stream(&even, Version(4), 2).unwrap(), [event(10), event(12)]);
    let filter = EventFilter {
        stream: Some(even),
        kinds: vec!["Kind0".to_owned(), "Kind1".to_owned()],
        from: Some(event(8).recorded_at),
        to: Some(event(18).recorded_at),
    };
    assert_eq!(read(0, 100, &filter), [event(10), event(12), event(16)]);
    assert_eq!(reader.leaves(6..=7).unwrap(), [[6; 32], [7; 32]]);
}

#[test]
fn a_gap_is_never_silent() {
    let folder = tempfile::tempdir().unwrap();
    let reader = Reader::open(&written(folder.path(), (5..=20).filter(|n| *n != 12)), 5..=20).unwrap();
    assert!(reader.all(Position(12), 100, &EventFilter::default()).is_ok());
    let error = reader.all(Position(0), 100, &EventFilter::default()).unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }) && !error.passes(), "{error}");
}

#[test]
fn another_file_is_refused_and_a_missing_one_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let error = Reader::open(&path, 1..=2).unwrap_err();
    assert!(error.passes() && error.to_string().contains("other.db is missing: put it back"), "{error}");
    std::fs::write(&path, "").unwrap();
    let error = Reader::open(&path, 1..=2).unwrap_err();
    assert!(error.to_string().contains("no archive of this version's format"), "{error}");
}

/// A file as the database would have it recorded, with the reader's memory of it.
fn recorded(dir: &std::path::Path) -> (Checked, Recorded) {
    let events: Vec<_> = (5..=20).map(event).collect();
    let mut draft = Draft::create(dir, &(5..=20)).unwrap();
    draft.add(&events).unwrap();
    let done = draft.finish().unwrap();
    (Checked::default(), Recorded { name: done.file, sha256: done.sha256, positions: 5..=20 })
}

/// Writes a file as if it had been that many seconds after 1970: the system's own times may be too coarse for a test.
fn rewrite(path: &std::path::Path, bytes: &[u8], second: u64) {
    std::fs::write(path, bytes).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_file_that_is_not_the_recorded_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (checked, file) = recorded(folder.path());
    let path = folder.path().join(&file.name);
    let open = |checked: &Checked| checked.open(folder.path(), &file);
    assert_eq!(open(&checked).unwrap().leaves(6..=7).unwrap(), [[6; 32], [7; 32]]);
    // a payload is changed in place, and the length stays: the statement that SQLite would run sees nothing wrong
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(3).position(|window| window == [0x80; 3]).unwrap();
    let good = std::mem::replace(&mut bytes[at], 0x81);
    rewrite(&path, &bytes, 1);
    for checked in [&checked, &Checked::default()] {
        let error = open(checked).unwrap_err();
        assert!(matches!(&error, ArchiveError::Damaged { .. }) && !error.passes(), "{error}");
        assert!(error.to_string().contains("sha-256") && error.to_string().contains(&file.name), "{error}");
    }
    bytes[at] = good;
    rewrite(&path, &bytes, 2);
    assert!(open(&checked).is_ok(), "the file is well again");
    std::fs::remove_file(&path).unwrap();
    assert!(open(&checked).unwrap_err().passes(), "what was opened before can be missing");
}

#[test]
fn a_recorded_name_leads_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let (checked, file) = recorded(folder.path());
    let beside = folder.path().join("beside");
    std::fs::create_dir(&beside).unwrap();
    let absolute = folder.path().join(&file.name).display().to_string();
    let parent = format!("../{}", file.name);
    let folder_of = format!("{}/", file.name);
    for name in [&*parent, &absolute, &folder_of, "", ".", "..", "a/../b"] {
        let leads = Recorded { name: name.to_owned(), ..file.clone() };
        let error = checked.open(&beside, &leads).unwrap_err();
        assert!(matches!(error, ArchiveError::NoName { .. }) && !error.passes(), "{name}: {error}");
    }
    assert!(checked.open(folder.path(), &file).is_ok());
}
