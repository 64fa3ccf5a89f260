//! Follows an execution to its end by asking for it again and again, across restarts of the node. Never in here:
//! how progress looks.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::client::{Client, escaped};
use super::failure::{Exit, Failure};
use super::output::Terminal;
use super::progress::Progress;
use super::wire::Execution;

/// Between two looks.
const POLL: Duration = Duration::from_millis(300);
/// How long the node may be away before following is given up; the execution goes on without us.
const AWAY: Duration = Duration::from_secs(120);

/// Follows execution `id` until it has ended; the answer is its last view.
///
/// # Errors
/// When it is left by Ctrl-C, the node stays away, or refuses.
pub async fn follow(client: &Client, id: &str, terminal: &mut Terminal) -> Result<Value, Failure> {
    let mut progress = Progress::new(terminal.is_live());
    let followed = tokio::select! {
        ended = until_ended(client, id, terminal, &mut progress) => ended,
        _ = tokio::signal::ctrl_c() => Err(detached(id)),
    };
    progress.finish(terminal);
    followed
}

async fn until_ended(
    client: &Client,
    id: &str,
    terminal: &mut Terminal,
    progress: &mut Progress,
) -> Result<Value, Failure> {
    let path = format!("/executions/{}", escaped(id));
    let mut away_since: Option<Instant> = None;
    loop {
        match client.get(&path).await {
            Ok(value) => {
                if away_since.take().is_some() {
                    progress.note(terminal, "the node is back");
                }
                let execution = Execution::from_json(&value);
                progress.show(terminal, &execution);
                if execution.has_ended() {
                    return Ok(value);
                }
            }
            Err(error) if error.is_transient() => {
                let since = *away_since.get_or_insert_with(|| {
                    progress
                        .note(terminal, "the node is away; the execution goes on when it is back, waiting");
                    Instant::now()
                });
                if since.elapsed() > AWAY {
                    return Err(Failure::from(error).hint(format!(
                        "the node was away for {} s; once it is back look with: flexcore executions show {id}",
                        AWAY.as_secs()
                    )));
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(POLL).await;
    }
}

fn detached(id: &str) -> Failure {
    Failure::new(Exit::Interrupted, format!("left execution {id}: it goes on")).hint(format!(
        "follow it with: flexcore executions logs -f {id}, end it with: flexcore executions cancel {id}"
    ))
}
