//! Files that people hand to commands: read with a bound, kept with the place of every field. Never in here: what
//! they are for.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::yaml::{self, Document, MAX_BYTES};

use super::failure::Failure;

/// A document and the file it stands in.
#[derive(Debug)]
pub struct Definition {
    /// The file; `<stdin>` for standard input.
    pub file: String,
    /// The document.
    pub document: Document,
}

impl Definition {
    /// A problem with a field, as editors understand it: `file:line:column: field: message`.
    #[must_use]
    pub fn problem(&self, field: &str, message: &str) -> String {
        let mark = self.document.position(field);
        let colon = if field.is_empty() { "" } else { ": " };
        format!("{}:{}:{}: {field}{colon}{message}", self.file, mark.line, mark.column)
    }
}

/// Reads every document of every file; `-` is standard input.
///
/// # Errors
/// Every file that cannot be read or is no YAML, at once.
pub fn read_definitions(files: &[PathBuf]) -> Result<Vec<Definition>, Failure> {
    let mut definitions = Vec::new();
    let mut problems = Vec::new();
    for path in files {
        match read_documents(path) {
            Ok(documents) if documents.is_empty() => {
                problems.push(format!("{}: holds no document", shown(path)))
            }
            Ok(documents) => definitions
                .extend(documents.into_iter().map(|document| Definition { file: shown(path), document })),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(definitions)
    } else {
        Err(Failure::usage("cannot read what to apply").details(problems))
    }
}

/// Reads a file that holds one object.
///
/// # Errors
/// When it cannot be read, is no YAML or holds something else.
pub fn read_object(path: &Path) -> Result<Value, Failure> {
    let mut documents = read_documents(path).map_err(Failure::usage)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(Document { value, .. }), true) if value.is_object() => Ok(value),
        _ => Err(Failure::usage(format!("{}: expected one document that is an object", shown(path)))),
    }
}

fn read_documents(path: &Path) -> Result<Vec<Document>, String> {
    let text = read_text(path)?;
    yaml::parse(&text).map_err(|error| {
        format!("{}:{}:{}: {}", shown(path), error.mark.line, error.mark.column, error.message)
    })
}

fn read_text(path: &Path) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", shown(path));
    let mut text = String::new();
    // one byte more than is allowed, so that the reader of YAML sees that it is too much
    let most = MAX_BYTES as u64 + 1;
    if is_stdin(path) {
        std::io::stdin().take(most).read_to_string(&mut text).map_err(fail)?;
    } else {
        std::fs::File::open(path).map_err(fail)?.take(most).read_to_string(&mut text).map_err(fail)?;
    }
    Ok(text)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn shown(path: &Path) -> String {
    if is_stdin(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}
