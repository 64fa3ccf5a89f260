//! Python environments, without the network: a package of the test's own.

use std::path::Path;

use flexcore_actors::domain::outcome::CauseKind;
use flexcore_actors::domain::plugin::{Environment, PluginType, Protocol, PythonEnvironment};
use flexcore_actors::ports::PluginHost;
use flexcore_actors::ports::plugin_host::ProgramSpec;

use crate::plugins::testing::{Bench, program, step};

/// A program that comes from these requirements.
pub(super) fn python(requirements: &[&str], command: &[&str]) -> ProgramSpec {
    let mut spec = program("py", PluginType::Processor, Protocol::Command, command);
    let requirements = requirements.iter().map(|r| (*r).to_owned()).collect();
    let python = PythonEnvironment { requirements, index: "default".to_owned() };
    spec.manifest.environment = Some(Environment { python });
    spec
}

/// A wheel with one script, written by hand: building one would need a build backend from the network.
fn wheel(directory: &Path) -> String {
    let script = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    info = "greeter-1.0.dist-info/"
    wheel.writestr("greeter.py", "def main():\n    print('greetings')\n")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "entry_points.txt", "[console_scripts]\ngreeter = greeter:main\n")
    wheel.writestr(info + "RECORD", "")
"#;
    let path = directory.join("greeter-1.0-py3-none-any.whl");
    let made = std::process::Command::new("python3").args(["-c", script]).arg(&path).status().unwrap();
    assert!(made.success());
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn it_is_built_once_and_used() {
    let bench = Bench::new();
    let wheel = wheel(bench.data.path());
    let greeter = python(&[&wheel], &["greeter"]);
    let (first, second) =
        tokio::join!(bench.host.prepare(&greeter.manifest), bench.host.prepare(&greeter.manifest));
    assert_eq!((first, second), (Ok(()), Ok(())));
    let environments = std::fs::read_dir(bench.data.path().join("environments")).unwrap();
    let built: Vec<_> = environments.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    assert_eq!(built.len(), 1);
    let (end, _) = bench.run(step(vec![greeter])).await;
    assert_eq!(end.cause, None, "{:?}", bench.logs.texts());
    assert_eq!(bench.logs.texts(), ["greetings"], "nothing was built again");
}

#[tokio::test]
async fn what_pip_refuses_is_told() {
    let bench = Bench::new();
    let missing = python(&["/no/such/package-1.0-py3-none-any.whl"], &["x"]);
    let cause = bench.host.prepare(&missing.manifest).await.unwrap_err();
    assert_eq!(cause.kind, CauseKind::StartFailed);
    assert!(
        cause.message.contains("pip install failed") && cause.message.contains("package"),
        "{}",
        cause.message
    );
    let option = python(&["--pre"], &["x"]);
    let cause = bench.host.prepare(&option.manifest).await.unwrap_err();
    assert!(cause.message.contains("option of pip"), "{}", cause.message);
}
