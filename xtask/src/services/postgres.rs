//! A private PostgreSQL: durable as in production (fsync stays on), reachable on loopback with a random password only.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::account::Account;
use crate::private_server::{Plan, PrivateServer};
use crate::scratch::random_hex;

/// The superuser that the tests make their databases with.
const SUPERUSER: &str = "postgres";
/// Several nodes, each with its pools, run against it at once.
const MAX_CONNECTIONS: u32 = 200;
/// Only the servers' account may enter, as PostgreSQL demands of its data folder.
const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// The line of `postmaster.pid` with the server's state, and its text when connections are accepted.
const STATE_LINE: usize = 7;
const READY_STATE: &str = "ready";

/// Makes a cluster under `folder`, starts it and gives its superuser's URL.
pub fn start(programs: &Path, account: Account, folder: &Path) -> Result<(PrivateServer, String)> {
    let home = folder.join("postgres");
    fs::create_dir(&home)?;
    account.own(&home, PRIVATE_FOLDER)?;
    let data = home.join("data");
    let password = random_hex()?;
    initialise(programs, account, &home, &data, &password)?;
    let server = PrivateServer::start(&Plan {
        name: "PostgreSQL",
        account,
        log: folder.join("postgres.log"),
        stop_signal: Signal::SIGQUIT, // the immediate shutdown: the data is thrown away anyway
        command: &|port| {
            let mut command = Command::new(programs.join("postgres"));
            command.arg("-D").arg(&data);
            for setting in [
                format!("port={port}"),
                format!("max_connections={MAX_CONNECTIONS}"),
                "listen_addresses=127.0.0.1".to_owned(),
                "unix_socket_directories=".to_owned(), // no socket that another user could reach
            ] {
                command.arg("-c").arg(setting);
            }
            command
        },
        ready: &|pid, _| {
            fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|file| accepts_connections(&file, pid))
        },
    })?;
    let url = format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{}/postgres", server.port());
    Ok((server, url))
}

fn initialise(programs: &Path, account: Account, home: &Path, data: &Path, password: &str) -> Result<()> {
    let password_file = home.join("password");
    fs::write(&password_file, password)?;
    account.own(&password_file, PRIVATE_FILE)?;
    let mut command = Command::new(programs.join("initdb"));
    command.arg("--pgdata").arg(data).arg("--pwfile").arg(&password_file);
    // Not SCRAM: 4,096 rounds of an unoptimised SHA-256 cost a test about a second for every connection.
    command.args(["--username", SUPERUSER, "--auth=password", "--encoding=UTF8", "--locale=C"]);
    account.apply(&mut command);
    let output = command.output().context("cannot run initdb")?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    fs::remove_file(&password_file)?;
    Ok(())
}

/// Whether `postmaster.pid` says that the server of this process id is ready, which is what `pg_ctl` looks at too.
fn accepts_connections(file: &str, pid: u32) -> bool {
    let ours = file.lines().next().and_then(|line| line.trim().parse().ok()) == Some(pid);
    ours && file.lines().nth(STATE_LINE).is_some_and(|state| state.trim() == READY_STATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "4711\n/tmp/x/data\n1700000000\n40123\n\n127.0.0.1\n  5432001    196610\n";

    #[test]
    fn a_server_is_ready_only_once_it_says_so_itself() {
        assert!(accepts_connections(&format!("{FILE}ready   \n"), 4711));
        assert!(!accepts_connections(&format!("{FILE}starting\n"), 4711));
        assert!(!accepts_connections(FILE, 4711), "the state line comes last");
        assert!(!accepts_connections(&format!("{FILE}ready   \n"), 4712), "another server's file");
        assert!(!accepts_connections("", 4711));
    }
}
