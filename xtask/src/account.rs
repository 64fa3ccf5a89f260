//! The account that the private servers run under: PostgreSQL refuses to run as root.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::unistd::{Gid, Uid, User};

/// The account that Debian's package makes; made here where PostgreSQL came another way.
const SYSTEM_ACCOUNT: &str = "postgres";

/// Who the servers run as.
#[derive(Clone, Copy, Debug)]
pub enum Account {
    /// The user who started us.
    Caller,
    /// An unprivileged system account, because we are root.
    System {
        /// Its user.
        uid: Uid,
        /// Its group.
        gid: Gid,
    },
}

impl Account {
    /// The caller's own account, or as root the system account `postgres`, made if it is missing.
    pub fn unprivileged() -> Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self::Caller);
        }
        if User::from_name(SYSTEM_ACCOUNT)?.is_none() {
            let made = Command::new("useradd")
                .args(["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_ACCOUNT])
                .status()
                .context("cannot run useradd")?;
            ensure!(made.success(), "useradd could not make the account {SYSTEM_ACCOUNT}: {made}");
        }
        let user = User::from_name(SYSTEM_ACCOUNT)?
            .context("the account postgres is still missing after useradd")?;
        Ok(Self::System { uid: user.uid, gid: user.gid })
    }

    /// Makes `command` run under this account, away from the caller's home and working folder.
    pub fn apply(self, command: &mut Command) {
        command.current_dir("/");
        if let Self::System { uid, gid } = self {
            command.uid(uid.as_raw()).gid(gid.as_raw()).env("HOME", "/").env("USER", SYSTEM_ACCOUNT);
        }
    }

    /// Gives `path` to this account and to nobody else.
    pub fn own(self, path: &Path, mode: u32) -> Result<()> {
        let done = || -> std::io::Result<()> {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            if let Self::System { uid, gid } = self {
                chown(path, Some(uid.as_raw()), Some(gid.as_raw()))?;
            }
            Ok(())
        };
        done().with_context(|| format!("cannot give {} to the servers' account", path.display()))
    }
}
