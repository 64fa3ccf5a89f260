//! The daemon's side against the real launcher. What the launcher does to a program is tested in its own crate.

use super::{Ended, LaunchError, Launcher, Program, ProgramLimits, Running, Status};
use flexcore_jailer::protocol::frames::encode;
use flexcore_jailer::protocol::{Report, Stage, StartFailure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, Permissions, TryLockError, read_to_string};
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Left behind by the program: own process group, deaf to `SIGTERM`; its pid is in the file `child`.
const CHILD: &str = "trap '' TERM HUP; sh -c 'echo $$ >child; while :; do sleep 600; done'";

/// Makes this test binary answer to the launcher's name, as the `flexcore` binary does: before any thread exists, and
/// before the test harness would take over.
#[used]
#[unsafe(link_section = ".init_array")]
static ANSWER_TO_THE_LAUNCHERS_NAME: extern "C" fn() = {
    extern "C" fn answer() {
        let name = [flexcore_jailer::PROGRAM_NAME.as_bytes(), b"\0"].concat();
        if std::fs::read("/proc/self/cmdline").is_ok_and(|line| line == name) {
            let code = flexcore_jailer::main();
            std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
        }
    }
    answer
};

struct Test {
    launcher: Launcher,
    workdir: TempDir,
}

impl Test {
    fn new() -> Self {
        let launcher = Launcher::new(std::env::current_exe().unwrap());
        Self { launcher, workdir: tempfile::tempdir().unwrap() }
    }

    fn program(&self, argv: &[&str]) -> (Program, PipeReader) {
        let (output, stdout) = pipe().unwrap();
        let program = Program {
            argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            workdir: self.workdir.path().to_owned(),
            stdin: None,
            stdout: stdout.into(),
            stderr: File::options().write(true).open("/dev/null").unwrap().into(),
            limits: ProgramLimits {
                memory_bytes: 256 << 20,
                cpu_time: Some(Duration::from_millis(59_001)),
                open_files: 64,
                file_size: None,
                processes: 64,
                scratch_bytes: 1 << 20,
                millicpus: 1_000,
            },
            jail: None,
        };
        (program, output)
    }

    async fn start(&self, script: &str) -> (Running, PipeReader) {
        let (program, output) = self.program(&["/bin/sh", "-c", script]);
        (self.launcher.start(program).await.unwrap(), output)
    }

