//! The pieces of the host that a program sees, as detached mounts: opened before the program's root exists, by whoever may,
//! and attached to it by `root`. Each is closed to set-user-id programs and devices, and to writing unless granted.

use crate::base::{DEVICES, Entry, entries};
use crate::failure::{At, Failure};
use crate::namespaces;
use crate::protocol::{Shown, Stage};
use crate::user::User;
use nix::errno::Errno;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A detached mount and where it belongs.
pub(crate) struct Tree {
    pub(crate) target: PathBuf,
    pub(crate) mount: OwnedFd,
    pub(crate) is_directory: bool,
}

/// All of them, each list in the order in which it is attached.
pub(crate) struct Trees {
    /// The base and the devices.
    pub(crate) base: Vec<Tree>,
    /// The base's symbolic links: where, and their text.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// What the policy shows.
    pub(crate) view: Vec<Tree>,
}

/// What a mount permits.
#[derive(Clone, Copy)]
struct Attributes(u64);

const READ_ONLY: Attributes =
    Attributes(libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV);
const WRITABLE: Attributes = Attributes(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV);
const DEVICE: Attributes = Attributes(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC);

impl Trees {
    /// Opens the base, the devices and what the policy shows. With a leased user it must be called by the superuser, before
    /// the program's namespaces exist; otherwise inside them, where alone an ordinary user may.
    pub(crate) fn open(view: &[Shown], user: &User) -> Result<Self, Failure> {
        let (mut base, mut links) = (Vec::new(), Vec::new());
        for entry in entries() {
            match entry {
                Entry::Link(path, text) => links.push((path, text)),
                Entry::Tree(path) => base.push(open(&path, &path, READ_ONLY)?),
            }
        }
        for device in DEVICES.map(Path::new) {
            base.push(open(device, device, DEVICE)?);
        }
        let mut wanted: Vec<&Shown> = view.iter().collect();
        // What lies within another is attached after it.
        wanted.sort_by_key(|shown| shown.target.components().count());
        let mut owners = Owners { user, namespaces: BTreeMap::new() };
        let mut view = Vec::with_capacity(wanted.len());
        for shown in wanted {
            let attributes = if shown.write { WRITABLE } else { READ_ONLY };
            let tree = open(&shown.source, &shown.target, attributes)?;
            if user.is_leased() {
                owners.hand_over(&tree, shown)?;
            }
            view.push(tree);
        }
        Ok(Self { base, links, view })
    }
}

fn open(source: &Path, target: &Path, attributes: Attributes) -> Result<Tree, Failure> {
    let shown = source.display();
    // The source is a path without links: one that took its place since it was looked at is not followed.
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let place = openat2(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how);
    let place = place.at(Stage::View, &shown)?;
    let kind = FileType::from_raw_mode(fstat(&place).at(Stage::View, &shown)?.st_mode);
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(&place, "", flags).at(Stage::View, &shown)?;
    set_attributes(&mount, attributes.0, Depth::All, None).at(Stage::View, &shown)?;
    Ok(Tree { target: target.to_owned(), mount, is_directory: kind == FileType::Directory })
}

/// Namespaces that say whose files of the host become the program's, by owner.
struct Owners<'a> {
    user: &'a User,
    namespaces: BTreeMap<(u32, u32), OwnedFd>,
}

impl Owners<'_> {
    /// Makes the files of the tree's owner the program's own; those of others stay others'.
    fn hand_over(&mut self, tree: &Tree, shown: &Shown) -> Result<(), Failure> {
        let text = shown.source.display();
        let found = fstat(&tree.mount).at(Stage::View, &text)?;
        let owner = (found.st_uid, found.st_gid);
        if !self.namespaces.contains_key(&owner) {
            self.namespaces.insert(owner, namespaces::naming_owner(self.user, owner)?);
        }
        let namespace = &self.namespaces[&owner];
        match set_attributes(&tree.mount, libc::MOUNT_ATTR_IDMAP, Depth::All, Some(namespace)) {
            // What this file system cannot do for reading, the permission bits may still allow.
            Err(Errno::EINVAL) if !shown.write => Ok(()),
            done => {
                done.at(Stage::View, format!("{text}: its file system does not support id-mapped mounts"))
            }
        }
    }
}

/// How far attributes reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// One mount.
    This,
    /// It and all mounts below it.
    All,
}

/// Sets attributes by `mount_setattr(2)`; `owners` is the user namespace that goes with `MOUNT_ATTR_IDMAP`.
pub(crate) fn set_attributes(
    mount: impl AsFd,
    attributes: u64,
    depth: Depth,
    owners: Option<&OwnedFd>,
) -> nix::Result<()> {
    let userns_fd = owners.map_or(0, |namespace| u64::from(namespace.as_raw_fd().unsigned_abs()));
    // A clone of a shared mount is its peer: what is mounted below either would appear below both, on the host too.
    let attributes =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd };
    let recursive = if depth == Depth::All { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads an empty string and one mount_attr of the given size; both live until it returns.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(answer).map(drop)
}
