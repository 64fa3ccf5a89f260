//! What every program answers on its command line.

use serde_json::{Value, json};

use crate::support::{json_file, run, sample, tap, target, text};

#[test]
fn every_program_describes_itself() {
    for (name, program) in [
        ("flexcore-tap-file", tap as fn() -> _),
        ("flexcore-target-file", target),
        ("flexcore-sample", sample),
    ] {
        let about = run(program().args(["--about", "--format=json"]), b"");
        let about: Value = serde_json::from_slice(&about.stdout).unwrap();
        assert_eq!(about["name"], name);
        assert!(about["settings"]["properties"].is_object());
        assert!(text(&run(program().arg("--about"), b"").stdout).contains("settings:"));
        assert!(text(&run(program().arg("--version"), b"").stdout).starts_with(name));
        assert!(text(&run(program().arg("--help"), b"").stdout).contains("Example"));
        assert_eq!(run(program().arg("--unknown"), b"").status.code(), Some(2));
        let missing = run(program().args(["--config", "/nowhere/config.json"]), b"");
        assert_eq!(missing.status.code(), Some(1));
        assert!(text(&missing.stderr).contains("cannot open /nowhere/config.json"));
    }
}

#[test]
fn a_configuration_is_asked_for_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = json_file(directory.path(), "wrong.json", &json!({"file": []}));
    for program in [tap, target] {
        let none = run(&mut program(), b"");
        assert_eq!(none.status.code(), Some(1));
        assert!(text(&none.stderr).contains("give --config FILE"));
        let unknown = run(program().arg("--config").arg(&wrong), b"");
        assert!(text(&unknown.stderr).contains("unknown field `file`"), "{}", text(&unknown.stderr));
    }
}

#[test]
fn a_discovered_catalog_can_be_given_back() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.csv"), "id,x\n1,2\n").unwrap();
    let config = json!({"files": [{"path": directory.path().join("a.csv")}]});
    let config = json_file(directory.path(), "config.json", &config);
    let discovered = run(tap().arg("--discover").arg("--config").arg(&config), b"");
    let catalog = serde_json::from_slice(&discovered.stdout).unwrap();
    let catalog = json_file(directory.path(), "catalog.json", &catalog);
    let with = run(tap().arg("--config").arg(&config).arg("--catalog").arg(catalog), b"");
    let without = run(tap().arg("--config").arg(&config), b"");
    assert_eq!(text(&with.stdout), text(&without.stdout));
}
