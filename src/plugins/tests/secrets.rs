//! Secrets: what reaches a program, and what does not leave it.

use flexcore_actors::domain::outcome::CauseKind;
use flexcore_actors::domain::plugin::{PluginType, Protocol};
use flexcore_actors::domain::secret::{Part, SecretName, SecretPlace};
use flexcore_actors::ports::plugin_host::{HostEvent, ProgramSpec};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::plugins::testing::{Bench, program, sh_tap, sh_target, step};

const PASSWORD: &str = "hunter2+hunter2";

fn bench() -> Bench {
    Bench::with_secrets(&[
        ("PASSWORD", PASSWORD.as_bytes()),
        ("TOKEN", b"tok/en-0815"),
        ("BLOB", &[0xff, 0, 1, 2, 3]),
    ])
}

fn granted(mut program: ProgramSpec, secrets: &[&str], env: &[&str]) -> ProgramSpec {
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    program.manifest.capabilities.secrets = texts(secrets);
    program.manifest.capabilities.env = texts(env);
    program
}

fn sh(script: &str) -> ProgramSpec {
    program("cmd", PluginType::Processor, Protocol::Command, &["sh", "-c", script, "cmd"])
}

/// `config` with `text` and then the password at a place.
fn referring(mut program: ProgramSpec, config: Value, field: &str, text: &str) -> ProgramSpec {
    let password = Part::Secret(SecretName::new("PASSWORD").unwrap());
    let parts = vec![Part::Text(text.to_owned()), password];
    program.config = config;
    program.secrets.push(SecretPlace { field: field.to_owned(), pointer: format!("/{field}"), parts });
    program
}

#[tokio::test]
async fn a_program_gets_what_it_is_granted_and_nothing_else() {
    let bench = bench();
    let out = bench.path("out");
    let script = format!(
        "{{ cat; cat $FLEXCORE_SECRETS_DIR/PASSWORD; echo; ls $FLEXCORE_SECRETS_DIR; stat -c %a $FLEXCORE_SECRETS_DIR/*; \
         echo ${{TOKEN-absent}} ${{PASSWORD-absent}}; od -An -tx1 $FLEXCORE_SECRETS_DIR/BLOB; }} >{out}"
    );
    let command = granted(sh(&script), &["PASSWORD", "TOKEN", "BLOB"], &["TOKEN"]);
    let command = referring(command, json!({"stdin": "?"}), "stdin", "u:");
    let (end, _) = bench.run(step(vec![command])).await;
    assert_eq!(end.cause, None, "{:?}", bench.logs.texts());
    let expected = format!(
        "u:{PASSWORD}{PASSWORD}\nBLOB\nPASSWORD\nTOKEN\n400\n400\n400\ntok/en-0815 absent\n ff 00 01 02 03\n"
    );
    assert_eq!(bench.read("out"), expected);
    let (end, _) = bench.run(step(vec![sh(&format!("echo ${{FLEXCORE_SECRETS_DIR-none}} >{out}"))])).await;
    assert_eq!(
        (end.cause, bench.read("out").as_str()),
        (None, "none\n"),
        "without a grant there is no directory"
    );
}

