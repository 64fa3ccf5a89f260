//! `demo`: the whole product in one story that anyone can repeat. A node of its own, a real data set, a program that
//! is killed half-way, and the count that shows that nothing is missing. Everything goes through the node's HTTP
//! interface, as it would for any other program. Never in here: a shortcut past that interface.

mod home;
mod proof;
mod story;

use std::time::{Duration, Instant};

use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::config::Config;
use crate::{compose, telemetry};

use super::args::DemoArgs;
use super::client::Client;
use super::failure::{Exit, Failure};
use super::human::{between, bytes, field, grouped, span};
use super::lists::items;
use super::output::Terminal;
use super::serve::{StopSignals, drained};
use super::wire::{Attempt, Execution};

use home::{Home, PIPELINE, STREAM, TAP, TARGET};
use story::Story;

/// Between two looks while the story runs.
const POLL: Duration = Duration::from_millis(50);
/// How long any part of the story may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells the story; without `--exit` the node goes on until it is stopped.
///
/// # Errors
/// When any part does not happen as told, and then the data is kept to be looked at.
pub async fn demo(terminal: &mut Terminal, args: DemoArgs) -> Result<(), Failure> {
    let mut story = Story::new(terminal);
    let home = Home::make(args.data_dir.as_deref())?;
    let config = demo_config(&args, &home)?;
    telemetry::init(&config.log, config.log_format).map_err(Failure::usage)?;
    let mut stop = StopSignals::listen()?;
    story.title("FlexCore demo: a program is killed in the middle of a run, and nothing is lost")?;
    let began = Instant::now();
    let node = match compose::start(&config).await {
        Ok(node) => node,
        Err(error) => {
            home.remove()?;
            return Err(Failure::failed(format!("cannot start the node: {error:#}")));
        }
    };
    let address = format!("http://{}", node.http_address());
    story.tell("node", &format!("runs on {address}, started in {}", elapsed(began)))?;
    let told = tokio::select! {
        told = tell(&mut story, &home, &address) => told,
        () = stop.next() => Err(Failure::new(Exit::Interrupted, "the demo was interrupted")),
    };
    if told.is_ok() {
        story.tell("done", &format!("the whole story took {}", elapsed(began)))?;
        if !args.exit {
            story.aside(&[
                &format!("The node goes on at {address}. In another shell:"),
                &format!("  export FLEXCORE_SERVER={address}"),
                "  flexcore pipelines list",
                "  flexcore executions list",
                "  flexcore events",
                "Ctrl-C ends it.",
            ])?;
            stop.next().await;
        }
    }
    story.finish();
    let ended = drained(node.shutdown(config.shutdown_grace), config.shutdown_grace, &mut stop).await;
    match told.and(ended) {
        Ok(()) => home.remove(),
        Err(failure) => {
            let kept = format!("the demo's data is kept in {}", home.path().display());
            Err(if failure.hint.is_none() { failure.hint(kept) } else { failure })
        }
    }
}

fn demo_config(args: &DemoArgs, home: &Home) -> Result<Config, Failure> {
    let http_listen = args.http_listen.parse().map_err(|_| {
        Failure::usage(format!("--http-listen {:?} is not an address such as 127.0.0.1:0", args.http_listen))
    })?;
    // neither the environment nor a file: the demo is the same everywhere and touches no real store
    Ok(Config { data_dir: home.node_dir(), http_listen, log: args.log.clone(), ..Config::default() })
}

async fn tell(story: &mut Story<'_>, home: &Home, address: &str) -> Result<(), Failure> {
    let client = Client::new(address, None)?;
    let rows = set_up(story, home, &client).await?;
    let answer =
        client.send(Method::POST, &format!("/pipelines/{PIPELINE}/execute"), Some(&json!({}))).await?;
    let id = field(&answer, "/execution_id");
    story.tell("run", &format!("execution {id} started"))?;
    let killed = kill_the_tap(story, &client, &id).await?;
    let execution = watch(story, &client, &id, "the execution to end", Execution::has_ended).await?;
    report_attempts(story, &execution, killed)?;
    if execution.status != "completed" {
        let cause = execution.cause.map_or_else(String::new, |cause| format!(": {cause}"));
        return Err(Failure::failed(format!("the execution ended as {}{cause}", execution.status)));
    }
    proof::compare(story, home, rows)?;
    proof::events(story, &client).await?;
    proof::integrity(story, &client).await
}

/// Data set, plugins and pipeline; the answer is how many rows the data set has.
async fn set_up(story: &mut Story<'_>, home: &Home, client: &Client) -> Result<usize, Failure> {
    let rows = home.write_data_set()?;
    let told =
        format!("{} days of weather in Seattle (NOAA, public domain), a CSV file", grouped(rows as u64));
    story.tell("data set", &told)?;
    for (name, manifest) in home.manifests() {
        client.send(Method::POST, "/plugins", Some(&manifest)).await?;
        story.tell("plugin", &format!("{name} registered and enabled"))?;
    }
    client.send(Method::POST, "/pipelines", Some(&home.pipeline())).await?;
    client.send(Method::POST, &format!("/pipelines/{PIPELINE}/activate"), None).await?;
    story.tell(
        "pipeline",
        &format!("{PIPELINE} activated: {TAP} | {TARGET}, slowed down so that you can watch"),
    )?;
    Ok(rows)
}

