//! What a plugin's program sees of the host: its own file, its environment, what its manifest is granted. Looks at the file
//! system; what every program sees is the launcher's.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::plugin::{Manifest, WORKDIR};
use flexcore_jailer::base;

use super::launch::Shown;

/// The file in which a virtual environment says where its interpreter comes from.
const ENVIRONMENT_FILE: &str = "pyvenv.cfg";

/// The view of a plugin's program; `environment` is the directory of its environment's programs.
///
/// # Errors
/// A person's sentence: what is granted but not there.
pub fn of(manifest: &Manifest, program: &Path, environment: Option<&Path>) -> Result<Vec<Shown>, String> {
    let mut view = own(program, environment);
    let capabilities = &manifest.capabilities;
    for (key, paths, write) in [("read", &capabilities.read, false), ("write", &capabilities.write, true)] {
        for path in paths.iter().filter(|path| !path.starts_with(WORKDIR)) {
            let source = Path::new(path)
                .canonicalize()
                .map_err(|error| format!("{path} of capabilities.{key} cannot be shown to it: {error}"))?;
            view.push(Shown { source, target: PathBuf::from(path), write });
        }
    }
    Ok(view)
}

/// What a program needs before anything is granted: itself, and its environment with the interpreter that it is made of.
pub fn own(program: &Path, environment: Option<&Path>) -> Vec<Shown> {
    let mut view = Vec::new();
    let mut show = |target: &Path| {
        let Ok(source) = target.canonicalize() else { return };
        for target in [target, &source] {
            let shown = Shown { source: source.clone(), target: target.to_owned(), write: false };
            if !in_base(target) && !view.contains(&shown) {
                view.push(shown);
            }
        }
    };
    if let Some(place) = environment.and_then(Path::parent) {
        show(place);
        interpreter(place).iter().for_each(|prefix| show(prefix));
    }
    if !environment.is_some_and(|environment| program.starts_with(environment)) {
        show(program);
    }
    view
}

/// Where the interpreter of a virtual environment is installed: the parent of what its file calls home.
fn interpreter(place: &Path) -> Option<PathBuf> {
    let text = read_to_string(place.join(ENVIRONMENT_FILE)).ok()?;
    let home = text.lines().find_map(|line| line.strip_prefix("home")?.trim_start().strip_prefix('='))?;
    Path::new(home.trim()).parent().map(Path::to_owned)
}

/// Whether every program sees it.
pub fn in_base(path: &Path) -> bool {
    base::DIRECTORIES.iter().any(|shown| path.starts_with(shown))
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;

    use super::*;

    fn shown(view: &[Shown]) -> Vec<(&Path, &Path)> {
        view.iter().map(|shown| (shown.source.as_path(), shown.target.as_path())).collect()
    }

    #[test]
    fn a_program_is_shown_by_itself_under_its_own_name_and_the_one_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (link, real) = (dir.path().join("bin/tap"), dir.path().join("real"));
        write(&real, "").unwrap();
        create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&real, &link).unwrap();
        assert_eq!(shown(&own(&link, None)), [(real.as_path(), link.as_path()), (&real, &real)]);
        assert_eq!(own(Path::new("/bin/sh"), None), []);
    }

    #[test]
    fn an_environment_brings_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let (place, python) = (dir.path().join("venv"), dir.path().join("python"));
        create_dir_all(place.join("bin")).unwrap();
        create_dir_all(python.join("bin")).unwrap();
        write(place.join("pyvenv.cfg"), format!("home = {}/bin\nversion = 3\n", python.display())).unwrap();
        let view = own(&place.join("bin/tap"), Some(&place.join("bin")));
        assert_eq!(shown(&view), [(place.as_path(), place.as_path()), (&python, &python)]);
    }
}
