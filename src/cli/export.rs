//! `export`: events to a file, from a node or from a store at rest; and reading such a file line by line. Never in here: what
//! the lines say.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flexcore_actors::domain::ids::Position;
use flexcore_actors::runtime::integrity::export::{ExportQuery, Exporter};
use http_body_util::BodyExt as _;
use jiff::Timestamp;

use crate::compose::at_rest;

use super::args::ExportArgs;
use super::client::{Client, escaped};
use super::failure::{Exit, Failure};
use super::migrate::{refused, store_config};
use super::output::Terminal;
use super::verify::Bar;

/// The longest line that is read, bytes: an event of the largest size in two shapes, and more.
const MAX_LINE: u64 = 32 << 20;
/// What the last line begins with: an export without it is not whole.
const END: &[u8] = b"{\"end\":";

/// Writes an export. The file is there whole, or not at all.
///
/// # Errors
/// What the node or store refuses, and what writing meets.
pub async fn export(
    client: impl Fn() -> Result<Client, Failure>,
    terminal: &mut Terminal,
    args: ExportArgs,
) -> Result<(), Failure> {
    let mut output = Output::create(&args.file)?;
    if args.store.data_dir.is_some() || args.store.database_url.is_some() {
        from_store(terminal, &args, &mut output).await?;
    } else {
        from_node(&client()?, &args, &mut output).await?;
    }
    let bytes = output.finish()?;
    if args.file.as_os_str() != "-" {
        terminal.note(&format!("{}: {}", args.file.display(), super::human::bytes(bytes)));
        terminal.note(&format!("verify it with: flexcore verify --file {}", args.file.display()));
    }
    Ok(())
}

async fn from_node(client: &Client, args: &ExportArgs, output: &mut Output) -> Result<(), Failure> {
    let mut path = format!("/events/export?after={}", args.after);
    if let Some(stream) = &args.stream {
        path.push_str(&format!("&aggregate_id={}", escaped(stream)));
    }
    let mut body = client.stream(&path, "application/x-ndjson").await?.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::new(Exit::Unavailable, format!("the export was broken off: {error}")).hint("try again")
        })?;
        if let Some(data) = frame.data_ref() {
            output.write(data)?;
        }
    }
    Ok(())
}

async fn from_store(terminal: &mut Terminal, args: &ExportArgs, output: &mut Output) -> Result<(), Failure> {
    let stream = args.stream.as_deref().map(str::parse).transpose();
    let stream = stream.map_err(|error| Failure::usage(format!("--stream: {error}")))?;
    let config = store_config(terminal, &args.store)?;
    let store = at_rest::open(&config).await.map_err(|error| refused(&error))?;
    let query = ExportQuery { stream, after: Position(args.after) };
    let failed = |error| refused(&anyhow::Error::new(error));
    let mut exporter =
        Exporter::begin(store.events, store.integrity, query, Timestamp::now()).await.map_err(failed)?;
    let bar = Bar::new(terminal);
    while let Some(lines) = exporter.next().await.map_err(failed)? {
        output.write(lines.as_bytes())?;
        let (position, of) = exporter.progress();
        bar.show(position.0, of.0);
    }
    Ok(())
}

/// Where an export goes: beside its file, until it is whole.
struct Output {
    to: Option<(PathBuf, PathBuf)>,
    writer: BufWriter<Box<dyn Write + Send>>,
    written: u64,
    /// The beginning of the last line.
    line: Vec<u8>,
    line_ended: bool,
}

impl Output {
    fn create(path: &Path) -> Result<Self, Failure> {
        let (to, writer): (_, Box<dyn Write + Send>) = if path.as_os_str() == "-" {
            (None, Box::new(io::stdout()))
        } else {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".partial");
            let beside = PathBuf::from(beside);
            let file = File::create(&beside).map_err(|error| {
                Failure::failed(format!("{} cannot be written: {error}", beside.display()))
            })?;
            (Some((beside, path.to_path_buf())), Box::new(file))
        };
        Ok(Self { to, writer: BufWriter::new(writer), written: 0, line: Vec::new(), line_ended: true })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes)?;
        self.written += bytes.len() as u64;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line_ended {
                self.line.clear();
            }
            let room = END.len().saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            self.line_ended = piece.ends_with(b"\n");
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, Failure> {
        self.writer.flush()?;
        if self.line != END || !self.line_ended {
            return Err(Failure::new(Exit::Unavailable, "the export was broken off before its end")
                .hint("try again; the part that came is in the file that ends with .partial"));
        }
        if let Some((beside, path)) = &self.to {
            File::open(beside)?.sync_all()?;
            fs::rename(beside, path)?;
        }
        Ok(self.written)
    }
}

/// The lines of an export.
pub(super) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    line: String,
    number: u64,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is not there ([`Exit::NotFound`]) or cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| {
            let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
            Failure::new(exit, format!("{} cannot be read: {error}", path.display()))
        })?;
        Ok(Self { reader: BufReader::new(file), path: path.to_path_buf(), line: String::new(), number: 0 })
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// When it cannot be read, or is longer than any line of an export.
    pub(super) fn next(&mut self) -> Result<Option<&str>, Failure> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.reader).take(MAX_LINE).read_line(&mut self.line);
        match read {
            Ok(0) => Ok(None),
            Ok(read) if read as u64 == MAX_LINE && !self.line.ends_with('\n') => {
                Err(self.failure(&format!("it is longer than {MAX_LINE} bytes")))
            }
            Ok(_) => Ok(Some(self.line.trim_end_matches('\n'))),
            Err(error) => Err(self.failure(&error.to_string())),
        }
    }

    fn failure(&self, why: &str) -> Failure {
        Failure::failed(format!("{}, line {}: {why}", self.path.display(), self.number))
    }
}
