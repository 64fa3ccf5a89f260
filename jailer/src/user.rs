//! Whom a program runs as on the host: an ordinary launcher's own user, or a user of its own that the superuser leases
//! for it. Inside its namespace it is always [`INSIDE`].

use crate::failure::{At, Failure};
use crate::limits::{USER_TRIES, USERS};
use crate::protocol::Stage;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getegid, geteuid, getpid};
use rustix::thread::{CapabilitySet, capabilities};
use std::fs::{DirBuilder, read_to_string, write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;

/// User and group of every program in its own view.
pub(crate) const INSIDE: u32 = 1000;

/// Where the superuser's launchers agree on users: one byte of this file is locked for each user in use.
const LEASES_DIRECTORY: &str = "/run/flexcore";
const LEASES: &str = "/run/flexcore/users";

/// A user and a group of the host.
#[derive(Debug)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
    /// Held by the launcher and the program's init together, so that a user is free when its last process is gone.
    _lease: Option<OwnedFd>,
}

impl User {
    /// The launcher's own user, or a leased one for the superuser: a program must not be user 0 of the host even in a
    /// namespace, where limits on the number of processes would not bind it.
    pub(crate) fn choose() -> Result<Self, Failure> {
        if !may_lease() {
            return Ok(Self { uid: geteuid().as_raw(), gid: getegid().as_raw(), _lease: None });
        }
        match DirBuilder::new().mode(0o700).create(LEASES_DIRECTORY) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).at(Stage::User, LEASES_DIRECTORY);
            }
            _ => {}
        }
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let leases = open(LEASES, flags, Mode::S_IRUSR | Mode::S_IWUSR).at(Stage::User, LEASES)?;
        let first = getpid().as_raw().unsigned_abs();
        for attempt in 0..USER_TRIES {
            let place = first.wrapping_add(attempt) % (USERS.end - USERS.start);
            match lock(&leases, place) {
                Ok(()) => {
                    let id = USERS.start + place;
                    return Ok(Self { uid: id, gid: id, _lease: Some(leases) });
                }
                Err(Errno::EAGAIN | Errno::EACCES) => {}
                Err(error) => return Err(error).at(Stage::User, LEASES),
            }
        }
        Err(Errno::EAGAIN).at(Stage::User, LEASES)
    }

    /// Whether the launcher is the superuser and the program is not.
    pub(crate) fn is_leased(&self) -> bool {
        self._lease.is_some()
    }

    /// Writes the maps of a new user namespace whose only user is this one, as [`INSIDE`].
    pub(crate) fn map(&self, namespace_of: Pid) -> Result<(), Failure> {
        self.write_maps(namespace_of, INSIDE, INSIDE)
    }

    /// Writes the maps of a namespace that is never entered, only named: in a mount that carries it, files of `uid` and `gid`
    /// are this user's.
    pub(crate) fn map_owner(&self, namespace_of: Pid, uid: u32, gid: u32) -> Result<(), Failure> {
        self.write_maps(namespace_of, uid, gid)
    }

    fn write_maps(&self, pid: Pid, uid: u32, gid: u32) -> Result<(), Failure> {
        let put = |file: &str, text: String| {
            let path = format!("/proc/{pid}/{file}");
            write(&path, text).at(Stage::Namespaces, file)
        };
        if !self.is_leased() {
            // The kernel's condition for a group map by an ordinary user.
            put("setgroups", "deny".to_owned())?;
        }
        put("gid_map", format!("{gid} {} 1", self.gid))?;
        put("uid_map", format!("{uid} {} 1", self.uid))
    }
}

/// Whether this launcher may act for other users and mount what it likes: the host's superuser may, and not the one of a
/// container without capabilities or of a user namespace with few users, who is an ordinary user like any other.
fn may_lease() -> bool {
    let all_users = || {
        let map = read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
            let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
            let end = first.unwrap_or(0) + count.unwrap_or(0);
            first.is_some_and(|first| first <= USERS.start.into()) && end >= USERS.end.into()
        })
    };
    let may_mount = || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    geteuid().is_root() && may_mount() && all_users()
}

/// Locks one byte for as long as this open file lives, in whichever process.
fn lock(file: &OwnedFd, place: u32) -> nix::Result<()> {
    // SAFETY: all zeros is a valid flock, with l_pid 0 as locks of open files ask for.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = libc::off_t::from(place);
    range.l_len = 1;
    fcntl(file, FcntlArg::F_OFD_SETLK(&range)).map(drop)
}
