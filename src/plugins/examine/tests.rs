//! Real files and programs: what is refused, in which words, and that nothing is left of a trial.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use flexcore_actors::domain::plugin::PluginType;
use flexcore_actors::domain::quantity::Bytes;
use flexcore_actors::ports::plugin_host::PluginHost;

use super::*;
use crate::plugins::testing::{Bench, program, sample_plugin, sample_tap};

fn command(argv: &[&str]) -> Manifest {
    program("work", PluginType::Processor, Protocol::Command, argv).manifest
}

/// What is wrong with a manifest, as `field: message`.
async fn wrong(bench: &Bench, manifest: &Manifest) -> Vec<String> {
    let found = bench.host.examine(manifest).await;
    found.problems.0.into_iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
}

/// A file with these contents and permissions, in a directory of its own.
fn file(dir: &Path, name: &str, text: impl AsRef<[u8]>, mode: u32) -> String {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn paths_have_to_be_there_and_are_followed() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    symlink(&real, real.join("link")).unwrap();
    fs::create_dir(real.join("in")).unwrap();
    let (plain, linked, absent) = (real.join("in"), real.join("link/in"), real.join("absent"));
    let (data, above) = (bench.data.path().canonicalize().unwrap(), bench.data.path().parent().unwrap());
    let mut manifest = command(&["true"]);
    let paths = [&plain, &linked, &absent, &data.join("logs"), &data, &above.to_owned()];
    manifest.capabilities.read = paths.iter().map(|path| path.display().to_string()).collect();
    manifest.capabilities.write = vec!["${workdir}/out".to_owned()];
    fs::create_dir_all(data.join("logs")).unwrap();
    let found = bench.host.examine(&manifest).await;
    assert_eq!(
        found.elsewhere.into_iter().collect::<Vec<_>>(),
        [(linked.display().to_string(), plain.display().to_string())]
    );
    let messages: Vec<String> =
        found.problems.0.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
    let expected = [
        format!(
            "capabilities.read[2]: {} does not exist on this node: make it first, or correct it",
            absent.display()
        ),
        format!("capabilities.read[3]: {} belongs to FlexCore's own data", data.join("logs").display()),
        format!("capabilities.read[4]: {} belongs to FlexCore's own data", data.display()),
        format!("capabilities.read[5]: {} holds FlexCore's own data", above.display()),
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, expected) in messages.iter().zip(&expected) {
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test]
async fn limits_above_the_nodes_are_refused() {
    let bench = Bench::new();
    let mut manifest = command(&["true"]);
    manifest.limits.memory = Bytes(1 << 44);
    let found = wrong(&bench, &manifest).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("limits.memory: 16384GiB is more than this node has: at most "),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_program_has_to_be_one() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("folder")).unwrap();
    let no_interpreter = file(dir, "a", "#!/nowhere/python\n", 0o755);
    for (program, expected) in [
        ("no-such-program".to_owned(), "no-such-program was not found in"),
        ("/nowhere/program".to_owned(), "/nowhere/program does not exist"),
        (dir.join("folder").display().to_string(), "is not a file"),
        (file(dir, "b", "#!/bin/sh\n", 0o644), "is not executable: chmod +x it"),
        (file(dir, "c", "echo 1\n", 0o755), "neither a program nor a script that begins with #!"),
        (no_interpreter.clone(), "needs the interpreter /nowhere/python, which does not exist"),
        (
            file(dir, "d", "#!/usr/bin/env no-such-python\n", 0o755),
            "needs the interpreter no-such-python, which is not in its PATH",
        ),
        (file(dir, "e", "#!/bin/sh\r\n", 0o755), "ends with a carriage return"),
        (file(dir, "f", "#! \n", 0o755), "names no interpreter"),
        (file(dir, "g", format!("#!{no_interpreter}\n"), 0o755), "needs the interpreter /nowhere/python"),
    ] {
        let mut manifest = command(&[&program]);
        // what lies beside a program is not shown with it
        manifest.capabilities.read = vec![dir.display().to_string()];
        let found = wrong(&bench, &manifest).await;
        assert_eq!(found.len(), 1, "{program}: {found:?}");
        assert!(found[0].starts_with("command: ") && found[0].contains(expected), "{expected}: {found:?}");
    }
    for argv in
        [&["true"][..], &["/bin/sh", "-c", "exit 1"], &[&file(dir, "h", "#!/usr/bin/env sh\n", 0o755)]]
    {
        assert_eq!(wrong(&bench, &command(argv)).await, [""; 0], "{argv:?}");
    }
}

