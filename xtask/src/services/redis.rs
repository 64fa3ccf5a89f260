//! A private Redis: it carries hints, never truth, so it keeps nothing on disk; loopback with a random password only.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::account::Account;
use crate::private_server::{Plan, PrivateServer};
use crate::scratch::random_hex;

const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// How long one question may wait for its answer.
const ANSWER_DEADLINE: Duration = Duration::from_millis(500);

/// Starts a server that works under `folder` and gives its URL.
pub fn start(program: &Path, account: Account, folder: &Path) -> Result<(PrivateServer, String)> {
    let home = folder.join("redis");
    fs::create_dir(&home)?;
    account.own(&home, PRIVATE_FOLDER)?;
    let password = random_hex()?;
    // In a file: a process's arguments can be read by every user.
    let settings = home.join("redis.conf");
    fs::write(&settings, format!("requirepass {password}\nbind 127.0.0.1\nsave \"\"\nappendonly no\n"))?;
    account.own(&settings, PRIVATE_FILE)?;
    let server = PrivateServer::start(&Plan {
        name: "Redis",
        account,
        log: folder.join("redis.log"),
        stop_signal: Signal::SIGTERM,
        command: &|port| {
            let mut command = Command::new(program);
            command.arg(&settings).args(["--port", &port.to_string(), "--dir"]).arg(&home);
            command
        },
        ready: &|_, port| answers(port, &password).unwrap_or(false),
    })?;
    let url = format!("redis://:{password}@127.0.0.1:{}", server.port());
    Ok((server, url))
}

/// Whether a Redis with our password (so: our own) answers on this port.
fn answers(port: u16, password: &str) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_read_timeout(Some(ANSWER_DEADLINE))?;
    connection.write_all(format!("AUTH {password}\r\n").as_bytes())?;
    let mut answer = [0_u8; 5];
    connection.read_exact(&mut answer)?;
    Ok(&answer == b"+OK\r\n")
}
