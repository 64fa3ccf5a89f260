//! A PostgreSQL server of one test's own, to be killed: the one of the test command is shared with all other tests.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flexcore_test_support::wait_for;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use tempfile::TempDir;

/// Where Debian and Ubuntu keep the server's programs, a directory for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The account that a server runs under where tests run as root, which PostgreSQL refuses.
const ACCOUNT: &str = "postgres";
/// How long a start may take, recovery included.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// The line of `postmaster.pid` that says whether connections are accepted.
const STATE_LINE: usize = 7;

/// A running server, killed when dropped.
pub(crate) struct Server {
    child: Child,
    programs: PathBuf,
    folder: TempDir,
    settings: &'static [&'static str],
    port: u16,
    password: String,
}

impl Server {
    /// Makes a cluster and starts its server.
    pub(crate) async fn start() -> Self {
        Self::start_below(&std::env::temp_dir(), &[]).await
    }

    /// The same below another folder, with settings of its own and as little space taken ahead as possible.
    pub(crate) async fn start_below(folder: &Path, settings: &'static [&'static str]) -> Self {
        let programs = programs();
        let folder = TempDir::with_prefix_in("flexcore-postgres-", folder).expect("a folder can be made");
        let password = uuid::Uuid::now_v7().simple().to_string();
        let password_file = folder.path().join("password");
        fs::write(&password_file, &password).expect("a file can be written");
        give(folder.path(), 0o700);
        give(&password_file, 0o600);
        let mut initdb = Command::new(programs.join("initdb"));
        initdb.arg("--pgdata").arg(folder.path().join("data")).arg("--pwfile").arg(&password_file);
        initdb.args(["--username", "postgres", "--auth=password", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--wal-segsize=1", "--no-sync"]);
        let made = lowered(&mut initdb).output().expect("initdb can be run");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let child = spawn(&programs, folder.path(), port, settings);
        let mut server = Self { child, programs, folder, settings, port, password };
        server.become_ready().await;
        server
    }

    /// The URL of its first database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// Kills the server as a crash would: what it had not made durable is gone.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("the server can be killed");
    }

    /// Starts it again, if it has ended, on the same port; it recovers from its log.
    pub(crate) async fn restart(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            self.child = spawn(&self.programs, self.folder.path(), self.port, self.settings);
        }
        self.become_ready().await;
    }

    /// A start fails while processes of the killed server are still ending: it is tried again.
    async fn become_ready(&mut self) {
        let file = self.folder.path().join("data/postmaster.pid");
        wait_for("PostgreSQL accepts connections", START_DEADLINE, async || {
            if let Ok(Some(_)) = self.child.try_wait() {
                self.child = spawn(&self.programs, self.folder.path(), self.port, self.settings);
            }
            let text = fs::read_to_string(&file).map_err(|e| e.to_string())?;
            let ours = text.lines().next().is_some_and(|pid| pid.trim() == self.child.id().to_string());
            let ready = text.lines().nth(STATE_LINE).is_some_and(|state| state.trim() == "ready");
            if ours && ready { Ok(()) } else { Err(text + &log(self.folder.path())) }
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("warning: cannot end PostgreSQL: {error}");
        }
    }
}

fn spawn(programs: &Path, folder: &Path, port: u16, settings: &[&str]) -> Child {
    let log = File::create(folder.join("log")).expect("a log file can be made");
    let mut command = Command::new(programs.join("postgres"));
    command.arg("-D").arg(folder.join("data"));
    let own = [&format!("port={port}"), "listen_addresses=127.0.0.1", "unix_socket_directories="];
    for setting in own.iter().copied().chain(settings.iter().copied()) {
        command.arg("-c").arg(setting);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // SAFETY: the closure runs between fork and exec and makes one system call; it neither allocates nor locks.
    unsafe {
        // a test that is itself killed leaves no server behind
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGQUIT).map_err(std::io::Error::from));
    }
    lowered(&mut command).spawn().expect("postgres can be started")
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// The directory of the newest installed version; the test command installs one.
fn programs() -> PathBuf {
    let versions =
        fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> =
        std::env::split_paths(&on_path).chain(versions).filter(|bin| bin.join("initdb").is_file()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("no initdb below {VERSIONS} or on PATH; run: cargo xtask test"))
}

/// Runs a command under an account that PostgreSQL accepts.
fn lowered(command: &mut Command) -> &mut Command {
    command.current_dir("/");
    if let Some(account) = account() {
        command.uid(account.uid.as_raw()).gid(account.gid.as_raw()).env("HOME", "/");
    }
    command
}

fn give(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own files can be changed");
    if let Some(account) = account() {
        chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
            .expect("root can give files away");
    }
}

fn account() -> Option<User> {
    Uid::effective().is_root().then(|| {
        let user = User::from_name(ACCOUNT).expect("accounts can be looked up");
        user.unwrap_or_else(|| panic!("no account {ACCOUNT}; run: cargo xtask test"))
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    listener.local_addr().expect("a listener has an address").port()
}
