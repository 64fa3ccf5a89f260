//! Every input in `tests/corpus` is read again by every build, by the functions that the fuzzer calls (`fuzz/`): what it
//! or a user once found does not come back. Never in here: an assertion about what is read; those are the targets'.

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::time::Duration;

use flexcore_jailer::protocol::frames::encode;
use flexcore_jailer::protocol::{Connection, Isolation, Limits, Order, PlacedFile, Policy, Shown};
use serde_json::{Value, json};

/// Set to write the seeds that are made here; otherwise they must be there already.
const UPDATE: &str = "FLEXCORE_UPDATE_CORPUS";
/// Everything in the corpus together, bytes: it is in every clone.
const MOST: u64 = 200 << 10;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_holds_what_its_target_asserts() {
    let (mut total, mut known) = (0, Vec::new());
    for (name, target) in targets::ALL {
        let (mut accepted, mut refused) = (0, 0);
        for path in files(&corpus(name)) {
            let bytes = std::fs::read(&path).unwrap();
            total += bytes.len() as u64;
            let ok = std::panic::catch_unwind(|| target(&bytes));
            let ok = ok.unwrap_or_else(|_| panic!("{} breaks {name}", path.display()));
            let named = path.file_name().unwrap().to_str().unwrap();
            assert!(!(ok && named.starts_with("bad-")), "{} was accepted", path.display());
            assert!(ok || !named.starts_with("good-"), "{} was refused", path.display());
            if ok { accepted += 1 } else { refused += 1 }
        }
        assert!(accepted > 0, "no input of {name} is accepted any more: set {UPDATE}, or mend them");
        assert!(refused > 0, "no input of {name} is refused");
        known.push(corpus(name));
    }
    known.sort();
    assert_eq!(files(&corpus("")), known, "a directory that no target reads");
    assert!(total <= MOST, "{total} bytes: keep the smallest inputs only");
}

/// The same damage in every build: a cut at many places, a bit turned, and a byte that matters to the syntax.
#[test]
fn damaged_inputs_hold_it_too() {
    const PLACES: usize = 60;
    const SYNTAX: &[u8] = b"\0\n:-[]{}\"'&*#!|>%@`,?~/\\\xff$*0";
    /// Larger ones would take the time of all others together.
    const LARGEST: usize = 16 << 10;
    for (name, target) in targets::ALL {
        for path in files(&corpus(name)) {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.len() > LARGEST {
                continue;
            }
            for n in 0..PLACES.min(bytes.len()) {
                let at = n * bytes.len() / PLACES.min(bytes.len());
                target(&bytes[..at]);
                for byte in [bytes[at] ^ (1 << (n % 8)), SYNTAX[n % SYNTAX.len()]] {
                    let mut damaged = bytes.clone();
                    damaged[at] = byte;
                    target(&damaged);
                }
            }
        }
    }
}

/// Seeds in a binary form that changes with the code: made from its own types.
#[test]
fn seeds_are_of_todays_form() {
    let start = Order::Start(Box::new(policy()));
    let orders = [start, Order::stop(Duration::from_secs(3)), Order::Kill];
    let orders: Vec<u8> = orders.iter().flat_map(|order| encode(order).unwrap()).collect();
    let said = [
        json!({"type": "hello", "protocol": 1, "name": "p", "version": "1"}),
        json!({"stream": "s", "record": {"deep": [1, {"x": null}]}, "type": "record"}),
        json!({"type": "progress", "records": 3, "message": "m"}),
        json!({"type": "log", "level": "info", "message": "m"}),
        json!({"type": "call", "id": 7, "api": "bookmarks.read", "arguments": {}}),
        json!({"type": "result", "result": {"rows": 3}}),
        json!({"type": "error", "message": "m"}),
    ];
    let said: Vec<u8> = said.iter().flat_map(frame).collect();
    for (target, bytes) in [
        ("launcher_policy", rmp_serde::to_vec_named(&policy()).unwrap()),
        ("launcher_frames", orders),
        ("flexcore_frames", said),
    ] {
        let path = corpus(target).join("seed");
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{} is old: set {UPDATE}", path.display());
    }
}

fn frame(body: &Value) -> Vec<u8> {
    let body = rmp_serde::to_vec_named(body).unwrap();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

fn policy() -> Policy {
    Policy {
        build: "0.0.0+test".into(),
        argv: vec!["/bin/echo".into(), "hello".into()],
        env: vec![("LANG".into(), "C".into())],
        workdir: "/tmp".into(),
        stdin: true,
        limits: Limits { memory_bytes: Some(1 << 20), ..Limits::default() },
        subprocess: false,
        internet: false,
        isolation: Isolation { namespaces: true, landlock: true, seccomp: true },
        view: vec![Shown { source: "/data/in".into(), target: "/data/in".into(), write: false }],
        files: vec![PlacedFile { path: "/tmp/config.json".into(), mode: 0o600, content: vec![0xff, 0] }],
        cgroup: None,
        result: Some("/tmp/result.json".into()),
        connect: vec![Connection { host: "db.internal".into(), port: 5432, address: [127, 1, 0, 1].into() }],
    }
}
