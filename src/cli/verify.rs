//! `verify`: asks a node, or reads a store at rest or an export itself, and says what was found. Never in here: what makes a
//! log intact.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use flexcore_actors::domain::integrity::verify::Trusted;
use flexcore_actors::ports::OutsideCheckpoints;
use flexcore_actors::runtime::integrity::export::{ExportReader, Item};
use flexcore_actors::runtime::integrity::outside::{End, Outside};
use flexcore_actors::runtime::integrity::verification::{self, Progress, Subject, Verdict};
use flexcore_actors::runtime::integrity::views::VerificationView;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::compose::at_rest;
use crate::config::Config;
use crate::integrity::{CheckpointDirectory, read_trusted};

use super::args::VerifyArgs;
use super::client::Client;
use super::export::Lines;
use super::failure::{Exit, Failure};
use super::human::{grouped, printable};
use super::integrity::key_failure;
use super::migrate::{refused, store_config};
use super::output::{Format, Terminal};

/// Between two looks at how far a verification has come.
const POLL: Duration = Duration::from_millis(250);

/// Verifies, and succeeds only if everything is intact.
///
/// # Errors
/// What is wrong with the log ([`Exit::Failed`]), or why it cannot be verified.
pub async fn verify(
    client: impl Fn() -> Result<Client, Failure>,
    terminal: &mut Terminal,
    args: VerifyArgs,
) -> Result<(), Failure> {
    let found = if let Some(file) = &args.file {
        export_file(terminal, &args, file).await?
    } else if args.store.data_dir.is_some() || args.store.database_url.is_some() {
        store(terminal, &args).await?
    } else {
        if args.public_key.is_some() || args.checkpoints.is_some() {
            let message = "--public-key and --checkpoints need --file, --data-dir or --database-url";
            return Err(Failure::usage(message)
                .hint("a running node compares with its own key and checkpoint directory"));
        }
        node(&client()?, &Bar::new(terminal)).await?
    };
    report(terminal, &found, args.output)
}

/// Has a node verify its log; what it found.
///
/// # Errors
/// When the node cannot be asked.
pub(super) async fn node(client: &Client, bar: &Bar) -> Result<Value, Failure> {
    const PATH: &str = "/integrity/verify";
    let mut view = client.send(Method::POST, PATH, None).await?;
    let id = view["id"].clone();
    while view["state"] == "running" {
        bar.show(number(&view, "position"), number(&view, "of"));
        tokio::time::sleep(POLL).await;
        view = client.get(PATH).await?;
        if view["id"] != id {
            return Err(Failure::failed("the node was restarted, or asked to verify again by somebody else"));
        }
    }
    Ok(view)
}

async fn store(terminal: &mut Terminal, args: &VerifyArgs) -> Result<Value, Failure> {
    let config = store_config(terminal, &args.store)?;
    let store = at_rest::open(&config).await.map_err(|error| refused(&error))?;
    let (trusted, key) = trusted(&config, args.public_key.as_deref())?;
    let (outside, copies) = outside(&config, args.checkpoints.as_deref())?;
    let trust = format!("{key}; {copies}");
    let (bar, progress) = (Bar::new(terminal), Progress::default());
    let subject = Subject {
        events: &*store.events,
        integrity: &*store.integrity,
        outside: outside.as_ref().map(|outside| outside as &dyn OutsideCheckpoints),
        trusted,
    };
    let looks = async {
        loop {
            bar.show(progress.position.load(Relaxed), progress.of.load(Relaxed));
            tokio::time::sleep(POLL).await;
        }
    };
    let verdict = tokio::select! {
        verdict = verification::verify(subject, &progress) => verdict,
        () = looks => return Err(Failure::failed("the progress ended before the verification")),
    };
    let verdict = verdict.map_err(|error| refused(&error.into()))?;
    let (position, of) = (progress.position.load(Relaxed), progress.of.load(Relaxed));
    let mut view = VerificationView::running(&trust, position, of);
    view.decide(&verdict);
    Ok(serde_json::to_value(view).unwrap_or_default())
}

async fn export_file(terminal: &mut Terminal, args: &VerifyArgs, file: &Path) -> Result<Value, Failure> {
    let config = store_config(terminal, &args.store)?;
    let (trusted, key) = trusted(&config, args.public_key.as_deref())?;
    let (outside, copies) = match &args.checkpoints {
        Some(_) => outside(&config, args.checkpoints.as_deref())?,
        None => (None, "not compared with checkpoints outside the export; give them with --checkpoints"),
    };
    let verdict = check_export(terminal, file, trusted, outside.as_ref()).await?;
    let mut view = VerificationView::running(&format!("{key}; {copies}"), verdict.counts.events, 0);
    view.decide(&verdict);
    view.of = view.events;
    Ok(serde_json::to_value(view).unwrap_or_default())
}