    async fn pid_in(&self, file: &str) -> Pid {
        let path = self.workdir.path().join(file);
        let read = || read_to_string(&path).ok()?.strip_suffix('\n')?.parse().ok().map(Pid::from_raw);
        until("a pid in a file", || read().is_some()).await;
        read().unwrap()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

async fn ended(running: &mut Running) -> Ended {
    timeout(PATIENCE, running.wait()).await.unwrap()
}

fn alive(pid: Pid) -> bool {
    read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

/// The launcher of a running program, which is its parent.
fn launcher_of(running: &Running) -> Pid {
    let stat = read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
    let parent = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap();
    Pid::from_raw(parent.parse().unwrap())
}

#[tokio::test]
async fn a_program_runs_to_its_end() {
    let test = Test::new();
    let (mut running, mut output) = test.start("echo $$; ulimit -t; ulimit -n; exit 7").await;
    let end = ended(&mut running).await;
    assert_eq!((end.status, end.survivors.as_slice()), (Status::Exit(7), [].as_slice()));
    assert!(end.usage.peak_memory_bytes > 0 && end.usage.wall_ms < 30_000, "{end:?}");
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("{}\n60\n64\n", running.pid()));
    let again = ended(&mut running).await;
    assert_eq!((again.status, again.usage), (end.status, end.usage), "the end can be asked for again");
    running.kill();
    running.stop(Duration::ZERO);
}

#[tokio::test]
async fn a_launcher_waits_ahead_and_its_loss_is_no_failure() {
    let mut test = Test::new();
    test.launcher = test.launcher.with_spare();
    for killed in [false, true, false] {
        until("a launcher that waits", || test.launcher.ahead().is_some()).await;
        let ahead = test.launcher.ahead().unwrap();
        if killed {
            kill(ahead, Signal::SIGKILL).unwrap();
            until("its end", || !alive(ahead)).await;
        }
        let (mut running, _output) = test.start("exec sleep 600").await;
        assert_eq!(launcher_of(&running) == ahead, !killed);
        running.kill();
        ended(&mut running).await;
    }
    until("a launcher that waits", || test.launcher.ahead().is_some()).await;
    let ahead = test.launcher.ahead().unwrap();
    drop(test);
    until("its end with the daemon's handle", || !alive(ahead)).await;
}

#[tokio::test]
async fn an_order_larger_than_the_sockets_buffer_arrives() {
    let test = Test::new();
    let (mut program, mut output) = test.program(&["/bin/sh", "-c", "echo ${#A} ${#Z}"]);
    // One string may hold at most 128 KiB, all together a quarter of the stack's limit.
    program
        .env
        .extend((b'A'..=b'J').chain([b'Z']).map(|name| (char::from(name).to_string(), "x".repeat(100_000))));
    let mut running = test.launcher.start(program).await.unwrap();
    assert_eq!(ended(&mut running).await.status, Status::Exit(0));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "100000 100000\n");
}

#[tokio::test]
async fn waiting_may_be_given_up_and_taken_up_again() {
    let test = Test::new();
    let (mut running, _output) = test.start("until [ -e go ]; do sleep 0.01; done; exit 3").await;
    for _ in 0..3 {
        assert!(timeout(Duration::from_millis(5), running.wait()).await.is_err());
    }
    std::fs::write(test.workdir.path().join("go"), "").unwrap();
    let deadline = Instant::now() + PATIENCE;
    let end = loop {
        assert!(Instant::now() < deadline);
        // Given up within the wait for the launcher's own end too, sooner or later.
        if let Ok(end) = timeout(Duration::from_micros(50), running.wait()).await {
            break end;
        }
    };
    assert_eq!(end.status, Status::Exit(3));
}

#[tokio::test]
async fn a_control_stops_what_another_task_waits_for() {
    let test = Test::new();
    let (mut running, _output) = test.start(CHILD).await;
    let child = test.pid_in("child").await;
    let control = running.control();
    let waiting = tokio::spawn(async move { ended(&mut running).await });
    control.stop(Duration::from_millis(100));
    let end = waiting.await.unwrap();
    assert_eq!((end.status, end.survivors), (Status::Signal(libc::SIGKILL), vec![]));
    assert!(!alive(child));
}

#[tokio::test]
async fn dropping_a_running_program_ends_its_tree_even_if_a_control_lives() {
    let test = Test::new();
    let (running, _output) = test.start(CHILD).await;
    let (child, launcher) = (test.pid_in("child").await, launcher_of(&running));
    let control = running.control();
    drop(running);
    until("the end of the tree", || !alive(child)).await;
    until("the end of the launcher", || !alive(launcher)).await;
    control.kill();
}

#[tokio::test]
async fn a_killed_launcher_is_told_and_its_session_swept() {
    let test = Test::new();
    let (mut running, _output) = test.start(CHILD).await;
    let child = test.pid_in("child").await;
    kill(launcher_of(&running), Signal::SIGKILL).unwrap();
    let end = ended(&mut running).await;
    assert_eq!((end.status, end.survivors.as_slice()), (Status::Lost, [].as_slice()));
    assert!(!alive(child));
}

#[tokio::test]
async fn a_launcher_that_does_not_obey_is_killed_with_its_program() {
    let test = Test::new();
    let launcher = test.launcher.clone().with_overdue(Duration::from_millis(100));
    let (program, _output) = test.program(&["/bin/sh", "-c", CHILD]);
    let mut running = launcher.start(program).await.unwrap();
    let child = test.pid_in("child").await;
    kill(launcher_of(&running), Signal::SIGSTOP).unwrap();
    running.kill();
    let end = ended(&mut running).await;
    assert_eq!((end.status, end.survivors.as_slice()), (Status::Lost, [].as_slice()));
    assert!(!alive(child));
}

#[tokio::test]
async fn a_launcher_holds_the_presence_as_long_as_its_program_lives_and_the_program_never_does() {
    let Test { launcher, workdir } = Test::new();
    let path = workdir.path().join("presence");
    let presence = File::create(&path).unwrap();
    presence.lock().unwrap();
    let test = Test { launcher: launcher.with_presence(presence), workdir };
    let (mut running, output) = test.start("echo $(ls -l /proc/self/fd); exec sleep 600").await;
    let Test { launcher, workdir: _workdir } = test;
    drop(launcher); // nothing of this process holds it now, as if the daemon had gone
    let mut open = String::new();
    BufReader::new(output).read_line(&mut open).unwrap();
    assert!(open.contains("pipe:") && !open.contains("presence"), "{open}");
    let other = File::open(&path).unwrap();
    assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    running.kill();
    ended(&mut running).await;
    until("the launcher is gone", || other.try_lock().is_ok()).await;
}

#[tokio::test]
async fn too_much_memory_is_told_with_limit_and_peak() {
    let test = Test::new();
    let (mut program, _output) = test.program(&["/bin/sh", "-c", "head -c 300M /dev/zero | tail"]);
    program.limits.memory_bytes = 64 << 20;
    let mut running = test.launcher.start(program).await.unwrap();
    match ended(&mut running).await.status {
        Status::Oom { limit, peak } => assert!(limit == 64 << 20 && peak > limit),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn failed_starts_name_what_failed() {
    let test = Test::new();
    let (program, mut output) = test.program(&["/no/such/tap"]);
    let error = test.launcher.start(program).await.unwrap_err();
    assert!(matches!(&error, LaunchError::Refused(failure) if failure.stage == Stage::Exec));
    assert!(error.to_string().contains("/no/such/tap was not found") && !error.is_transient(), "{error}");
    assert_eq!(output.read(&mut [0]).unwrap(), 0, "our copy of the pipe is closed");

    let (program, _output) = test.program(&["tap"]);
    assert!(matches!(test.launcher.start(program).await, Err(LaunchError::Invalid(_))));

    let launcher = |path: &str| Launcher::new(PathBuf::from(path));
    let (program, _output) = test.program(&["/bin/true"]);
    let error = launcher("/no/such/flexcore-jailer").start(program).await.unwrap_err();
    let named = Path::new("/no/such/flexcore-jailer");
    assert!(matches!(&error, LaunchError::Launcher { path, .. } if path == named), "{error}");
    assert!(!error.is_transient() && error.to_string().contains("/no/such/flexcore-jailer"));

    let (program, _output) = test.program(&["/bin/true"]);
    let error = launcher("/bin/true").start(program).await.unwrap_err();
    assert!(matches!(error, LaunchError::Lost) && error.is_transient());
}

#[tokio::test]
async fn a_launcher_of_another_build_is_named_with_the_cure() {
    let (test, folder) = (Test::new(), tempfile::tempdir().unwrap());
    let (stale, answer) = (folder.path().join("flexcore-jailer"), folder.path().join("answer"));
    let message = "this launcher is of build 0.0.9+0123abcd, and was asked by build x".to_owned();
    let failure = StartFailure { stage: Stage::Policy, errno: 0, message };
    std::fs::write(&answer, encode(&Report::StartFailed(failure)).unwrap()).unwrap();
    std::fs::write(&stale, format!("#!/bin/sh\ncat {} >&0\n", answer.display())).unwrap();
    std::fs::set_permissions(&stale, Permissions::from_mode(0o755)).unwrap();
    let (program, _output) = test.program(&["/bin/true"]);
    let error = Launcher::new(stale.clone()).start(program).await.unwrap_err();
    assert!(!error.is_transient());
    let told = error.to_string();
    for part in [stale.to_str().unwrap(), "0.0.9+0123abcd", flexcore_jailer::BUILD, "remove that file"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

/// What the kernel says a process does: `T` is stopped.
fn state(pid: u32) -> Option<char> {
    read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test]
async fn a_program_stands_still_when_nobody_renews_its_lease_and_goes_on_when_somebody_does() {
    let soon = || flexcore_jailer::since_boot() + Duration::from_millis(200);
    let (renew, lease) = watch::channel(soon());
    let mut test = Test::new();
    test.launcher = test.launcher.with_lease(lease);
    let (mut running, _output) = test.start("while :; do :; done").await;
    until("the first lease's end", || state(running.pid()) == Some('T')).await;
    renew.send_replace(flexcore_jailer::since_boot() + Duration::from_secs(600));
    until("the program to go on", || state(running.pid()).is_some_and(|state| state != 'T')).await;
    renew.send_replace(soon());
    until("the second lease's end", || state(running.pid()) == Some('T')).await;
    running.stop(Duration::from_secs(600));
    assert_eq!(ended(&mut running).await.status, Status::Signal(libc::SIGKILL));
}
