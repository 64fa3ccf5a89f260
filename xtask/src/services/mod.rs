//! The private PostgreSQL and Redis of one command: started before it, its addresses in the environment, ended after it.
//!
//! Each server's particulars are in its own file; how any server is started and ended is in `private_server`.

mod postgres;
mod redis;

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};

use crate::account::Account;
use crate::private_server::PrivateServer;
use crate::scratch::Scratch;
use crate::{foreground, packages};

/// The variable with the PostgreSQL superuser's URL.
const POSTGRES_VARIABLE: &str = "FLEXCORE_TEST_POSTGRES_URL";
/// The variable with the Redis URL.
const REDIS_VARIABLE: &str = "FLEXCORE_TEST_REDIS_URL";

/// Both servers, ended and their folder removed when dropped.
pub struct Services {
    postgres_url: String,
    redis_url: String,
    // Dropped in this order: servers first, then the folder under them.
    _postgres: PrivateServer,
    _redis: PrivateServer,
    _scratch: Scratch,
}

impl Services {
    /// Starts both, installing their programs first if need be.
    pub fn start() -> Result<Self> {
        let programs = packages::servers()?;
        let account = Account::unprivileged()?;
        let scratch = Scratch::new()?;
        let (postgres, postgres_url) = postgres::start(&programs.postgres, account, scratch.path())?;
        let (redis, redis_url) = redis::start(&programs.redis, account, scratch.path())?;
        Ok(Self { postgres_url, redis_url, _postgres: postgres, _redis: redis, _scratch: scratch })
    }

    /// Hands the servers' addresses to a command.
    pub fn announce<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env(POSTGRES_VARIABLE, &self.postgres_url).env(REDIS_VARIABLE, &self.redis_url)
    }
}

/// Runs any command with both servers beside it; its exit code is ours.
pub fn around(command: &[OsString]) -> Result<u8> {
    foreground::catch_interruptions()?;
    let (program, arguments) = command.split_first().context("no command given")?;
    let services = Services::start()?;
    foreground::run(services.announce(Command::new(program).args(arguments)))
}
