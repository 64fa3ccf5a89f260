//! `projections`: the read models that lists come from; how far they have come, and building them anew. Never in here:
//! what is in them.

use std::time::{Duration, Instant};

use http::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::args_resources::{OutputArgs, ProjectionsCommand, RebuildArgs};
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::{field, grouped};
use super::lists::items;
use super::output::{Format, Terminal};
use super::subscriptions::parked;
use super::table::Table;

/// Between two looks at a rebuild.
const POLL: Duration = Duration::from_millis(200);
/// Plain lines about a rebuild that only moves on come at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// Does a `projections` command.
///
/// # Errors
/// What the node refuses.
pub async fn projections(
    client: &Client,
    terminal: &mut Terminal,
    command: ProjectionsCommand,
) -> Result<(), Failure> {
    match command {
        ProjectionsCommand::List(args) => list(client, terminal, args).await,
        ProjectionsCommand::Parked { name, list } => {
            parked(client, terminal, &format!("/projections/{}/parked", escaped(&name)), &list).await
        }
        ProjectionsCommand::Rebuild(args) => rebuild(client, terminal, args).await,
    }
}

async fn list(client: &Client, terminal: &mut Terminal, args: OutputArgs) -> Result<(), Failure> {
    let answer = client.get("/projections").await?;
    if args.output == Format::Json {
        return terminal.json(&answer);
    }
    let mut table = Table::new(&["NAME", "STATUS", ">POSITION", ">LAG", ">LAG MS", ">GENERATION", ">PARKED"]);
    for item in items(&answer) {
        table.row([
            field(item, "/name"),
            field(item, "/status"),
            field(item, "/position"),
            field(item, "/lag"),
            field(item, "/lag_ms"),
            field(item, "/generation"),
            field(item, "/parked"),
        ]);
    }
    terminal.table(&table)
}

/// Lists go on showing what they show; this waits until the new rows have taken their place.
async fn rebuild(client: &Client, terminal: &mut Terminal, args: RebuildArgs) -> Result<(), Failure> {
    let names = match args.name {
        Some(name) => vec![name],
        None => items(&client.get("/projections").await?).iter().map(|item| field(item, "/name")).collect(),
    };
    let bars = terminal.is_live().then(MultiProgress::new);
    let mut open = Vec::new();
    for name in names {
        let begun =
            client.send(Method::POST, &format!("/projections/{}/rebuild", escaped(&name)), None).await?;
        let replaced = begun["generation"].as_u64().unwrap_or_default();
        let bar = bars.as_ref().map(|bars| new_bar(bars, &name));
        open.push(Rebuild { name, replaced, bar, told: None });
    }
    while !args.no_wait && !open.is_empty() {
        let answer = client.get("/projections").await?;
        let mut going_on = Vec::new();
        for mut rebuild in open {
            let found = items(&answer).iter().find(|item| field(item, "/name") == rebuild.name);
            match found.filter(|item| item["generation"].as_u64() <= Some(rebuild.replaced)) {
                Some(item) => {
                    rebuild.show(terminal, item);
                    going_on.push(rebuild);
                }
                None => {
                    if let Some(bar) = &rebuild.bar {
                        bar.finish_and_clear();
                    }
                    terminal.line(&format!("{} is rebuilt", rebuild.name))?;
                }
            }
        }
        open = going_on;
        if !open.is_empty() {
            tokio::time::sleep(POLL).await;
        }
    }
    for rebuild in open {
        terminal.line(&format!("{} is being rebuilt", rebuild.name))?;
    }
    Ok(())
}

/// A rebuild that is watched.
struct Rebuild {
    name: String,
    /// The generation that lists showed when it began.
    replaced: u64,
    bar: Option<ProgressBar>,
    told: Option<Instant>,
}

impl Rebuild {
    fn show(&mut self, terminal: &mut Terminal, item: &Value) {
        let position = item["rebuild"]["position"].as_u64().unwrap_or_default();
        let target = item["rebuild"]["target"].as_u64().unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.set_length(target);
            bar.set_position(position);
        } else if self.told.is_none_or(|told| told.elapsed() >= PLAIN_EVERY) {
            self.told = Some(Instant::now());
            let percent = (position * 100).checked_div(target).unwrap_or(100);
            let (done, all) = (grouped(position), grouped(target));
            terminal.note(&format!("{}: {done} of {all} events ({percent} %)", self.name));
        }
    }
}

fn new_bar(bars: &MultiProgress, name: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(0));
    let template = "{prefix:<12} {bar:30} {percent:>3} %  {human_pos} of {human_len} events  {eta}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(name.to_owned());
    bar
}
