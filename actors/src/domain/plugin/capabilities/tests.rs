//! What manifests may and may not say about capabilities, with the field that is blamed and the cure.

use serde_json::{Value, json};

use super::*;
use crate::domain::plugin::read_manifest;

/// Problems of a manifest with these capabilities, as `field: message`, without the file's own prefix.
fn problems(capabilities: &Value) -> Vec<String> {
    let manifest = json!({"name": "a", "version": "1", "type": "processor", "protocol": "command", "command": ["a"],
        "capabilities": capabilities});
    match read_manifest(&manifest) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .0
            .into_iter()
            .map(|p| format!("{}: {}", p.field.strip_prefix("capabilities.").unwrap_or(&p.field), p.message))
            .collect(),
    }
}

/// Each entry of the list `key` is one problem of its own that says this.
#[track_caller]
fn refused(key: &str, cases: &[(&str, &str)]) {
    let entries: Vec<&str> = cases.iter().map(|(entry, _)| *entry).collect();
    let found = problems(&json!({key: entries}));
    assert_eq!(found.len(), cases.len(), "{found:#?}");
    for (n, ((entry, expected), problem)) in cases.iter().zip(&found).enumerate() {
        assert!(problem.starts_with(&format!("{key}[{n}]: ")), "{problem}");
        assert!(problem.contains(expected), "{entry:?}: {expected:?} is not in {problem:?}");
    }
}

#[track_caller]
fn accepted(capabilities: &Value) {
    assert_eq!(problems(capabilities), [""; 0], "{capabilities}");
}

#[test]
fn paths_are_absolute_and_mean_what_they_say() {
    refused(
        "read",
        &[
            ("data", "not an absolute path: begin with / or ${workdir}/"),
            ("", "not an absolute path"),
            ("./data", "not an absolute path"),
            ("/data/../etc", "holds . or .."),
            ("/data/./in", "holds . or .."),
            ("${workdir}/../../x", "holds . or .."),
            ("${workdir}x", "unknown ${…}"),
            ("/data/${today}", "only ${workdir}, at the beginning"),
            ("/data/a\nb", "control character"),
            ("/data/a\0b", "control character"),
            ("/", "everything on the host"),
            ("//", "everything on the host"),
            ("/proc/1/environ", "a sandbox has a /proc of its own"),
            ("/dev/vda", "a sandbox has a /dev of its own"),
            ("//sys//kernel", "a sandbox has a /sys of its own"),
        ],
    );
    accepted(
        &json!({"read": ["/data/in", "/data/in2", "/device", "/data/a b/..x", "/data/é"], "write": ["/data/in", "${workdir}", "${workdir}/out"]}),
    );
    let long = format!("/{}", "x".repeat(MAX_PATH));
    assert!(problems(&json!({"write": [long]}))[0].contains("too long: at most 4096 bytes"));
}

#[test]
fn connections_name_one_host_and_one_port() {
    refused(
        "connect",
        &[
            ("db.internal", "has no port"),
            ("db.internal:", "no port from 1 to 65535"),
            ("db.internal:0", "no port from 1 to 65535"),
            ("db.internal:65536", "no port from 1 to 65535"),
            ("db.internal:+80", "no port from 1 to 65535"),
            ("db.internal:http", "no port from 1 to 65535"),
            (":5432", "not host:port"),
            ("*:443", "wildcard"),
            ("*.internal:443", "wildcard"),
            ("db.internal:*", "wildcard"),
            ("https://db.internal:443", "address with a scheme"),
            ("user@db.internal:443", "not host:port"),
            ("db.internal:443/path", "no port from 1 to 65535"),
            ("db .internal:443", "not host:port"),
            ("db..internal:443", "not host:port"),
            ("-db:443", "not host:port"),
            ("1.2.3:443", "not host:port"),
            ("1.2.3.400:443", "not host:port"),
            ("0.0.0.0:443", "not host:port"),
            ("[::]:443", "not host:port"),
            ("[::1]", "has no port"),
            ("::1", "without brackets: write [address]:port"),
            ("fe80::1:443", "without brackets: write [address]:port"),
            ("[::1", "not host:port"),
        ],
    );
    accepted(
        &json!({"connect": ["db:1", "db.internal:65535", "DB_1.internal:5432", "10.0.0.7:443", "[::1]:80", "[fd00::7]:443"]}),
    );
    assert_eq!(host_port("DB.Internal:5432"), Ok(("db.internal".to_owned(), 5432)));
    assert_eq!(host_port("[FD00::7]:80"), Ok(("fd00::7".to_owned(), 80)));
    let long = format!("{}:80", vec!["a".repeat(60); 5].join("."));
    assert!(problems(&json!({"connect": [long]}))[0].contains("not host:port"));
}

#[test]
fn names_are_names() {
    refused(
        "env",
        &[
            ("1A", "not the name of an environment variable"),
            ("", "not the name of an environment variable"),
            ("A=B", "not the name of an environment variable"),
            ("FLEXCORE_DATABASE_URL", "the node's own configuration"),
        ],
    );
    accepted(&json!({"env": ["TZ", "_x", "http_proxy"]}));
    let found = problems(&json!({"secrets": ["A/B", "OK"], "api": ["bookmarks.reed", "events.publish"]}));
    let expected = [
        "secrets[0]: \"A/B\" is not the name of a secret: use 1 to 128 letters, digits and '_', not beginning with a digit, such as ORACLE_PASSWORD",
        "api[0]: \"bookmarks.reed\" is no call of the flexcore protocol; did you mean \"bookmarks.read\"?",
        "api: only programs of protocol flexcore can make calls: remove the entries",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_is_there_twice_is_named() {
    let found = problems(&json!({
        "read": ["/data/in", "/data//in/"], "connect": ["db:1", "DB:1", "db:2"], "env": ["TZ", "tz", "TZ"],
    }));
    let expected = [
        "read[1]: \"/data//in/\" is here twice: remove one",
        "connect[1]: \"DB:1\" is here twice: remove one",
        "env[2]: \"TZ\" is here twice: remove one",
    ];
    assert_eq!(found, expected);
}

#[test]
fn all_problems_come_at_once_and_lists_are_bounded() {
    let found = problems(
        &json!({"read": ["data", 7], "conect": ["db:1"], "subprocess": "yes", "write": "/data", "root": true}),
    );
    let fields: Vec<&str> = found.iter().filter_map(|problem| problem.split(": ").next()).collect();
    assert_eq!(fields, ["read[0]", "read[1]", "write", "subprocess", "conect", "root"], "{found:#?}");
    assert!(found[4].contains("did you mean \"connect\"?"), "{found:#?}");
    let many: Vec<String> = (0..=MAX_GRANTS).map(|n| format!("/data/{n}")).collect();
    let found = problems(&json!({"read": many}));
    assert_eq!(found, ["read: 129 entries are too many: at most 128; grant a directory above"]);
}

#[test]
fn a_long_entry_is_shown_shortened() {
    let found = problems(&json!({"env": ["é".repeat(5_000)]}));
    assert!(found[0].chars().count() < 200 && found[0].contains('…'), "{found:?}");
}
