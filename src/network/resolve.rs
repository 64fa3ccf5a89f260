//! From names to addresses, by the system or by whatever a test puts in its place. Never in here: which addresses are
//! acceptable.

use super::limits::RESOLUTIONS;
use flexcore_actors::ports::BoxFuture;
use futures::FutureExt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Finds the addresses of a host, in the order in which they should be tried.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`.
    ///
    /// # Errors
    /// When the name is unknown or nobody answers.
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver, outside the sandbox: `/etc/hosts`, DNS, and whatever else the host is configured for.
#[derive(Debug, Clone)]
pub struct System(Arc<Semaphore>);

impl Default for System {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(RESOLUTIONS)))
    }
}

impl Resolve for System {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let (turns, host) = (Arc::clone(&self.0), host.to_owned());
        async move {
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            let asked = tokio::task::spawn_blocking(move || {
                // held until the system has answered, though nobody may wait any more
                let _turn = turn;
                Ok((host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            });
            asked.await.map_err(io::Error::other)?
        }
        .boxed()
    }
}