/// A tap is given its configuration in a file; no program's arguments hold a value.
#[tokio::test]
async fn a_singer_program_finds_it_in_its_configuration() {
    let bench = bench();
    let (out, arguments) = (bench.path("out"), bench.path("arguments"));
    let tap = sh_tap(&format!("cat $2 >{out}; tr '\\0' ' ' </proc/$$/cmdline >{arguments}"));
    let tap = referring(granted(tap, &["PASSWORD"], &[]), json!({"dsn": "?"}), "dsn", "p://u:");
    let (end, _) = bench.run(step(vec![tap, sh_target("cat >/dev/null")])).await;
    assert_eq!(end.cause, None, "{:?}", bench.logs.texts());
    assert_eq!(bench.read("out"), format!(r#"{{"dsn":"p://u:{PASSWORD}"}}"#));
    assert!(bench.read("arguments").contains("--config") && !bench.read("arguments").contains(PASSWORD));
}

#[tokio::test]
async fn what_it_prints_reports_or_breaks_does_not_show_it() {
    let bench = bench();
    let script = "echo \"a $TOKEN\"; printf %s $TOKEN | base64 >&2; echo 'tok%2Fen-0815 hunter2%2Bhunter2'; \
                  echo '{\"tok/en-0815\": [\"x tok/en-0815\", 1]}' >$FLEXCORE_RESULT; exit 3";
    let command = granted(sh(script), &["PASSWORD", "TOKEN"], &["TOKEN"]);
    let (end, _) = bench.run(step(vec![command])).await;
    let mut logged = bench.logs.texts();
    logged.sort();
    assert_eq!(logged, ["***", "*** ***", "a ***"]);
    assert_eq!(end.report.result, json!({"***": ["x ***", 1]}));
    // another program of the pipe shows it, and the relay quotes the line
    let tap = granted(sh_tap(&format!("echo 'not json {PASSWORD}'; sleep 1000")), &[], &[]);
    let target = granted(sh_target(&format!("cat; echo 'and {PASSWORD}' >&2")), &["PASSWORD"], &[]);
    let (end, _) = bench.run(step(vec![tap, target])).await;
    assert_eq!(end.cause.as_ref().map(|cause| cause.kind), Some(CauseKind::ProtocolError));
    let seen = format!("{end:?}{:?}", bench.logs.texts());
    assert!(seen.contains("and ***") && !seen.contains("hunter2"), "{seen}");
}

#[tokio::test]
async fn what_cannot_be_given_is_said_before_the_start() {
    let bench = bench();
    let mut strict = referring(granted(sh(":"), &["PASSWORD"], &[]), json!({"stdin": "?"}), "stdin", "");
    strict.manifest.config_schema = json!({"properties": {"stdin": {"type": "string", "maxLength": 3}}});
    for (command, part) in [
        (granted(sh(":"), &["ABSENT"], &[]), "the secret ABSENT does not exist"),
        (granted(sh(":"), &["BLOB"], &["BLOB"]), "the secret BLOB is not text that fits into a variable"),
        (
            referring(sh(":"), json!({"stdin": "?"}), "stdin", ""),
            "config.stdin: the secret PASSWORD is not granted",
        ),
        (strict, "config.stdin: does not fit the config_schema of cmd"),
    ] {
        let (end, _) = bench.run(step(vec![command])).await;
        let cause = end.cause.unwrap();
        assert_eq!(cause.kind, CauseKind::StartFailed);
        assert!(cause.message.contains(part) && !cause.message.contains(PASSWORD), "{}", cause.message);
        assert_eq!(end.report.programs[0].pid, None);
    }
}

/// Secrets are in the program's own memory, never on a disk of the host, however it ends.
#[tokio::test]
async fn no_secret_is_on_the_hosts_disk() {
    let bench = bench();
    let script = "test $(cat $FLEXCORE_SECRETS_DIR/PASSWORD) && trap '' TERM; sleep 1000";
    let command = granted(sh(script), &["PASSWORD"], &[]);
    let started = |event: &HostEvent| {
        let HostEvent::Started { .. } = event else { return false };
        let scratch =
            std::fs::read_dir(bench.data.path().join("scratch")).unwrap().next().unwrap().unwrap().path();
        assert!(scratch.join("0").exists() && std::fs::read_dir(scratch.join("0")).unwrap().next().is_none());
        !scratch.join("secrets-0").exists()
    };
    // the bench itself asserts that the scratch directory is empty in the end
    let (end, _) = bench.run_until(step(vec![command]), CancellationToken::new(), started).await;
    assert_eq!(end.cause, None);
}

#[tokio::test]
async fn they_are_where_the_contract_says_unless_that_place_is_the_hosts() {
    let bench = bench();
    let show = format!("echo $FLEXCORE_SECRETS_DIR; cat /run/secrets/PASSWORD | rev >{}", bench.path("out"));
    let command = granted(sh(&show), &["PASSWORD"], &[]);
    let (end, _) = bench.run(step(vec![command.clone()])).await;
    assert_eq!((end.cause, bench.logs.texts()), (None, vec!["/run/secrets".to_owned()]));
    assert_eq!(bench.read("out").trim(), PASSWORD.chars().rev().collect::<String>());
    let mut of_the_host =
        granted(sh("test -s $FLEXCORE_SECRETS_DIR/PASSWORD && ls /run/secrets"), &["PASSWORD"], &[]);
    of_the_host.manifest.capabilities.read.push("/run".to_owned());
    let (end, _) = bench.run(step(vec![of_the_host])).await;
    assert!(!bench.logs.say("PASSWORD"), "{:?} {:?}", end.cause, bench.logs.texts());
}
