//! What readers of logs rely on.

use std::io::Write;

use flexcore_actors::domain::ids::Name;
use flexcore_actors::ports::log_store::LogStream;
use jiff::Timestamp;
use uuid::Uuid;

use super::limits::{FILE_BYTES, INDEX_EVERY};
use super::*;

const ID: ExecutionId = ExecutionId(Uuid::from_u128(7));

fn line(text: impl Into<String>) -> LogLine {
    LogLine {
        time: Timestamp::UNIX_EPOCH,
        step: Name::new("step").unwrap(),
        plugin: Name::new("tap").unwrap(),
        stream: LogStream::Stderr,
        text: text.into(),
    }
}

async fn texts(logs: &FileLogs, after: u64, limit: usize) -> (Vec<String>, u64) {
    let (lines, next) = logs.read(ID, after, limit).await.unwrap();
    (lines.into_iter().map(|line| line.text).collect(), next)
}

#[tokio::test]
async fn lines_are_read_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let logs = FileLogs::open(dir.path()).unwrap();
    assert_eq!(texts(&logs, 0, 10).await, (vec![], 0), "no log yet");
    logs.append(ID, &[line("a"), line("b")]);
    logs.append(ID, &[line("c\nd")]);
    logs.flush().await;
    assert_eq!(texts(&logs, 0, 10).await, (vec!["a".into(), "b".into(), "c\nd".into()], 3));
    assert_eq!(texts(&logs, 1, 1).await, (vec!["b".into()], 2));
    assert_eq!(texts(&logs, 3, 10).await, (vec![], 3));
    assert_eq!(logs.read(ID, 0, 1).await.unwrap().0, [line("a")]);
}

#[tokio::test]
async fn long_logs_are_followed_through_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let logs = FileLogs::open(dir.path()).unwrap();
    let total = INDEX_EVERY * 3 + 10;
    let lines: Vec<LogLine> = (0..total).map(|n| line(n.to_string())).collect();
    lines.chunks(100).for_each(|chunk| logs.append(ID, chunk));
    logs.flush().await;
    let mut after = 0;
    while after < total {
        let (found, next) = texts(&logs, after, 700).await;
        assert_eq!(found.first(), Some(&after.to_string()));
        assert_eq!(next, after + found.len() as u64);
        after = next;
    }
    for number in [0, 1, INDEX_EVERY - 1, INDEX_EVERY, INDEX_EVERY * 3 + 9] {
        assert_eq!(texts(&logs, number, 1).await.0, [number.to_string()]);
    }
    assert_eq!(texts(&logs, total + 5, 1).await, (vec![], total + 5));
}

#[tokio::test]
async fn a_log_goes_on_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let logs = FileLogs::open(dir.path()).unwrap();
    logs.append(ID, &[line("before")]);
    drop(logs);
    let path = dir.path().join(DIRECTORY).join(format!("{ID}.ndjson"));
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"half").unwrap();
    let logs = FileLogs::open(dir.path()).unwrap();
    assert_eq!(texts(&logs, 0, 10).await, (vec!["before".into()], 1), "half a line is none yet");
    logs.append(ID, &[line("after")]);
    logs.flush().await;
    assert_eq!(texts(&logs, 0, 10).await, (vec!["before".into(), "after".into()], 3));
}

#[tokio::test]
async fn a_log_is_bounded_with_one_mark() {
    let dir = tempfile::tempdir().unwrap();
    let logs = FileLogs::open(dir.path()).unwrap();
    logs.append(ID, &[line("first")]);
    logs.flush().await;
    let path = dir.path().join(DIRECTORY).join(format!("{ID}.ndjson"));
    drop(logs);
    // a sparse file stands for a long log
    let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(FILE_BYTES - 10).unwrap();
    let logs = FileLogs::open(dir.path()).unwrap();
    for _ in 0..3 {
        logs.append(ID, &[line("last"), line("too much")]);
    }
    logs.flush().await;
    let size = path.metadata().unwrap().len();
    assert!((FILE_BYTES..FILE_BYTES + 1_000).contains(&size), "{size}");
    let end = std::fs::read(&path).unwrap().split_off(usize::try_from(FILE_BYTES).unwrap() - 10);
    let end = String::from_utf8(end).unwrap();
    assert_eq!(
        (end.matches("last").count(), end.matches("log cut").count(), end.matches("too much").count()),
        (1, 1, 0)
    );
}
