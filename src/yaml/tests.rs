//! What is read, what is refused, and where a field is said to be.

use serde_json::json;

use super::*;

fn one(text: &str) -> Document {
    let mut documents = parse(text).unwrap();
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

#[test]
fn values_follow_the_core_schema() {
    let document = one(concat!(
        "a: 1\nb: -2\nc: 1.5\nd: 0x1F\ne: 0o17\nf: ~\ng:\nh: yes\ni: true\nj: '1'\nk: 1.0.0\n",
        "l: 18446744073709551615\nm: \"x\\ny\"\nn: |\n  two\n  lines\no: 1e3\np: +5\nq: !!str 5\n",
    ));
    let expected = json!({"a": 1, "b": -2, "c": 1.5, "d": 31, "e": 15, "f": null, "g": null, "h": "yes",
        "i": true, "j": "1", "k": "1.0.0", "l": u64::MAX, "m": "x\ny", "n": "two\nlines\n", "o": 1e3, "p": 5,
        "q": "5"});
    assert_eq!(document.value, expected);
}

#[test]
fn json_is_accepted() {
    let text = r#"{"a": [1, {"b": "\u00e9 \/ \ud83d\ude00 \\ud83d\\ude00"}], "c": null}"#;
    assert_eq!(one(text).value, json!({"a": [1, {"b": "é / 😀 \\ud83d\\ude00"}], "c": null}));
    assert!(parse(r#"["\ud83d"]"#).is_err(), "half a character");
}

#[test]
fn fields_are_found_by_path_or_by_what_is_around_them() {
    let document = one("name: x\nsteps:\n  - name: one\n  - name: two\n    retry:\n      attempts: 0\n");
    let at = |field| {
        let mark = document.position(field);
        (mark.line, mark.column)
    };
    assert_eq!(at("name"), (1, 1));
    assert_eq!(at("steps"), (2, 1));
    assert_eq!(at("steps[1]"), (4, 5));
    assert_eq!(at("steps[1].retry.attempts"), (6, 7));
    assert_eq!(at("steps[1].retry.max"), (5, 5), "absent: the nearest around it");
    assert_eq!(at("steps[0].plugin"), (3, 5));
    assert_eq!(at("version"), (1, 1));
}

#[test]
fn several_documents_keep_their_own_lines() {
    let documents = parse("---\na: 1\n---\n\n# nothing here\n---\n\nb: 2\n").unwrap();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].value, json!({"b": 2}));
    assert_eq!(documents[1].position("b").line, 8);
    assert_eq!(documents[1].position("a").line, 8, "the other document's lines are not ours");
    assert!(parse("").unwrap().is_empty());
}

#[test]
fn what_is_refused_and_where() {
    let nested = format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    let blocks = "- ".repeat(10_000);
    let huge = "#".repeat(MAX_BYTES + 1);
    for (text, line, message) in [
        ("a: 1\nb: 2\na: 3\n", 3, "twice"),
        ("{\"a\": 1, \"a\": 2}", 1, "twice"),
        ("a: .nan", 1, "finite"),
        ("a: -.inf", 1, "finite"),
        ("a:\n  1: x\n", 2, "in quotes"),
        ("true: x", 1, "in quotes"),
        ("? [a]\n: 1", 1, "a key must be a text"),
        ("a: !secret x", 1, "tag"),
        ("a: [1, 2", 2, ""),
        ("a: 1\n  b: 2\n", 2, ""),
        (nested.as_str(), 1, "nested deeper"),
        (blocks.as_str(), 1, "nested deeper"),
        (huge.as_str(), 1, "at most"),
    ] {
        let error = parse(text).unwrap_err();
        let shown: String = text.chars().take(20).collect();
        assert!(error.message.contains(message), "{shown}: {error}");
        assert_eq!(error.mark.line, line, "{shown}: {error}");
    }
}

#[test]
fn aliases_copy_within_a_bound() {
    assert_eq!(one("a: &x {k: 1}\nb: *x\n").value, json!({"a": {"k": 1}, "b": {"k": 1}}));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        bomb += &format!("a{n}: &a{n} [{}]\n", before.trim_end_matches(", "));
    }
    assert!(parse(&bomb).unwrap_err().message.contains("aliases copy"));
    assert!(parse("a: &a [*a]").is_err(), "a value cannot hold itself");
}
