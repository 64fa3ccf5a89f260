//! Version 2: a group gives controllers to its children only while no process is in it, so the node steps aside.

use super::{CONTROLLERS, CgroupsError, failed};
use flexcore_jailer::cgroup::CgroupError;
use nix::errno::Errno;
use std::fs::{OpenOptions, create_dir, read_to_string, remove_dir};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a node is that had to step aside; no node's own group is called so.
pub(super) const DAEMON_GROUP: &str = "flexcore.daemon";

/// Sees to it that groups made in `own` have the controllers; answers `own`. Only this process is ever moved.
pub(super) fn delegate(
    own: &Path,
    mut enable: impl FnMut(&Path) -> nix::Result<()>,
) -> Result<PathBuf, CgroupsError> {
    match enable(own) {
        Err(Errno::EBUSY) => {}
        enabled => return enabled.map(|()| own.to_owned()).map_err(|errno| refused(own, errno)),
    }
    let aside = own.join(DAEMON_GROUP);
    match create_dir(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed("make the control group", &aside, &error).into());
        }
        _ => {}
    }
    move_self(&aside)?;
    enable(own).map(|()| own.to_owned()).map_err(|errno| {
        // Back to where whoever started us expects us.
        let _ = move_self(own);
        let _ = remove_dir(&aside);
        refused(own, errno)
    })
}

/// Gives the controllers to the children of a group.
pub(super) fn enable(group: &Path) -> nix::Result<()> {
    let control = group.join("cgroup.subtree_control");
    let enabled = read_to_string(&control).unwrap_or_default();
    let lacking: Vec<String> = CONTROLLERS
        .into_iter()
        .filter(|controller| !enabled.split_whitespace().any(|one| one == *controller))
        .map(|controller| format!("+{controller}"))
        .collect();
    if lacking.is_empty() { Ok(()) } else { write(&control, &lacking.join(" ")) }
}

/// What it means that a group gives no controllers.
pub(super) fn refused(group: &Path, errno: Errno) -> CgroupsError {
    match errno {
        Errno::EBUSY => CgroupsError::Shared { path: group.to_owned() },
        errno => CgroupError::new("give controllers by", group.join("cgroup.subtree_control"), errno).into(),
    }
}

fn move_self(group: &Path) -> Result<(), CgroupError> {
    let procs = group.join("cgroup.procs");
    write(&procs, &std::process::id().to_string())
        .map_err(|errno| CgroupError::new("move this process by", procs, errno))
}

fn write(path: &Path, value: &str) -> nix::Result<()> {
    let written =
        OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))
}

#[cfg(test)]
mod tests {
    //! On imitated files: the kernel's refusal is played, what is written is looked at.

    use super::{DAEMON_GROUP, delegate, enable};
    use crate::sandbox::cgroups::CgroupsError;
    use nix::errno::Errno;
    use std::fs::{create_dir, read_to_string, write};
    use std::path::Path;
    use tempfile::TempDir;

    fn group() -> TempDir {
        let own = tempfile::tempdir().unwrap();
        create_dir(own.path().join(DAEMON_GROUP)).unwrap();
        for file in ["cgroup.subtree_control", "cgroup.procs", "flexcore.daemon/cgroup.procs"] {
            write(own.path().join(file), "").unwrap();
        }
        own
    }

    fn content(own: &Path, file: &str) -> String {
        read_to_string(own.join(file)).unwrap()
    }

    #[test]
    fn what_is_lacking_is_enabled_and_nobody_moves_without_need() {
        let own = group();
        assert_eq!(delegate(own.path(), enable).unwrap(), own.path());
        assert_eq!(content(own.path(), "cgroup.subtree_control"), "+memory +pids +cpu");
        assert_eq!(content(own.path(), "flexcore.daemon/cgroup.procs"), "");
        write(own.path().join("cgroup.subtree_control"), "cpu memory").unwrap();
        enable(own.path()).unwrap();
        assert!(content(own.path(), "cgroup.subtree_control").starts_with("+pids"));
        write(own.path().join("cgroup.subtree_control"), "cpu io memory pids\n").unwrap();
        enable(own.path()).unwrap();
        assert_eq!(content(own.path(), "cgroup.subtree_control"), "cpu io memory pids\n");
    }

    #[test]
    fn a_node_alone_in_its_group_steps_aside() {
        let own = group();
        let mut answers = [Err(Errno::EBUSY), Ok(())].into_iter();
        delegate(own.path(), |_| answers.next().unwrap()).unwrap();
        assert_eq!(content(own.path(), "flexcore.daemon/cgroup.procs"), std::process::id().to_string());
        assert_eq!(content(own.path(), "cgroup.procs"), "");
    }

    #[test]
    fn a_node_among_others_goes_back_and_says_so() {
        let own = group();
        let error = delegate(own.path(), |_| Err(Errno::EBUSY)).unwrap_err();
        assert!(matches!(&error, CgroupsError::Shared { path } if path == own.path()));
        assert_eq!(content(own.path(), "cgroup.procs"), std::process::id().to_string());
        assert!(error.to_string().contains("Delegate=yes") && error.errno() == Some(Errno::EBUSY), "{error}");
    }

    #[test]
    fn other_refusals_name_the_file() {
        let own = group();
        let error = delegate(own.path(), |_| Err(Errno::EACCES)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("cgroup.subtree_control") && text.contains("EACCES"), "{text}");
    }
}
