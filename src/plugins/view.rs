//! What a plugin's program sees of the host: its own file, its environment, what its manifest is granted. Looks at the file
//! system; what every program sees is the launcher's.

use std::fs::read_to_string;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::plugin::{Leads, Manifest, WORKDIR};
use flexcore_jailer::base;

use super::host::Host;
use super::launch::Shown;

/// The file in which a virtual environment says where its interpreter comes from.
const ENVIRONMENT_FILE: &str = "pyvenv.cfg";

/// The view of a plugin's program; `environment` is the directory of its environment's programs, `leads` where granted
/// paths lead by links, if they must lead there.
///
/// # Errors
/// A person's sentence: what is granted but not there, or leads where it must not.
pub fn of(
    host: &Host,
    manifest: &Manifest,
    leads: Option<&Leads>,
    program: &Path,
    environment: Option<&Path>,
) -> Result<Vec<Shown>, String> {
    let granted = granted(manifest, leads, &host.data_dir)?;
    Ok(own(program, environment).into_iter().chain(granted).collect())
}

/// What its manifest is granted.
fn granted(manifest: &Manifest, leads: Option<&Leads>, data_dir: &Path) -> Result<Vec<Shown>, String> {
    let mut shown = Vec::new();
    let capabilities = &manifest.capabilities;
    for (key, paths, write) in [("read", &capabilities.read, false), ("write", &capabilities.write, true)] {
        for path in paths.iter().filter(|path| !path.starts_with(WORKDIR)) {
            let source = place(Path::new(path), data_dir)
                .and_then(|source| still(path, source, leads))
                .map_err(|why| format!("capabilities.{key} cannot be shown to it: {why}"))?;
            shown.push(Shown { source, target: PathBuf::from(path), write });
        }
    }
    match shown.iter().find(|one| led_astray(one, &shown)) {
        None => Ok(shown),
        Some(Shown { source, target, .. }) => Err(format!(
            "{} leads to {}, which is not granted, by a link that the plugin itself may have made: grant where it leads",
            target.display(),
            source.display()
        )),
    }
}

/// A grant is resolved once, when the plugin is registered: whoever may write a directory on the way to it could lead it
/// anywhere, past what the policy allows.
fn still(path: &str, source: PathBuf, leads: Option<&Leads>) -> Result<PathBuf, String> {
    let Some(leads) = leads else { return Ok(source) };
    let registered = Path::new(leads.get(path).map_or(path, String::as_str));
    if registered.components().eq(source.components()) {
        return Ok(source);
    }
    Err(format!(
        "{path} leads to {} now, and led to {} when the plugin was registered: apply its manifest again if that is meant",
        source.display(),
        registered.display()
    ))
}

/// Whether a grant leads out of all of them by a link in a place that the plugin may write: it could grant itself anything.
fn led_astray(one: &Shown, all: &[Shown]) -> bool {
    let within = |path: &Path, place: &Path| path != place && path.starts_with(place);
    let may_be_its_own = all.iter().any(|other| {
        other.write && (within(&one.target, &other.target) || within(&one.target, &other.source))
    });
    let others = || all.iter().filter(|other| other.target != one.target);
    one.source != one.target && may_be_its_own && !others().any(|other| one.source.starts_with(&other.source))
}

/// Where a granted path really leads, now: links may have changed since it was granted.
///
/// # Errors
/// A person's sentence: what is not there, or belongs to FlexCore itself.
pub fn place(path: &Path, data_dir: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    let real = path.canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{shown} does not exist on this node: make it first, or correct it"),
        _ => format!("{shown} cannot be looked at: {error}"),
    })?;
    if real.starts_with(data_dir) {
        return Err(format!("{shown} belongs to FlexCore's own data: grant a directory outside of data_dir"));
    }
    if data_dir.starts_with(&real) {
        return Err(format!(
            "{shown} holds FlexCore's own data ({}): grant the directories beside it, or move data_dir",
            data_dir.display()
        ));
    }
    Ok(real)
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

    fn manifest(read: &[&Path], write: &[&Path]) -> Manifest {
        let capabilities = serde_json::json!({"read": read, "write": write});
        let manifest = serde_json::json!({
            "kind": "Plugin", "name": "p", "version": "1.0.0", "type": "processor", "protocol": "command",
            "command": ["true"], "capabilities": capabilities,
        });
        flexcore_actors::domain::plugin::read_manifest(&manifest).unwrap()
    }

    #[test]
    fn a_place_that_became_a_link_since_it_was_granted_shows_nothing_of_flexcores_own_or_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let [data, other, area] = ["data", "other", "area"].map(|name| root.join(name));
        let within = area.join("within");
        for place in [&data, &other, &within] {
            create_dir_all(place).unwrap();
        }
        let wanted = manifest(&[&within], &[&area]);
        assert_eq!(granted(&wanted, None, &data).unwrap().len(), 2);
        let leads_to = |place: &Path| {
            if within.is_symlink() { std::fs::remove_file(&within) } else { std::fs::remove_dir(&within) }
                .unwrap();
            symlink(place, &within).unwrap();
            granted(&wanted, None, &data)
        };
        // what the plugin may do to its own area between two executions
        assert!(leads_to(&data).unwrap_err().contains("FlexCore's own data"));
        assert!(leads_to(&root).unwrap_err().contains("FlexCore's own data"));
        assert!(leads_to(&other).unwrap_err().contains("which is not granted"));
        create_dir_all(area.join("v2")).unwrap();
        let shown = leads_to(&area.join("v2")).unwrap();
        assert_eq!(shown[0].source, area.join("v2"), "a link within what is granted anyway is followed");
        // a link that somebody else keeps, outside of what the plugin may write, is the operator's
        let link = root.join("current");
        symlink(&other, &link).unwrap();
        assert_eq!(granted(&manifest(&[&link], &[&area]), None, &data).unwrap()[0].source, other);
    }

    #[test]
    fn a_grant_leads_where_it_led_when_the_plugin_was_registered_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let [data, area, other] = ["data", "area", "other"].map(|name| root.join(name));
        let (inbox, link) = (area.join("in"), root.join("current"));
        for place in [&data, &inbox, &other.join("in")] {
            create_dir_all(place).unwrap();
        }
        symlink(&area, &link).unwrap();
        let wanted = manifest(&[&inbox, &link], &[]);
        let leads = Leads::from([(link.display().to_string(), area.display().to_string())]);
        assert_eq!(granted(&wanted, Some(&leads), &data).unwrap().len(), 2);
        // another plugin may write the directory above
        std::fs::remove_dir(&inbox).unwrap();
        symlink(other.join("in"), &inbox).unwrap();
        let refused = granted(&wanted, Some(&leads), &data).unwrap_err();
        let expected = format!("{} leads to {} now, and led to", inbox.display(), other.join("in").display());
        assert!(refused.contains(&expected) && refused.contains("apply its manifest again"), "{refused}");
        std::fs::remove_file(&inbox).unwrap();
        create_dir_all(&inbox).unwrap();
        std::fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
        assert!(
            granted(&wanted, Some(&leads), &data).unwrap_err().contains("when the plugin was registered")
        );
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
