//! Why a program could not be executed in a sandbox: the file itself, its interpreter, its loader, its libraries. Looks
//! at files and runs nothing.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::plugin::Manifest;
use flexcore_jailer::base;

use super::super::view;
use super::elf;
use super::libraries::{Missing, first_missing};

/// As long as a first line may be, for the kernel.
const FIRST_LINE: usize = 256;
/// Interpreters of interpreters that the kernel follows.
const DEPTH: u32 = 4;

/// The host's files that a plugin's sandbox shows.
#[derive(Debug)]
pub struct Sight(Vec<PathBuf>);

impl Sight {
    /// Of a plugin's sandbox: the system, the program itself, its environment, what it may read or write.
    pub fn of(manifest: &Manifest, program: &Path, environment: Option<&Path>) -> Self {
        let own = view::own(program, environment).into_iter().map(|shown| shown.target);
        let granted = manifest.capabilities.read.iter().chain(&manifest.capabilities.write);
        let base = base::DIRECTORIES.iter().chain(&base::ETC).map(PathBuf::from);
        Self(base.chain(own).chain(granted.map(PathBuf::from)).collect())
    }

    /// What of a path is not shown: itself, or the place that it leads to; `None` when it can be followed to its end.
    pub fn hidden(&self, path: &Path) -> Option<PathBuf> {
        let shows = |path: &Path| self.0.iter().any(|shown| path.starts_with(shown));
        let real = path.canonicalize().ok().filter(|_| shows(path));
        match real {
            Some(real) if shows(&real) => None,
            Some(real) => Some(real),
            None => Some(path.to_owned()),
        }
    }
}

/// Why `program` could not be executed, with the cure; `None` when nothing speaks against it. `directories` are those of
/// its `PATH`, `libraries` those of its `LD_LIBRARY_PATH`.
pub fn why_not_executable(
    program: &Path,
    sight: &Sight,
    directories: &[PathBuf],
    libraries: &[PathBuf],
) -> Option<String> {
    Looker { sight, directories, libraries }.look(program, DEPTH)
}

struct Looker<'a> {
    sight: &'a Sight,
    directories: &'a [PathBuf],
    libraries: &'a [PathBuf],
}

impl Looker<'_> {
    fn look(&self, program: &Path, depth: u32) -> Option<String> {
        let shown = program.display();
        let Ok(found) = program.metadata() else {
            return Some(format!("{shown} does not exist: correct it"));
        };
        if !found.is_file() {
            return Some(format!("{shown} is not a file: name a program"));
        }
        if found.permissions().mode() & 0o111 == 0 {
            return Some(format!(
                "{shown} is not executable: chmod +x it, or name its interpreter in the command"
            ));
        }
        // what may be executed but not read is left to its start
        let first = first_bytes(program)?;
        if first.starts_with(b"\x7fELF") {
            return self.look_at_binary(program);
        }
        match first.strip_prefix(b"#!") {
            Some(line) => self.look_at_script(program, line, depth),
            None => Some(format!(
                "{shown} is neither a program nor a script that begins with #!: name its interpreter in the command"
            )),
        }
    }

    fn look_at_binary(&self, program: &Path) -> Option<String> {
        let shown = program.display();
        let loader = elf::read(program).ok()??.loader?;
        if let Some(why) = self.needs(program, "loader", Path::new(&loader)) {
            return Some(why);
        }
        let Missing { name, needed_by, hidden_at } =
            first_missing(program, self.libraries, |path| self.sight.hidden(path).is_none())?;
        let by = if needed_by == program { String::new() } else { format!(" (for {})", needed_by.display()) };
        Some(match hidden_at {
            None => format!("{shown} needs the library {name}{by}, which was not found: install it"),
            Some(place) => {
                let place = self.sight.hidden(&place).unwrap_or(place);
                let place = place.display();
                format!(
                    "{shown} needs the library {name}{by}, which a sandbox does not show: add {place} to capabilities.read"
                )
            }
        })
    }

    fn look_at_script(&self, script: &Path, line: &[u8], depth: u32) -> Option<String> {
        let shown = script.display();
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        if line.ends_with('\r') {
            return Some(format!(
                "the first line of {shown} ends with a carriage return: save it with Unix line ends"
            ));
        }
        let mut words = line.split_whitespace();
        let Some(interpreter) = words.next().map(Path::new) else {
            return Some(format!("the first line of {shown} names no interpreter: write it after #!"));
        };
        if depth == 0 {
            return Some(format!("{shown} is interpreted by too many interpreters of interpreters"));
        }
        if let Some(why) = self.needs(script, "interpreter", interpreter) {
            return Some(why);
        }
        // `env` looks for the interpreter in PATH
        let searched = words.next().filter(|_| interpreter.file_name() == Some("env".as_ref()));
        match searched.filter(|name| !name.starts_with('-') && !name.contains('=')) {
            None => self.look(interpreter, depth - 1),
            Some(name) => {
                let place = self.directories.iter().map(|d| d.join(name)).find(|path| path.is_file());
                match place {
                    Some(place) => {
                        self.needs(script, "interpreter", &place).or_else(|| self.look(&place, depth - 1))
                    }
                    None => Some(format!(
                        "{shown} needs the interpreter {name}, which is not in its PATH: install it, or name it by its path"
                    )),
                }
            }
        }
    }

    /// Why a file that `program` needs before it runs is not there for it.
    fn needs(&self, program: &Path, what: &str, needed: &Path) -> Option<String> {
        let (program, shown) = (program.display(), needed.display());
        if !needed.exists() {
            return Some(format!("{program} needs the {what} {shown}, which does not exist: install it"));
        }
        self.sight.hidden(needed).map(|hidden| {
            let hidden = hidden.display();
            format!("{program} needs the {what} {shown}, which a sandbox does not show: add {hidden} to capabilities.read")
        })
    }
}

fn first_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FIRST_LINE);
    File::open(path).ok()?.take(FIRST_LINE as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
