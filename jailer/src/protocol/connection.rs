//! What a program may connect to, as the policy says it. Never in here: sockets.

use super::PolicyError;
use crate::limits::ATTACHED;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Most connections of one policy: their listeners go out beside one message, with the name service's socket.
pub const MOST_CONNECTIONS: usize = ATTACHED - 1;

/// Longest name of a host, bytes.
const HOST_BYTES: usize = 253;

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

    /// Checks what serialisation cannot: a host becomes a word of `/etc/hosts`.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let is_word = (1..=HOST_BYTES).contains(&self.host.len()) && self.host.bytes().all(plain);
        let shown = || self.host.escape_default().take(HOST_BYTES).collect();
        if is_word { Ok(()) } else { Err(PolicyError::Host { host: shown() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::Connection;

    #[test]
    fn a_host_is_one_word() {
        let check = |host: &str| {
            Connection { host: host.to_owned(), port: 1, address: [127, 1, 0, 1].into() }.check()
        };
        for host in ["db.internal", "_x-1", "10.0.0.1", "2001:db8::1"] {
            check(host).unwrap();
        }
        for host in ["", "a b", "a\n127.0.0.1 b", "a#", &"x".repeat(254)] {
            check(host).unwrap_err();
        }
    }
}
