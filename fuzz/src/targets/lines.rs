//! Lines of Singer messages, as the relay between two programs reads them.

use flexcore::plugins::limits::EXCERPT_CHARS;
use flexcore::plugins::relay::Tally;
use flexcore::plugins::relay::check::{self, Fault, Kind};
use flexcore::plugins::relay::lines::Lines;
use serde_json::Value;

use super::chunks;

/// The longest line; small, so that a fuzzer comes to it.
const LIMIT: usize = 600;
/// The longest bookmark.
const STATE_LIMIT: usize = 300;

/// What came out of a relay.
#[derive(Debug, Default, PartialEq)]
struct Passed {
    delivered: Vec<u8>,
    states: Vec<Vec<u8>>,
    fault: Option<(u64, Fault)>,
    records: u64,
}

/// The output of a tap: what is delivered is whole good lines, in order, whatever chunks they came in.
pub fn singer_lines(stream: &[u8]) -> bool {
    let passed = relay([stream]);
    assert_eq!(passed, relay(chunks(stream)), "it matters how a stream is cut");
    let (mut expected, mut records) = (Vec::new(), 0);
    for line in passed.delivered.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("only whole lines are delivered");
        assert!(line.len() <= LIMIT && !check::is_blank(line));
        records += u64::from(agrees(line).expect("only good lines are delivered") == Kind::Record);
    }
    assert_eq!(passed.records, records);
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if !check::is_blank(line) {
            expected.extend_from_slice(line);
            expected.push(b'\n');
        }
    }
    assert!(expected.starts_with(&passed.delivered), "what is delivered is not what came");
    match &passed.fault {
        None => assert_eq!(expected, passed.delivered, "a line was lost"),
        Some((line, fault)) => {
            assert!(*line >= 1 && fault.to_string().len() < 1_000);
            if let Fault::NotJson(_, Some(excerpt)) = fault {
                assert!(excerpt.chars().count() <= EXCERPT_CHARS);
            }
        }
    }
    for state in &passed.states {
        assert!(state.len() <= STATE_LIMIT);
        assert_eq!(agrees(state).ok(), Some(Kind::State));
    }
    stream.split(|byte| *byte == b'\n').for_each(|line| drop(agrees(line)));
    passed.fault.is_none()
}

fn relay<'s>(parts: impl IntoIterator<Item = &'s [u8]>) -> Passed {
    let (mut lines, mut tally) = (Lines::new(LIMIT, STATE_LIMIT), Tally::default());
    let mut passed = Passed::default();
    for mut part in parts {
        while !part.is_empty() && passed.fault.is_none() {
            let space = lines.space();
            let count = space.len().min(part.len());
            space[..count].copy_from_slice(&part[..count]);
            lines.filled(count);
            part = &part[count..];
            inspect(&mut lines, &mut tally, &mut passed);
        }
    }
    if passed.fault.is_none() {
        let end = lines.finish(&tally);
        inspect(&mut lines, &mut tally, &mut passed);
        passed.fault = passed.fault.take().or(end.err());
    }
    passed.records = tally.records;
    passed
}

fn inspect(lines: &mut Lines, tally: &mut Tally, passed: &mut Passed) {
    let inspected = lines.inspect(tally);
    for part in &inspected.good {
        passed.delivered.extend_from_slice(lines.part(part));
    }
    passed.states.extend(inspected.states.iter().map(|state| lines.part(state).to_vec()));
    lines.consume(&inspected);
    passed.fault = inspected.bad;
}

/// Checks a line, and that a reader which builds the whole value says nothing else of it.
fn agrees(line: &[u8]) -> Result<Kind, Fault> {
    let checked = check::check(line);
    // absent where the full reader refuses more: deep nesting, huge numbers, halves of surrogate pairs
    let value = serde_json::from_slice::<Value>(line).ok();
    let kind = value.as_ref().and_then(|value| value.as_object()?.get("type")?.as_str());
    match (&checked, &value) {
        (Ok(message), Some(_)) => {
            let kind = kind.expect("a good line is an object with a text type");
            assert_eq!(message.kind == Kind::Record, kind.eq_ignore_ascii_case("RECORD"));
            assert_eq!(message.kind == Kind::State, kind.eq_ignore_ascii_case("STATE"));
            assert!(message.finite);
        }
        (Ok(message), None) => {
            let first = line.iter().find(|byte| !b" \t\r\n".contains(byte));
            assert_eq!(first, Some(&b'{'), "a good line is an object");
            assert!(message.kind != Kind::Record || !message.stream.is_empty());
        }
        (Err(Fault::NotUtf8(at)), _) => {
            assert!(std::str::from_utf8(&line[..at - 1]).is_ok() && std::str::from_utf8(line).is_err());
        }
        (Err(fault), Some(_)) => {
            assert!(matches!(fault, Fault::NoType | Fault::NoStream), "{fault:?} of a line that is JSON");
        }
        (Err(_), None) => {}
    }
    checked.map(|message| message.kind)
}