#[tokio::test]
async fn an_interpreter_elsewhere_needs_a_grant() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let interpreter = dir.path().join("elsewhere/sh");
    fs::create_dir(interpreter.parent().unwrap()).unwrap();
    fs::copy("/bin/sh", &interpreter).unwrap();
    let script = file(dir.path(), "bin/script", format!("#!{}\n", interpreter.display()), 0o755);
    let mut manifest = command(&[&script]);
    let expected = format!(
        "command: {script} needs the interpreter {0}, which a sandbox does not show: add {0} to capabilities.read",
        interpreter.display()
    );
    assert_eq!(wrong(&bench, &manifest).await, [expected]);
    manifest.capabilities.read = vec![interpreter.display().to_string()];
    assert_eq!(wrong(&bench, &manifest).await, [""; 0]);
    // a link beside the program that leads there does not help
    let linked =
        file(dir.path(), "bin/linked", format!("#!{}\n", dir.path().join("bin/sh").display()), 0o755);
    symlink(&interpreter, dir.path().join("bin/sh")).unwrap();
    let mut manifest = command(&[&linked]);
    manifest.capabilities.read = vec![dir.path().join("bin").display().to_string()];
    let found = wrong(&bench, &manifest).await;
    assert!(found[0].ends_with(&format!("add {} to capabilities.read", interpreter.display())), "{found:?}");
}

#[tokio::test]
async fn a_library_elsewhere_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with("LD_LIBRARY_PATH", dir.path().join("lib").to_str().unwrap());
    // a program whose libc has another name, which stands in a directory that is not shown
    let mut bytes = fs::read("/bin/sh").unwrap();
    let at = bytes.windows(8).position(|window| window == b"libc.so.").unwrap();
    bytes[at..at + 8].copy_from_slice(b"libq.so.");
    let program = file(dir.path(), "bin/program", &bytes, 0o755);
    let found = wrong(&bench, &command(&[&program])).await;
    assert!(found[0].contains("needs the library libq.so.6, which was not found: install it"), "{found:?}");
    let library = file(dir.path(), "lib/libq.so.6", fs::read("/bin/sh").unwrap(), 0o644);
    let mut manifest = command(&[&program]);
    manifest.capabilities.env = vec!["LD_LIBRARY_PATH".to_owned()];
    let found = wrong(&bench, &manifest).await;
    let expected = format!("which a sandbox does not show: add {library} to capabilities.read");
    assert!(found[0].contains(&expected), "{found:?}");
    manifest.capabilities.read = vec![dir.path().join("lib").display().to_string()];
    assert_eq!(wrong(&bench, &manifest).await, [""; 0]);
}

#[tokio::test]
async fn programs_that_are_asked_are_started_and_nothing_of_them_is_left() {
    let bench = Bench::new();
    for manifest in
        [sample_tap(serde_json::json!({})).manifest, sample_plugin(serde_json::json!({})).manifest]
    {
        assert_eq!(bench.host.examine(&manifest).await, Examination::default());
    }
    // one that would never end is not waited for
    let endless = program("tap", PluginType::Extractor, Protocol::Singer, &["sleep", "1000000"]).manifest;
    assert_eq!(wrong(&bench, &endless).await, [""; 0]);
    // one that the kernel refuses
    let dir = tempfile::tempdir().unwrap();
    let broken = file(dir.path(), "broken", [b"\x7fELF\x02\x01".as_slice(), &[0; 100]].concat(), 0o755);
    let tap = program("tap", PluginType::Extractor, Protocol::Singer, &[&broken]).manifest;
    let found = wrong(&bench, &tap).await;
    assert!(
        found.len() == 1 && found[0].starts_with("command: ") && found[0].contains("broken"),
        "{found:?}"
    );
    let left = fs::read_dir(bench.data.path().join("scratch")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_environment_that_is_not_built_yet_proves_nothing() {
    let bench = Bench::new();
    let mut manifest = command(&["no-such-program"]);
    manifest.environment = Some(flexcore_actors::domain::plugin::Environment {
        python: flexcore_actors::domain::plugin::PythonEnvironment {
            requirements: vec!["no-such-package==1".to_owned()],
            index: "default".to_owned(),
        },
    });
    assert_eq!(wrong(&bench, &manifest).await, [""; 0]);
}
