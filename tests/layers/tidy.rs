//! What every file owes its reader.
//!
//! Only rules that no compiler or linter keeps, or that they keep only for the code that is compiled.

use crate::repository;

/// Programs, data and pictures beyond this do not belong into a clone that everybody waits for: 1 MiB.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Unfinished code, which the linter sees only where it is compiled. In two parts, so that this file is clean.
const UNFINISHED: [&str; 2] = [concat!("todo", "!("), concat!("unimplemented", "!(")];
/// A test that is switched off without saying why.
const SILENTLY_IGNORED: &str = concat!("#[", "ignore]");

/// One rule: what is wrong with a Rust file of this text, if anything.
type Rule = fn(&str) -> Option<String>;

fn opening(text: &str) -> Option<String> {
    (!text.starts_with("//! "))
        .then(|| "does not open with `//! ` saying what it is for and what must not be in it".into())
}

fn unfinished(text: &str) -> Option<String> {
    let found = UNFINISHED.iter().find(|macro_call| text.contains(**macro_call))?;
    Some(format!("holds {found}…): finish it, or leave it out"))
}

fn ignored(text: &str) -> Option<String> {
    let why = "ignores a test without a reason: write #[ignore = \"why\"]";
    text.contains(SILENTLY_IGNORED).then(|| why.into())
}

fn assert_rule(rule: Rule) {
    let broken: Vec<String> = repository::rust_files()
        .iter()
        .filter_map(|(file, text)| Some(format!("{} {}", file.display(), rule(text)?)))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    assert_rule(opening);
}

#[test]
fn nothing_is_left_unfinished() {
    assert_rule(unfinished);
}

#[test]
fn no_test_is_ignored_without_a_reason() {
    assert_rule(ignored);
}

#[test]
fn the_rules_see_what_breaks_them() {
    assert!(opening("use std::fs;\n").is_some() && opening("//! A room.\n").is_none());
    assert!(unfinished(&format!("fn f() {{ {}\"later\") }}", UNFINISHED[0])).is_some());
    assert!(unfinished("// a todo list").is_none());
    assert!(ignored(&format!("#[test]\n{SILENTLY_IGNORED}\nfn f() {{}}")).is_some());
    assert!(ignored("#[ignore = \"needs a second machine\"]").is_none());
}

#[test]
fn no_file_is_too_large_for_a_clone() {
    let too_large: Vec<String> = repository::files()
        .iter()
        .filter_map(|file| {
            let size = repository::root().join(file).metadata().ok()?.len();
            (size > LARGEST_FILE).then(|| format!("{} has {size} bytes, over {LARGEST_FILE}", file.display()))
        })
        .collect();
    assert!(too_large.is_empty(), "{}", too_large.join("\n"));
}