/// Waits for the first durable bookmark and kills the tap right after it.
async fn kill_the_tap(story: &mut Story<'_>, client: &Client, id: &str) -> Result<Instant, Failure> {
    let running =
        watch(story, client, id, "the programs to start", |execution| pids(execution).len() == 2).await?;
    let pids = pids(&running);
    story.tell("programs", &format!("{TAP} has pid {}, {TARGET} has pid {}", pids[0], pids[1]))?;
    let state = first_bookmark(story, client, id).await?;
    story.tell("bookmark", &format!("stored: {}", describe_bookmark(&state)))?;
    kill(Pid::from_raw(pids[0]), Signal::SIGKILL)
        .map_err(|error| Failure::failed(format!("cannot kill {TAP} (pid {}): {error}", pids[0])))?;
    let killed = Instant::now();
    story.tell("kill -9", &format!("{TAP} (pid {}) is killed in the middle of its work", pids[0]))?;
    let failed = |execution: &Execution| attempt(execution, 1).is_some_and(|first| first.ended_at.is_some());
    let execution = watch(story, client, id, "the first attempt to end", failed).await?;
    let cause = attempt(&execution, 1).and_then(|first| first.cause.clone());
    let Some(cause) = cause else {
        return Err(Failure::failed("the tap ended before it could be killed: the demo shows nothing"));
    };
    story.tell("attempt 1", &format!("failed, {cause}"))?;
    let again = |execution: &Execution| attempt(execution, 2).is_some();
    watch(story, client, id, "the second attempt", again).await?;
    story.tell(
        "attempt 2",
        &format!("started by the supervisor from that bookmark, {} after the kill", elapsed(killed)),
    )?;
    Ok(killed)
}

async fn first_bookmark(story: &mut Story<'_>, client: &Client, id: &str) -> Result<Value, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let bookmarks = client.get(&format!("/pipelines/{PIPELINE}/bookmarks")).await?;
        if let Some(bookmark) = items(&bookmarks).first() {
            return Ok(bookmark["state"].clone());
        }
        let execution = look(story, client, id).await?;
        if execution.has_ended() || Instant::now() > deadline {
            return Err(Failure::failed("no bookmark was stored while the tap ran"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Looks at the execution until `until` holds or it has ended.
async fn watch(
    story: &mut Story<'_>,
    client: &Client,
    id: &str,
    what: &str,
    until: impl Fn(&Execution) -> bool,
) -> Result<Execution, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let execution = look(story, client, id).await?;
        if until(&execution) {
            return Ok(execution);
        }
        if execution.has_ended() {
            let cause = execution.cause.map_or_else(String::new, |cause| format!(" ({cause})"));
            return Err(Failure::failed(format!(
                "waited for {what}, but the execution is {}{cause}",
                execution.status
            )));
        }
        if Instant::now() > deadline {
            return Err(Failure::failed(format!("waited {} s for {what}", PATIENCE.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn look(story: &mut Story<'_>, client: &Client, id: &str) -> Result<Execution, Failure> {
    let execution = Execution::from_json(&client.get(&format!("/executions/{id}")).await?);
    story.progress(&execution);
    Ok(execution)
}

fn report_attempts(story: &mut Story<'_>, execution: &Execution, killed: Instant) -> Result<(), Failure> {
    story.still();
    let after = elapsed(killed);
    for attempt in execution.steps.iter().flat_map(|step| &step.attempts).filter(|attempt| attempt.number > 1)
    {
        let end = attempt.ended_at.as_deref().and_then(|end| end.parse().ok());
        let took = end.and_then(|end| between(&attempt.started_at, end)).unwrap_or(0);
        let records = grouped(attempt.records_seen().unwrap_or(0));
        let told =
            format!("{}: {records} records, {} in {}", attempt.status, bytes(attempt.bytes), span(took));
        story.tell(&format!("attempt {}", attempt.number), &told)?;
    }
    story.tell("run", &format!("{}, {after} after the kill", execution.status))
}

fn attempt(execution: &Execution, number: u32) -> Option<&Attempt> {
    execution.steps.first()?.attempts.iter().find(|attempt| attempt.number == number)
}

/// Process ids of the first attempt's programs, in the order of the pipe.
fn pids(execution: &Execution) -> Vec<i32> {
    let programs = attempt(execution, 1).map(|first| first.programs.as_slice()).unwrap_or_default();
    programs.iter().filter_map(|program| program.pid).filter(|pid| *pid > 1).collect()
}

/// The tap's bookmark in words.
fn describe_bookmark(state: &Value) -> String {
    match state.pointer(&format!("/bookmarks/{STREAM}")).and_then(line_of) {
        Some(line) => format!("everything up to line {} of the file is safe in the target", grouped(line)),
        None => "what the target has made durable is known".to_owned(),
    }
}

fn line_of(state: &Value) -> Option<u64> {
    match state {
        Value::Object(fields) => {
            fields.get("line").and_then(Value::as_u64).or_else(|| fields.values().find_map(line_of))
        }
        _ => None,
    }
}

fn elapsed(since: Instant) -> String {
    let elapsed = since.elapsed();
    if elapsed < Duration::from_secs(1) {
        format!("{} ms", elapsed.as_millis())
    } else {
        format!("{:.1} s", elapsed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
