//! Stand-in for the composition of a node, until the parts are put together: it says so and starts nothing.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;

/// A running node.
pub struct Node {
    http_address: SocketAddr,
}

/// Starts a node.
///
/// # Errors
/// Always, in this stand-in.
pub async fn start(config: &Config) -> anyhow::Result<Node> {
    anyhow::bail!(
        "the parts of a node are not put together in this build (data directory {})",
        config.data_dir.display()
    )
}

impl Node {
    /// Where it listens.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Returns when another node has taken over.
    pub async fn superseded(&self) {
        std::future::pending().await
    }

    /// Ends it in an orderly way.
    pub async fn shutdown(self, _grace: Duration) {}
}
