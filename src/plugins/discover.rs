//! The catalog a tap is given: the one of the step, or what the tap itself discovers when only `select` was named.

use flexcore_actors::domain::outcome::{Cause, CauseKind};
use flexcore_actors::ports::plugin_host::ProgramSpec;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::capture::{Captured, Helper, HelperError, capture};
use super::host::Host;
use super::launch::Status;
use super::limits::DISCOVER_TIMEOUT;
use super::program::{Prepared, Refusal};
use super::select::select;
use super::verdict::{cause_of_status, protocol_error};

/// The catalog to pass, if any: a tap that was asked for nothing gets none, since not all taps accept one.
/// `prepared` already has its `--config`.
///
/// # Errors
/// [`Refusal`]
pub async fn catalog(
    host: &Host,
    program: &ProgramSpec,
    prepared: &Prepared,
    stop: &CancellationToken,
) -> Result<Option<Value>, Refusal> {
    let given = program.catalog.clone().filter(|c| c.as_object().is_some_and(|object| !object.is_empty()));
    if program.select.is_empty() {
        return Ok(given);
    }
    let mut catalog = match given {
        Some(catalog) => catalog,
        None => discover(host, prepared, stop).await?,
    };
    select(&mut catalog, &program.select).map_err(|why| Refusal::start_failed(&prepared.plugin, why))?;
    Ok(Some(catalog))
}

async fn discover(host: &Host, prepared: &Prepared, stop: &CancellationToken) -> Result<Value, Refusal> {
    let plugin = &prepared.plugin;
    prepared.log.remark("select without a catalog: asking the tap for one with --discover");
    let max_output = usize::try_from(prepared.limits.output.0).unwrap_or(usize::MAX);
    let helper = Helper {
        argv: prepared.argv.iter().cloned().chain(["--discover".to_owned()]).collect(),
        env: prepared.env.clone(),
        workdir: prepared.workdir.clone(),
        jail: Some(prepared.jail.clone()),
        limits: prepared.limits.clone(),
        timeout: DISCOVER_TIMEOUT,
        max_output,
        log: Some(prepared.log.clone()),
        log_output: false,
    };
    let Captured { status, stdout, .. } =
        capture(&*host.launcher, helper, stop).await.map_err(|error| match error {
            HelperError::Stopped => Refusal::Stopped,
            HelperError::NotStarted(why) => Refusal::start_failed(plugin, why),
            HelperError::TimedOut(_) => Refusal::Cause(
                Cause::new(
                    CauseKind::Timeout,
                    format!("{plugin}: --discover: {error}; give the step a catalog"),
                )
                .with_detail(json!({"plugin": plugin})),
            ),
            HelperError::TooMuch(_) => Refusal::Cause(protocol_error(
                plugin,
                &format!("--discover: {error}; raise limits.output or give the step a catalog"),
                None,
            )),
        })?;
    match (status, serde_json::from_slice::<Value>(&stdout)) {
        (Status::Exit(0), Ok(catalog)) => Ok(catalog),
        (Status::Exit(0), Err(_)) => Err(Refusal::Cause(protocol_error(
            plugin,
            "its --discover printed no JSON catalog; give the step a catalog, or leave out select",
            None,
        ))),
        (status, _) => Err(cause_of_status(plugin, status).map_or(Refusal::Stopped, |mut cause| {
            cause.message = format!("--discover: {}", cause.message);
            Refusal::Cause(cause)
        })),
    }
}
