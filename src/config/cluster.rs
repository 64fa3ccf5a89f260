//! The section `cluster`: all of it, or none. Never in here: what a cluster does.

use flexcore_actors::domain::reader::Object;

use super::{Cluster, Config, Secret};
use crate::peers::MIN_SECRET;
use crate::redis;

/// Reads the section; `config` holds what was read before it.
pub(super) fn read(mut section: Object<'_>, config: &Config) -> Option<Cluster> {
    let url = redis_url(&mut section);
    let secret = secret(&mut section);
    let advertise = advertise(&mut section);
    let there =
        ["redis_url", "secret", "advertise"].map(|key| section.value(key).is_some_and(|v| !v.is_null()));
    if there.contains(&true) {
        if !there[0] {
            section.problem(
                "redis_url",
                "missing: without it the node is alone; remove the other keys or give it",
            );
        }
        if !there[1] {
            section.problem("secret", format!("missing: nodes know each other by it; {CURE}"));
        }
        if config.database_url.is_none() {
            section.problem("redis_url", "nodes of a cluster share a database: give database.url, too");
        }
        if !there[2] && config.grpc_listen.ip().is_unspecified() {
            let listen = config.grpc_listen;
            section.problem("advertise", format!("missing: the others cannot reach this node at {listen}"));
        }
    }
    section.finish();
    Some(Cluster { redis_url: url?, secret: secret?, advertise })
}

const CURE: &str = "make one with: openssl rand -hex 32";

fn redis_url(section: &mut Object<'_>) -> Option<Secret> {
    let url = section.text("redis_url")?;
    // the value may hold a password: what is wrong is said without it
    if let Err(what) = redis::check(url) {
        section.problem("redis_url", format!("{what}: write redis://:password@host:6379/0"));
        return None;
    }
    Some(Secret::new(url))
}

fn secret(section: &mut Object<'_>) -> Option<Secret> {
    let secret = section.text("secret")?;
    if secret.chars().count() < MIN_SECRET {
        section.problem("secret", format!("expected at least {MIN_SECRET} random characters; {CURE}"));
        return None;
    }
    Some(Secret::new(secret))
}

/// A host and a port, as the others resolve it.
fn advertise(section: &mut Object<'_>) -> Option<String> {
    let text = section.text("advertise")?;
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let named = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c));
    if !named || port.parse::<u16>().is_ok_and(|port| port == 0) || port.parse::<u16>().is_err() {
        section.problem(
            "advertise",
            format!(
                "{text:?} is not where others reach this node: write host:port, such as node-1.internal:50051"
            ),
        );
        return None;
    }
    Some(text.to_owned())
}
