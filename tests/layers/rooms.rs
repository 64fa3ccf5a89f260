//! Adapters do not know each other: `src/<adapter>/` names no other adapter; `compose.rs` alone puts two together.
//!
//! An adapter is a folder of `src/`, or a file there, that is not one of the shared rooms named below.

use std::collections::BTreeSet;
use std::path::Path;

use crate::repository;

/// Rooms of `src/` that are not adapters: the crate's roots, the one place that names several adapters, the user's
/// side (which starts a node through that place), and what every room may use.
const SHARED: [&str; 12] = [
    "lib",
    "main",
    "access",
    "archive",
    "compose",
    "cli",
    "config",
    "durable",
    "schema",
    "yaml",
    "telemetry",
    "view_sql",
];

/// The room of a file of the root crate: `postgres` for `src/postgres/mod.rs` and for `src/postgres.rs`.
fn room(file: &Path) -> Option<String> {
    let first = file.strip_prefix("src").ok()?.components().next()?;
    Some(Path::new(first.as_os_str()).file_stem()?.to_str()?.to_owned())
}

/// Code without comments: prose may name any room.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Every room that follows a path prefix, alone (`crate::http::serve`) or in braces (`crate::{http, logs::File}`).
fn named_rooms(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut rooms = BTreeSet::new();
    for prefix in ["crate::", "flexcore::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => rooms.extend(first_words(group)),
                None => rooms.extend(word(rest)),
            }
        }
    }
    rooms
}

/// The first word of each entry of a brace group, without the entries of groups inside it.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut words, mut entry) = (0_usize, Vec::new(), String::new());
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.extend(word(std::mem::take(&mut entry).trim())),
            _ if depth == 0 => entry.push(character),
            _ => {}
        }
    }
    words.extend(word(entry.trim()));
    words
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// `file names room` for each adapter that a file of another adapter names.
fn strangers(files: &[(impl AsRef<Path>, String)]) -> Vec<String> {
    let adapters: BTreeSet<String> = files
        .iter()
        .filter_map(|(file, _)| room(file.as_ref()))
        .filter(|room| !SHARED.contains(&room.as_str()))
        .collect();
    let mut found = Vec::new();
    for (file, text) in files {
        let Some(own) = room(file.as_ref()).filter(|room| adapters.contains(room)) else { continue };
        let named = named_rooms(text);
        let others = named.iter().filter(|room| **room != own && adapters.contains(*room));
        found.extend(others.map(|other| format!("{} names crate::{other}", file.as_ref().display())));
    }
    found
}

#[test]
fn no_adapter_names_another() {
    let found = strangers(&repository::rust_files());
    assert!(found.is_empty(), "adapters meet in compose.rs only, through a port:\n{}", found.join("\n"));
}

#[test]
fn an_adapter_that_names_another_is_found_however_it_is_written() {
    let files = |text: &str| {
        [
            ("src/http/mod.rs", text.to_owned()),
            ("src/postgres/pool.rs", String::new()),
            ("src/logs.rs", String::new()),
        ]
    };
    for text in [
        "use crate::postgres::Pool;",
        "use crate::{config::Config, logs::{File, Line}, postgres};",
        "fn f() { flexcore::logs::open() }",
        "use crate::{\n    postgres::{self, Pool},\n};",
    ] {
        assert!(!strangers(&files(text)).is_empty(), "{text}");
    }
    for text in
        ["use crate::http::Route;", "use crate::{config, http};", "//! like crate::postgres, but for HTTP"]
    {
        assert!(strangers(&files(text)).is_empty(), "{text}");
    }
    let shared =
        [("src/compose.rs", "use crate::{http, postgres};".to_owned()), ("src/http.rs", String::new())];
    assert!(strangers(&shared).is_empty(), "compose.rs may name any adapter");
}
