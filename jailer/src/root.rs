//! The program's root file system, made by init inside its namespaces: a small file system in memory that cannot be
//! written, the host's pieces on it, and one private file system of bounded size for everything that may be written.

use crate::failure::{At, Failure};
use crate::limits::{
    HOST_NAME, ROOT_BYTES, ROOT_FILES, SCRATCH_BYTES, SCRATCH_BYTES_OF_A_FILE, SCRATCH_FILES,
    SCRATCH_FILES_LEAST,
};
use crate::network::names;
use crate::protocol::{PlacedFile, Policy, Stage};
use crate::trees::{Depth, Tree, Trees, set_attributes};
use crate::user::INSIDE;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount, mount_bind, mount_change,
    move_mount, unmount,
};
use rustix::process::{chdir, pivot_root};
use std::fs::{File, OpenOptions, Permissions, create_dir_all, remove_dir, set_permissions, write};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

/// Any directory that every host has; the new root is mounted over it for the moment before it becomes the root.
const STAGE: &str = "/tmp";
const OLD_ROOT: &str = "/.host";
const PRIVATE: &str = "/.private";

/// Replaces the root by the program's. The caller is the only process of its mount namespace.
pub(crate) fn enter(policy: &Policy, trees: Trees) -> Result<(), Failure> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).at(Stage::Root, "propagation of /")?;
    memory(STAGE, ROOT_BYTES, ROOT_FILES, "755")?;
    let old = format!("{STAGE}{OLD_ROOT}");
    create_dir_all(&old).at(Stage::Root, &old)?;
    pivot_root(STAGE, old.as_str()).at(Stage::Root, "pivot_root")?;
    chdir("/").at(Stage::Root, "/")?;
    trees.base.iter().try_for_each(attach)?;
    for (path, text) in &trees.links {
        parents(path)?;
        // A link of the host may lie in a directory that is shown whole.
        if path.symlink_metadata().is_err() {
            symlink(text, path).at(Stage::Root, path.display())?;
        }
    }
    devices()?;
    // Before the host's is gone: the kernel shows no more of it than was seen before.
    create_dir_all("/proc").at(Stage::Root, "/proc")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, Some(c"subset=pid")).at(Stage::Root, "/proc")?;
    unmount(OLD_ROOT, UnmountFlags::DETACH).at(Stage::Root, OLD_ROOT)?;
    remove_dir(OLD_ROOT).at(Stage::Root, OLD_ROOT)?;
    private_memory(policy)?;
    trees.view.iter().try_for_each(attach)?;
    names(policy)?;
    place(&policy.files)?;
    let root = File::open("/").at(Stage::Root, "/")?;
    set_attributes(&root, libc::MOUNT_ATTR_RDONLY, Depth::This, None).at(Stage::Root, "/")
}

/// Makes the policy's files, where the program's user owns them.
pub(crate) fn place(files: &[PlacedFile]) -> Result<(), Failure> {
    for file in files {
        let shown = file.path.display();
        parents(&file.path)?;
        let opened = OpenOptions::new().write(true).create_new(true).mode(file.mode & 0o777).open(&file.path);
        opened.at(Stage::Files, &shown)?.write_all(&file.content).at(Stage::Files, &shown)?;
    }
    Ok(())
}

fn attach(tree: &Tree) -> Result<(), Failure> {
    let shown = tree.target.display();
    if tree.target.symlink_metadata().is_err() {
        if tree.is_directory {
            create_dir_all(&tree.target).at(Stage::Root, &shown)?;
        } else {
            parents(&tree.target)?;
            File::create(&tree.target).at(Stage::Root, &shown)?;
        }
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(&tree.mount, "", CWD, &tree.target, flags).at(Stage::Root, &shown)
}

/// The standard names of a process's own descriptors, as every Unix has them.
fn devices() -> Result<(), Failure> {
    let own = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")];
    for (name, text) in own.into_iter().chain([("stderr", "/proc/self/fd/2")]) {
        symlink(text, format!("/dev/{name}")).at(Stage::Root, name)?;
    }
    Ok(())
}

/// One file system behind working directory, `/tmp` and `/dev/shm`, so that one bound holds for all of them.
fn private_memory(policy: &Policy) -> Result<(), Failure> {
    create_dir_all(PRIVATE).at(Stage::Root, PRIVATE)?;
    let bytes = policy.limits.scratch_bytes.unwrap_or(SCRATCH_BYTES);
    let files = (bytes / SCRATCH_BYTES_OF_A_FILE).clamp(SCRATCH_FILES_LEAST, SCRATCH_FILES);
    memory(PRIVATE, bytes, files, "700")?;
    let places = [("tmp", Path::new("/tmp"), 0o1777), ("shm", Path::new("/dev/shm"), 0o1777)];
    // The working directory last: it may lie below the others.
    for (name, target, mode) in places.into_iter().chain([("work", policy.workdir.as_path(), 0o700)]) {
        let source = format!("{PRIVATE}/{name}");
        create_dir_all(&source).at(Stage::Root, &source)?;
        set_permissions(&source, Permissions::from_mode(mode)).at(Stage::Root, &source)?;
        create_dir_all(target).at(Stage::Root, target.display())?;
        mount_bind(source.as_str(), target).at(Stage::Root, target.display())?;
    }
    unmount(PRIVATE, UnmountFlags::DETACH).at(Stage::Root, PRIVATE)?;
    remove_dir(PRIVATE).at(Stage::Root, PRIVATE)?;
    create_dir_all("/run").at(Stage::Root, "/run")?;
    create_dir_all("/var").at(Stage::Root, "/var")?;
    symlink("/tmp", "/var/tmp").at(Stage::Root, "/var/tmp")
}

/// Who one is and where names are looked up, without anything of the host.
fn names(policy: &Policy) -> Result<(), Failure> {
    let files = [
        ("/etc/passwd", format!("plugin:x:{INSIDE}:{INSIDE}::/tmp:/bin/sh\n")),
        ("/etc/group", format!("plugin:x:{INSIDE}:\n")),
        ("/etc/nsswitch.conf", names::NSSWITCH_CONF.to_owned()),
        ("/etc/hosts", names::hosts(HOST_NAME, &policy.connect)),
        ("/etc/resolv.conf", names::RESOLV_CONF.to_owned()),
    ];
    create_dir_all("/etc").at(Stage::Root, "/etc")?;
    for (path, text) in files {
        write(path, text).at(Stage::Root, path)?;
    }
    Ok(())
}

fn memory(target: &str, bytes: u64, files: u64, mode: &str) -> Result<(), Failure> {
    let options = format!("size={bytes},nr_inodes={files},mode={mode}");
    let options = std::ffi::CString::new(options).unwrap_or_default();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", target, "tmpfs", flags, Some(options.as_c_str())).at(Stage::Root, target)
}

fn parents(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    create_dir_all(parent).at(Stage::Root, parent.display())
}
