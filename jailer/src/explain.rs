//! Turns a failed step into a sentence that a person can act on. It only looks at files; it changes nothing.

use crate::failure::Failure;
use crate::limits::SHEBANG_BYTES;
use crate::protocol::{Policy, PolicyError, Stage, StartFailure};
use nix::errno::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A failed step with its explanation.
pub(crate) fn failure(policy: &Policy, failure: &Failure) -> StartFailure {
    let (stage, errno, detail) = (failure.stage, failure.errno(), failure.detail.as_str());
    let why = errno.desc();
    let message = match stage {
        Stage::Exec => {
            exec(Path::new(policy.argv.first().map_or("", String::as_str)), &policy.workdir, errno)
        }
        Stage::WorkingDirectory => {
            format!("working directory {} cannot be entered: {why}", policy.workdir.display())
        }
        Stage::Fork => format!(
            "no process can be created: {why}; lower the number of concurrent executions or raise the system's limits"
        ),
        Stage::Descriptors if errno == Errno::ENOSYS || errno == Errno::EINVAL => {
            "descriptors cannot be closed safely: close_range with its close-on-exec flag needs linux 5.11 or newer"
                .to_owned()
        }
        Stage::User => format!(
            "no user of its own can be had for the program ({detail}: {why}): check that /run is writable for the superuser, \
             or run flexcore as an ordinary user"
        ),
        Stage::View if errno == Errno::ELOOP => {
            format!("{detail} became a symbolic link after it was granted: grant the place that it leads to")
        }
        Stage::View => format!("{detail} cannot be shown to the program: {why}"),
        Stage::Cgroup => format!("the control group of the program cannot be made: {detail}"),
        Stage::Namespaces => format!("namespaces cannot be made ({detail}: {why}): {}", namespaces(errno)),
        Stage::Network => format!("the program's network cannot be made (cannot {detail}: {why})"),
        Stage::Root => format!("the program's root file system cannot be made ({detail}: {why})"),
        Stage::Files => format!("file {detail} cannot be made for the program: {why}"),
        Stage::Landlock => format!(
            "access rules by path (landlock) cannot be enforced: {why}; run flexcore on linux 5.13 or newer, built with \
             CONFIG_SECURITY_LANDLOCK and with landlock in the kernel's lsm= list"
        ),
        Stage::SystemCalls => format!(
            "the system call filter (seccomp) cannot be installed: {why}; run flexcore on a kernel built with \
             CONFIG_SECCOMP_FILTER and in a container whose own profile permits prctl(PR_SET_SECCOMP)"
        ),
        other => format!("the start failed at step {other:?}: {why}"),
    };
    StartFailure { stage, errno: errno as i32, message }
}

/// What hosts do against namespaces of ordinary users, and what undoes it.
fn namespaces(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC => "raise user.max_user_namespaces",
        Errno::ENOSYS | Errno::EINVAL => "a kernel with CONFIG_USER_NS is needed",
        _ => {
            "this host or container forbids them; set kernel.unprivileged_userns_clone=1 (Debian) or \
             kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), or give the container a seccomp profile that permits \
             clone3, mount and pivot_root"
        }
    }
}

/// A policy that can never be executed.
pub(crate) fn bad_policy(error: &PolicyError) -> StartFailure {
    StartFailure { stage: Stage::Policy, errno: 0, message: error.to_string() }
}

/// The failure to build the filter, which depends on nothing but this machine's architecture.
pub(crate) fn no_filter(error: &dyn std::error::Error) -> StartFailure {
    let message = format!("the system call filter (seccomp) cannot be built for this architecture: {error}");
    StartFailure { stage: Stage::SystemCalls, errno: 0, message }
}

fn exec(program: &Path, workdir: &Path, errno: Errno) -> String {
    let name = program.display();
    match errno {
        Errno::ENOENT if program.exists() => missing_interpreter(program, workdir),
        Errno::ENOENT => format!("program {name} was not found: check the plugin's command and environment"),
        Errno::ENOTDIR => format!("program {name} was not found: a part of its path is not a directory"),
        Errno::EACCES => not_permitted(program),
        Errno::ENOEXEC => format!(
            "{name} is not a program for this machine: a script needs a first line such as #!/bin/sh, a binary must be \
             built for this architecture"
        ),
        Errno::ETXTBSY => {
            format!("{name} is being written by another process: try again when that has ended")
        }
        Errno::E2BIG => format!(
            "arguments and environment of {name} are larger than the system allows: pass large values in files"
        ),
        other => format!("{name} could not be executed: {}", other.desc()),
    }
}

fn missing_interpreter(program: &Path, workdir: &Path) -> String {
    let name = program.display();
    match shebang(program) {
        Some(interpreter) if !workdir.join(&interpreter).exists() => format!(
            "interpreter {interpreter} of script {name} was not found: install it or correct the script's first line"
        ),
        Some(interpreter) => {
            format!(
                "interpreter {interpreter} of script {name} cannot be executed: its own loader was not found"
            )
        }
        None => format!(
            "the loader of program {name} was not found: it was built for another system (libc or architecture)"
        ),
    }
}

fn not_permitted(program: &Path) -> String {
    let name = program.display();
    match program.metadata() {
        Ok(found) if found.is_dir() => {
            format!("{name} is a directory: the plugin's command must name a program")
        }
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            format!("{name} is not executable: chmod +x it, or name its interpreter in the plugin's command")
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            format!("program {name} cannot be reached: a directory on its path denies access")
        }
        _ => format!(
            "{name} may not be executed: its interpreter is not executable, its file system is mounted noexec, or its \
             permissions exclude this user"
        ),
    }
}

/// The interpreter that a script's first line names; `None` if it is not a script (or cannot be read).
fn shebang(program: &Path) -> Option<String> {
    let mut start = Vec::new();
    File::open(program).ok()?.take(SHEBANG_BYTES).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    text.split_whitespace().next().map(|interpreter| {
        // A script saved with Windows line ends asks for an interpreter that ends in a carriage return.
        if text.ends_with('\r') && text.split_whitespace().count() == 1 {
            format!("{interpreter}\\r")
        } else {
            interpreter.to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    //! Each mistake that people make with a program gets its own sentence.

    use super::{exec, shebang};
    use nix::errno::Errno;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn the_cure_fits_the_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        write(&script, "#!/no/such/python -u\nprint()\n").unwrap();
        let explain = |path: &Path, errno| exec(path, dir.path(), errno);
        let missing = explain(&dir.path().join("absent"), Errno::ENOENT);
        assert!(missing.contains("absent was not found"), "{missing}");
        assert!(explain(&script, Errno::ENOENT).contains("interpreter /no/such/python of script"));
        set_permissions(&script, Permissions::from_mode(0o644)).unwrap();
        assert!(explain(&script, Errno::EACCES).contains("chmod +x"));
        set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        assert!(explain(&script, Errno::EACCES).contains("noexec"));
        assert!(explain(dir.path(), Errno::EACCES).contains("is a directory"));
        write(&script, "\x7fELF").unwrap();
        assert!(explain(&script, Errno::ENOENT).contains("loader"));
        write(&script, "#!/bin/sh\r\nexit\r\n").unwrap();
        assert_eq!(shebang(&script).as_deref(), Some("/bin/sh\\r"));
        assert!(explain(&script, Errno::ENOENT).contains("/bin/sh\\r"));
    }
}
