//! What programs reach, between those who know it: from granted pairs to a plan, and from the account of a gate to what is
//! recorded. A part of composing, and nothing but conversions in it.

use std::net::SocketAddr;
use std::sync::Arc;

use flexcore_actors::domain::outcome::{NetworkUse, Unreached};
use flexcore_actors::domain::plugin::host_port;

use crate::network::{Grant, Network, Plan, Refusal, Rules, System, Traffic};

/// The network of a node's programs; `own` are the node's listeners.
pub(super) fn of_node(own: Vec<SocketAddr>) -> Network {
    Network::new(Arc::new(System::default()), Rules { own, ..Rules::default() })
}

/// The plan of what a manifest was granted.
///
/// # Errors
/// A person's sentence.
pub(super) fn plan(connect: &[String]) -> Result<Plan, String> {
    let grants = connect.iter().map(|pair| host_port(pair).map(|(host, port)| Grant { host, port }));
    let wrong = |why: String| format!("capabilities.connect cannot be had: {why}");
    let grants = grants.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    Plan::new(&grants).map_err(|error| wrong(error.to_string()))
}

/// What is recorded of a program's traffic; nothing if there was none.
pub(super) fn used(traffic: Traffic) -> Option<NetworkUse> {
    if traffic == Traffic::default() {
        return None;
    }
    let Traffic { connections, sent_bytes, received_bytes, refusals, more_refusals } = traffic;
    let (denials, failures): (Vec<Refusal>, Vec<Refusal>) =
        refusals.into_iter().partition(|refusal| refusal.reason.is_denial());
    let list = |refusals: Vec<Refusal>| refusals.into_iter().map(Unreached::from).collect();
    Some(NetworkUse {
        connections,
        sent_bytes,
        received_bytes,
        denials: list(denials),
        failures: list(failures),
        unlisted: more_refusals,
    })
}

impl From<Refusal> for Unreached {
    fn from(Refusal { host, port, reason, times }: Refusal) -> Self {
        Self { host, port, reason: reason.to_string(), times }
    }
}
