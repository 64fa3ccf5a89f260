//! From a database's URL to the settings of the two kinds of connections, every wait bounded. The URL may hold a
//! password: it is never part of a message.

use std::time::Duration;

use flexcore_actors::ports::event_store::StoreError;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::error;

/// How long a connection may take to be made, all hosts and the authentication included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an append may run in the database before it is rolled back.
pub(super) const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an append waits for the lock of the log's head or of a shard.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a renewal of a lease may run in the database: one that takes longer is of no use.
pub(super) const RENEW_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a read may run in the database.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// What an answer may take longer than the database's own bound before its connection is given up.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(10);
/// How long sent data may stay unacknowledged before the connection counts as dead.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Reads the URL.
pub(super) fn parse(url: &str) -> Result<Config, StoreError> {
    const OPERATION: &str = "read the database's url";
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(error::refused(OPERATION, "it begins with neither postgres:// nor postgresql://"));
    }
    if url.contains("sslmode=verify-") {
        return Err(error::refused(OPERATION, NO_TLS));
    }
    // the parser's own messages name options and byte offsets, never values
    url.parse().map_err(|source| StoreError::Failed { operation: OPERATION, source: Box::new(source) })
}

const NO_TLS: &str =
    "tls to the database is not supported yet: use sslmode=prefer or disable on a trusted network";

/// What both kinds of connections share.
pub(super) fn common(mut config: Config) -> Result<Config, StoreError> {
    if config.get_ssl_mode() == SslMode::Require {
        return Err(error::refused("connect to the database", NO_TLS));
    }
    if config.get_application_name().is_none() {
        config.application_name("flexcore");
    }
    config
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(UNACKNOWLEDGED)
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        // a standby answers reads that miss what was acknowledged, and refuses appends
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    Ok(config)
}

/// What connections share that never write: any server will do, and it keeps them to it.
pub(super) fn read_only(config: Config) -> Result<Config, StoreError> {
    let mut config = with_options(&common(config)?, &[("default_transaction_read_only", "on")]);
    config.target_session_attrs(TargetSessionAttrs::Any);
    Ok(config)
}

/// Settings of reading connections.
pub(super) fn reader(config: &Config) -> Config {
    with_options(config, &[("statement_timeout", &millis(READ_TIMEOUT))])
}

/// Settings of the connection that renews the node's lease. What it stores is of no use after a crash of the server.
pub(super) fn leases(config: &Config) -> Config {
    let timeout = millis(RENEW_TIMEOUT);
    let mut config = with_options(config, &[("statement_timeout", &timeout), ("synchronous_commit", "off")]);
    config.connect_timeout(RENEW_TIMEOUT);
    config
}

/// Settings of connections that lists are read on. A list's statement is planned for the values it has: a plan for any
/// values might sort a whole table.
pub(super) fn lists(config: &Config) -> Config {
    let options = [
        ("statement_timeout", &*millis(READ_TIMEOUT)),
        ("plan_cache_mode", "force_custom_plan"),
        ("jit", "off"),
    ];
    with_options(config, &options)
}

/// Settings of connections that projectors use. What they store can be derived again: a commit that a crash of the
/// server takes back takes its position back too. Their tables grow from nothing faster than statistics are made of
/// them, so plans are as the [`writer`]'s.
pub(super) fn projector(config: &Config) -> Config {
    let (statement, lock) = (millis(READ_TIMEOUT), millis(LOCK_TIMEOUT));
    with_options(
        config,
        &[
            ("statement_timeout", &statement),
            ("lock_timeout", &lock),
            ("default_transaction_isolation", "read\\ committed"),
            ("synchronous_commit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
        ],
    )
}

/// Settings of the writing connection. Its statements join arrays with tables by primary key: the planner, which
/// does not know how long the arrays are, is kept from plans that were good when the tables were small.
pub(super) fn writer(config: &Config) -> Config {
    let (statement, lock) = (millis(APPEND_TIMEOUT), millis(LOCK_TIMEOUT));
    with_options(
        config,
        &[
            ("statement_timeout", &statement),
            ("lock_timeout", &lock),
            ("default_transaction_isolation", "read\\ committed"),
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
        ],
    )
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Adds options to those of the URL; the later of two counts.
fn with_options(config: &Config, options: &[(&str, &str)]) -> Config {
    let mut text = config.get_options().unwrap_or_default().to_owned();
    for (name, value) in options {
        text.push_str(&format!(" -c {name}={value}"));
    }
    let mut config = config.clone();
    config.options(text);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        let error = parse(url).and_then(common).unwrap_err();
        assert!(!error.retryable());
        format!("{error:?}")
    }

    #[test]
    fn a_refused_url_says_why_and_never_the_password() {
        for (url, why) in [
            ("mysql://ada:hunter2@host/db", "neither postgres://"),
            ("postgres://ada:hunter2@host/db?sslmode=require", "tls to the database"),
            ("postgres://ada:hunter2@host/db?sslmode=verify-full", "tls to the database"),
            ("postgres://ada:hunter2@host/db?colour=red", "colour"),
            ("postgres://ada:hunter2@host:hunter2/db", "port"),
        ] {
            let message = refusal(url);
            assert!(message.contains(why) && !message.contains("hunter2"), "{url}: {message}");
        }
    }

    #[test]
    fn options_of_the_url_are_kept() {
        let config = common(parse("postgres://host/db?options=-c%20work_mem%3D1MB").unwrap()).unwrap();
        let options = writer(&config).get_options().unwrap().to_owned();
        assert!(options.starts_with("-c work_mem=1MB -c statement_timeout=10000"), "{options}");
    }
}