/// Verifies a whole export.
///
/// # Errors
/// When it, or the directory of checkpoints, cannot be read.
pub(super) async fn check_export(
    terminal: &Terminal,
    file: &Path,
    trusted: Vec<Trusted>,
    outside: Option<&CheckpointDirectory>,
) -> Result<Verdict, Failure> {
    let mut lines = Lines::open(file)?;
    let mut reader = ExportReader::new(trusted);
    let mut outside = Outside::new(outside.map(|outside| outside as &dyn OutsideCheckpoints));
    let bar = Bar::new(terminal);
    let done = async {
        outside.begin(reader.verifier()).await?;
        while let Some(line) = lines.next().map_err(Broken::File)? {
            if let Item::Header(header) = reader.line(line)? {
                outside.skip(reader.verifier(), header.after.0).await?;
            }
            let header = reader.header().filter(|header| header.stream.is_none());
            if let Some(last) = header.map(|header| header.position) {
                outside.compare(reader.verifier()).await?;
                bar.show(reader.verifier().position().0, last.0);
            }
        }
        reader.finish()?;
        Ok(())
    };
    let ended = done.await;
    let counts = reader.verifier().counts();
    match ended {
        Ok(()) => Ok(Verdict { counts, fault: None }),
        Err(Broken::End(End::Fault(fault))) => Ok(Verdict { counts, fault: Some(*fault) }),
        Err(Broken::End(End::Error(error))) => Err(refused(&error.into())),
        Err(Broken::File(failure)) => Err(failure),
    }
}

/// Why the reading of an export ends before its end.
enum Broken {
    File(Failure),
    End(End),
}

impl<E: Into<End>> From<E> for Broken {
    fn from(end: E) -> Self {
        Self::End(end.into())
    }
}

/// Whom to believe, and what that is worth.
pub(super) fn trusted(
    config: &Config,
    given: Option<&Path>,
) -> Result<(Vec<Trusted>, &'static str), Failure> {
    let (keys, worth) = match given {
        Some(path) => (read_trusted(path).map_err(key_failure)?, "the public key was given"),
        None => match at_rest::trusted(config).map_err(|error| Failure::failed(format!("{error:#}")))? {
            Some((keys, true)) => (
                keys,
                "the trust root lies beside the store: the public key was read from there, and whoever can write there can rewrite history unseen; give it with --public-key",
            ),
            Some((keys, false)) => (keys, "the public key is that of the configured key file"),
            None => (Vec::new(), "no public key is known: give it with --public-key"),
        },
    };
    Ok((keys.into_iter().map(|trusted| (trusted.key, trusted.until)).collect(), worth))
}

pub(super) fn outside(
    config: &Config,
    given: Option<&Path>,
) -> Result<(Option<CheckpointDirectory>, &'static str), Failure> {
    if let Some(path) = given {
        let missing = || Failure::new(Exit::NotFound, format!("there is no directory {}", path.display()));
        let directory = at_rest::directory(path, false).ok_or_else(missing)?;
        return Ok((Some(directory), "compared with the checkpoints of the given directory"));
    }
    let found = at_rest::checkpoints(config);
    let worth = match found.as_ref().map(|found| found.place().beside_store) {
        Some(true) => {
            "the copies of checkpoints lie beside the store too, so that a rollback of both is not seen; give others with --checkpoints"
        }
        Some(false) => "compared with the checkpoints of the configured directory",
        None => {
            "not compared with checkpoints outside the store, so that a rewriting by whoever has the key, or a rollback, is not seen; give them with --checkpoints"
        }
    };
    Ok((found, worth))
}

/// Says what was found; exit 0 only if all is intact.
pub(super) fn report(terminal: &mut Terminal, found: &Value, output: Format) -> Result<(), Failure> {
    let text = |key: &str| printable(found[key].as_str().unwrap_or_default());
    if output == Format::Json {
        terminal.json(found)?;
    }
    match found["state"].as_str() {
        Some("intact") if output == Format::Json => Ok(()),
        Some("intact") => {
            let count = |key| grouped(number(found, key));
            terminal.line(&format!(
                "intact: {} events of {} streams in {} commits",
                count("events"),
                count("streams"),
                count("commits")
            ))?;
            terminal.line(&format!(
                "signed: {} events, by {} checkpoints beside them and {} outside; {} events are not sealed yet",
                count("sealed"),
                count("checkpoints"),
                count("outside_checkpoints"),
                count("unsealed")
            ))?;
            terminal.line(&format!("trust:  {}", text("trust")))
        }
        Some("tampered") => {
            let fault = &found["fault"];
            let said = |key: &str| printable(fault[key].as_str().unwrap_or_default());
            Err(Failure::failed(format!("{}: {}", place(fault), said("detail")))
                .details(vec![format!("trust: {}", text("trust"))])
                .hint(said("cure")))
        }
        _ => Err(Failure::new(Exit::Unavailable, format!("not verified: {}", text("error")))),
    }
}

/// `stream pipeline-orders, version 7, position 1201`, as far as it is known.
fn place(fault: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(stream) = fault["stream"].as_str() {
        parts.push(format!("stream {}", printable(stream)));
    }
    if let Some(version) = fault["version"].as_u64() {
        parts.push(format!("version {version}"));
    }
    match (fault["position"].as_u64(), fault["until"].as_u64()) {
        (Some(from), Some(until)) if until > from => parts.push(format!("positions {from} to {until}")),
        (Some(position), _) => parts.push(format!("position {position}")),
        (None, _) => {}
    }
    if parts.is_empty() { "the log".to_owned() } else { parts.join(", ") }
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

/// How far it has come, on terminals only.
#[derive(Default)]
pub(super) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(super) fn new(terminal: &Terminal) -> Self {
        let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} events {per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(terminal.is_live().then(|| ProgressBar::new(0).with_style(style)))
    }

    pub(super) fn show(&self, position: u64, of: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(of);
            bar.set_position(position);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
