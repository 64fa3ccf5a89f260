//! What a program may connect to, as the policy says it. Never in here: sockets.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Most connections of one policy: the kernel passes at most 253 descriptors at a time, and one is the name service's.
pub const MOST_CONNECTIONS: usize = 252;

/// A host and port that the program may connect to, and the address that stands for it in the program's own network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The name that the program knows it by, or an address as text.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The address inside, which only the program's own loopback has.
    pub address: IpAddr,
}

impl Connection {
    /// The address and port that the program connects to.
    #[must_use]
    pub const fn inner(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}
