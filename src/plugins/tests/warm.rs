//! Interpreters that are started ahead: what an execution gets of one is what it would have had from a start of its own.

use std::path::Path;
use std::time::Instant;

use flexcore_actors::domain::outcome::ProgramReport;
use flexcore_actors::ports::plugin_host::ProgramSpec;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::environment::python;
use crate::plugins::testing::{Bench, PATIENCE, step};

/// Says everything about itself that a jail is made of, and leaves something behind.
const TELLER: &str = r#"
import json, os, resource, sys
import ballast

def status():
    wanted = ("NoNewPrivs", "Seccomp", "Seccomp_filters", "Uid", "Gid", "Groups", "CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")
    lines = (line.split(":", 1) for line in open("/proc/self/status"))
    return {name: value.split() for name, value in lines if name in wanted}

def attempt(what):
    try:
        what()
        return "done"
    except OSError as error:
        return error.errno

def main():
    home = os.environ["HOME"]
    facts = {
        "name": __name__, "main": sys.modules["__main__"].__file__, "argv": [sys.argv[0].rsplit("/")[-1], *sys.argv[1:]],
        "path": sys.path[0], "status": status(), "files": sorted(os.listdir(home)), "tmp": os.listdir("/tmp"),
        "at home": os.getcwd() == home, "root": sorted(os.listdir("/")), "run": sorted(os.listdir("/run")),
        "environment": {k: v.replace(home, "~") for k, v in os.environ.items() if k not in ("FLEXCORE_PARAMETERS", "FLEXCORE_EXECUTION_ID")},
        "parameters": os.environ["FLEXCORE_PARAMETERS"], "stdin": sys.stdin.read(),
        "descriptors": {fd: os.readlink("/proc/self/fd/" + fd).split(":")[0].replace(home, "~")
                        for fd in ("0", "1", "2", "3", "4") if os.path.lexists("/proc/self/fd/" + fd)},
        "limits": [resource.getrlimit(n) for n in range(16)], "session": os.getsid(0) == os.getpid(),
        "others": [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())],
        "write /etc": attempt(lambda: open("/etc/x", "w")), "mount": attempt(lambda: os.chroot("/tmp")),
        "secret": open("/run/secrets/PASSWORD").read()[::-1] if os.path.exists("/run/secrets/PASSWORD") else None,
        "blocking": [os.get_blocking(fd) for fd in (0, 1, 2)],
    }
    open("/tmp/left", "w").write("behind")
    print("on stdout")
    print("on stderr", file=sys.stderr)
    json.dump({"facts": facts, "ahead": ballast.AHEAD}, open(os.environ["FLEXCORE_RESULT"], "w"))
    sys.exit(int(json.loads(os.environ["FLEXCORE_PARAMETERS"]).get("exit", 0)))
"#;
/// The secret `tr0ub4dor` as it can be told: the other way round it is not hidden in the result.
const REVERSED: &str = "rod4bu0rt";
/// Knows whether an execution had begun when it was imported.
const BALLAST: &str = "import os\nAHEAD = 'FLEXCORE_OPERATION' not in os.environ\n";

