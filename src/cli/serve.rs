//! `serve`: a node from its configuration to its last breath. Never in here: what a node is made of; `compose`
//! knows that.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{compose, telemetry};

use super::args::ServeArgs;
use super::check::load_config;
use super::failure::Failure;
use super::output::Terminal;

/// How much longer than its grace a node may take to stop before it is left as it is: its work is durable.
const STOP_MARGIN: Duration = Duration::from_secs(2);

/// Runs a node until SIGTERM or SIGINT; it then drains. A second signal ends it at once.
///
/// # Errors
/// A wrong configuration, why the node cannot start or stop, or that another one has taken over.
pub async fn serve(terminal: &mut Terminal, args: ServeArgs) -> Result<(), Failure> {
    let loaded = load_config(args.config.config.as_deref(), &args.config.flags())?;
    let config = loaded.config;
    telemetry::init(&config.log, config.log_format).map_err(Failure::usage)?;
    for warning in loaded.warnings {
        tracing::warn!("{warning}");
    }
    // before the start, so that a signal during a long start is not lost
    let mut stop = StopSignals::listen()?;
    let starting = compose::start(&config);
    let node = tokio::select! {
        node = starting => node.map_err(|error| Failure::failed(format!("cannot start the node: {error:#}")))?,
        () = stop.next() => return Ok(()),
    };
    terminal.note(&format!(
        "flexcore {} listens on http://{}",
        env!("CARGO_PKG_VERSION"),
        node.http_address()
    ));
    let loss = tokio::select! {
        () = stop.next() => None,
        loss = node.lost() => Some(loss),
    };
    if let Some(loss) = loss {
        // nothing can be recorded any more: what runs is killed, and whoever took over goes on with it
        drained(node.shutdown(Duration::ZERO), Duration::ZERO, &mut stop).await?;
        return Err(Failure::failed(loss.to_string()));
    }
    tracing::info!(grace_s = config.shutdown_grace.as_secs(), "stopping; a second signal ends at once");
    drained(node.shutdown(config.shutdown_grace), config.shutdown_grace, &mut stop).await
}

/// Waits for the end of a node that stops.
pub(super) async fn drained(
    shutdown: impl Future<Output = ()>,
    grace: Duration,
    stop: &mut StopSignals,
) -> Result<(), Failure> {
    tokio::select! {
        ended = tokio::time::timeout(grace + STOP_MARGIN, shutdown) => {
            if ended.is_err() {
                tracing::warn!("not everything ended within the grace; it goes on at the next start");
            }
            Ok(())
        }
        () = stop.next() => Err(Failure::failed("stopped at once by a second signal; open executions go on at the next start")),
    }
}

/// SIGTERM and SIGINT.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
