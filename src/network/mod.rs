//! Programs' connections to the hosts that they are granted: the daemon's side. A program has a network of its own in
//! which there is nothing but loopback and the launcher's listeners; what connects there is joined here with the real
//! host, after its name was resolved, checked and pinned.
//!
//! Here are sockets, names and addresses. Never in here: plugins, pipelines, what was granted and why, or the launcher's
//! process.

mod account;
mod address;
mod gate;
pub mod limits;
mod plan;
mod received;
mod relay;
mod resolve;
mod route;
mod rules;
mod stub;

pub use account::{Reason, Refusal, Traffic};
pub use gate::Gate;
pub use plan::{Grant, Plan, PlanError};
pub use received::ReceivedError;
pub use resolve::{Resolve, System};
pub use rules::Rules;

use flexcore_jailer::network::NAME_SERVICE;
use gate::Common;
use limits::{NODE_CONNECTIONS, PROGRAM_CONNECTIONS};
use route::{Guide, Pin, Route};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What the programs of a node share. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    guide: Guide,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("rules", &self.guide.rules).finish_non_exhaustive()
    }
}

impl Network {
    /// A network whose names are resolved by `resolver` and may lead where `rules` let them.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, rules: Rules) -> Self {
        let guide = Guide { resolver, rules: Arc::new(rules) };
        Self { guide, places: Arc::new(Semaphore::new(NODE_CONNECTIONS)) }
    }

    /// Opens the way for a program: `sockets` are what its launcher passed for this plan, a listener for each connection and
    /// then the name service's. Must be called within a runtime.
    ///
    /// # Errors
    /// [`ReceivedError`]: they are not what they should be. All are closed then.
    pub fn open(&self, plan: &Plan, sockets: Vec<OwnedFd>) -> Result<Gate, ReceivedError> {
        for (n, socket) in sockets.iter().enumerate() {
            if !received::is_foreign(socket)? {
                let at = plan.targets.get(n).map_or(NAME_SERVICE, |(connection, _)| connection.inner());
                return Err(ReceivedError::NotForeign(at));
            }
        }
        let (received, expected) = (sockets.len(), plan.targets.len() + 1);
        if received != expected {
            return Err(ReceivedError::Number { received, expected });
        }
        let mut sockets = sockets.into_iter();
        let listeners = plan.targets.iter().zip(sockets.by_ref());
        let listeners = listeners
            .map(|((connection, _), socket)| {
                let listener = received::listener(socket, connection.inner())?;
                Ok(TcpListener::from_std(listener)?)
            })
            .collect::<Result<Vec<_>, ReceivedError>>()?;
        let names = match sockets.next() {
            Some(socket) => Some((UdpSocket::from_std(received::name_service(socket)?)?, plan.names())),
            None => None,
        };
        Ok(self.join(plan, listeners, names))
    }

    /// The same with sockets of any network.
    fn join(
        &self,
        plan: &Plan,
        listeners: Vec<TcpListener>,
        names: Option<(UdpSocket, BTreeMap<String, std::net::IpAddr>)>,
    ) -> Gate {
        let common = Common {
            closing: CancellationToken::new(),
            account: Arc::default(),
            places: [Arc::new(Semaphore::new(PROGRAM_CONNECTIONS)), Arc::clone(&self.places)],
        };
        let mut pins: BTreeMap<&str, Pin> = BTreeMap::new();
        let routes = plan.targets.iter().map(|(connection, destination)| Route {
            host: connection.host.clone(),
            port: connection.port,
            destination: destination.clone(),
            pin: Arc::clone(pins.entry(&connection.host).or_default()),
            guide: self.guide.clone(),
        });
        Gate::open(listeners.into_iter().zip(routes).collect(), names, common)
    }
}

#[cfg(test)]
mod tests;