/// A wheel of one module.
fn wheel(directory: &Path, name: &str, code: &str, requires: &str, script: bool) -> String {
    let build = r#"
import sys, zipfile
path, name, code, requires, script = sys.argv[1:]
with zipfile.ZipFile(path, "w") as wheel:
    info = name + "-1.0.dist-info/"
    wheel.writestr(name + ".py", code)
    wheel.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "top_level.txt", name + "\n")
    if script:
        wheel.writestr(info + "entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
    wheel.writestr(info + "RECORD", f"{name}.py,,\n{info}METADATA,,\n")
"#;
    let path = directory.join(format!("{name}-1.0-py3-none-any.whl"));
    let mut python = std::process::Command::new("python3");
    let made = python.args(["-c", build]).arg(&path).args([name, code, requires]);
    assert!(made.arg(if script { "yes" } else { "" }).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

fn teller(bench: &Bench, ballast: &str) -> ProgramSpec {
    let ballast = wheel(bench.data.path(), "ballast", ballast, "", false);
    let teller = wheel(bench.data.path(), "teller", TELLER, "Requires-Dist: ballast\n", true);
    let mut teller = python(&[&ballast, &teller], &["teller"]);
    teller.config = json!({"args": ["one", 2], "stdin": "given"});
    teller
}

async fn run(bench: &Bench, program: &ProgramSpec) -> (ProgramReport, Value) {
    let (end, _) = bench.run(step(vec![program.clone()])).await;
    let [report] = &end.report.programs[..] else { panic!("{:?}", end.report) };
    assert!(report.pid.is_some(), "{:?} {:?}", end.cause, bench.logs.texts());
    (report.clone(), end.report.result)
}

/// Until an interpreter waits.
async fn ahead(bench: &Bench) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let [pid] = bench.host.waiting_pids()[..] {
            return pid;
        }
        assert!(Instant::now() < deadline, "no interpreter was started ahead");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_execution_gets_exactly_what_it_would_have_had_from_a_start_of_its_own() {
    let bench = Bench::with_secrets(&[("PASSWORD", b"tr0ub4dor")]);
    let mut teller = teller(&bench, BALLAST);
    teller.manifest.capabilities.secrets = vec!["PASSWORD".to_owned()];
    let (cold, told_cold) = run(&bench, &teller).await;
    assert_eq!((cold.warm, &told_cold["ahead"]), (false, &json!(false)), "{told_cold:#}");
    assert_eq!(told_cold["facts"]["secret"], REVERSED);
    for round in 0..2 {
        let pid = ahead(&bench).await;
        let (warm, told) = run(&bench, &teller).await;
        assert_eq!((warm.warm, warm.pid), (true, Some(pid)), "round {round}");
        assert_eq!(told["ahead"], json!(true), "what it depends on was imported before");
        assert_eq!(told["facts"], told_cold["facts"], "round {round}, with nothing of the one before");
        assert_eq!(warm.sandbox, cold.sandbox);
        assert!(warm.usage.wall_ms < 10_000, "the time it waited is not counted: {:?}", warm.usage);
    }
    assert_eq!(bench.logs.texts().iter().filter(|text| *text == "on stdout").count(), 3);
    ahead(&bench).await;
    teller.parameters = json!({"exit": 7});
    let (failed, _) = run(&bench, &teller).await;
    assert_eq!((failed.warm, failed.exit_code), (true, Some(7)));
}

#[tokio::test]
async fn what_would_get_another_jail_starts_by_itself() {
    let bench = Bench::with_secrets(&[("PASSWORD", b"tr0ub4dor")]);
    let mut teller = teller(&bench, BALLAST);
    run(&bench, &teller).await;
    ahead(&bench).await;
    teller.manifest.capabilities.secrets = vec!["PASSWORD".to_owned()];
    let (granted, told) = run(&bench, &teller).await;
    assert_eq!((granted.warm, &told["facts"]["secret"]), (false, &json!(REVERSED)));
    ahead(&bench).await;
    teller.manifest.limits.open_files = 100;
    let (limited, told) = run(&bench, &teller).await;
    assert_eq!((limited.warm, &told["facts"]["limits"][7]), (false, &json!([100, 100])));
    ahead(&bench).await;
    // what is imported could read it
    teller.config = json!({"env": {"BALLAST": "heavy"}});
    let (told_late, told) = run(&bench, &teller).await;
    assert_eq!((told_late.warm, &told["facts"]["environment"]["BALLAST"]), (false, &json!("heavy")));
}

#[tokio::test]
async fn one_that_was_killed_while_it_waited_is_missed_by_nobody() {
    let bench = Bench::new();
    let teller = teller(&bench, BALLAST);
    run(&bench, &teller).await;
    let pid = ahead(&bench).await;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let (next, told) = run(&bench, &teller).await;
    assert_eq!((next.warm, &told["ahead"], next.exit_code), (false, &json!(false), Some(0)));
}

/// What a library prints while it is imported is printed in the execution, as if nothing had been started ahead.
#[tokio::test]
async fn one_that_prints_before_its_execution_is_not_used() {
    let bench = Bench::new();
    let teller = teller(&bench, &format!("{BALLAST}print('hello')\n"));
    for round in 0..3 {
        let (report, told) = run(&bench, &teller).await;
        assert_eq!((report.warm, &told["ahead"]), (false, &json!(false)), "round {round}");
        assert_eq!(bench.logs.texts().iter().filter(|text| *text == "hello").count(), round + 1);
        if round == 0 {
            ahead(&bench).await;
        }
    }
    assert_eq!(bench.host.waiting_interpreters(), 0, "it is not tried again");
}
