//! Where names may lead on this node. Never in here: what is granted; an address that is granted as such is no name.

use super::address::forbidden;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// What the node knows beyond the addresses that are forbidden everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// FlexCore's own listeners: a program must not command the node that runs it.
    pub own: Vec<SocketAddr>,
    /// Addresses that names may lead to though they are forbidden otherwise.
    pub permitted: Vec<IpAddr>,
}

impl Rules {
    /// What is wrong with a name that leads to this address.
    pub(super) fn objection(&self, address: SocketAddr) -> Option<&'static str> {
        if self.is_own(address) {
            return Some("flexcore's own listener");
        }
        let ip = address.ip();
        if self.permitted.contains(&ip) { None } else { forbidden(ip) }
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let mut same_port = self.own.iter().filter(|own| own.port() == address.port());
        same_port.any(|own| own.ip() == ip || (own.ip().is_unspecified() && is_this_host(ip)))
    }
}

/// Whether an address is one of this host's: only those can be bound. What cannot be asked counts as one.
fn is_this_host(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).err().is_none_or(|error| error.kind() != ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::Rules;

    #[test]
    fn a_permission_is_for_one_address_and_never_for_our_own_listeners() {
        let rules = Rules {
            own: vec!["127.0.0.1:8080".parse().unwrap(), "0.0.0.0:9090".parse().unwrap()],
            permitted: vec!["127.0.0.1".parse().unwrap()],
        };
        let objection = |address: &str| rules.objection(address.parse().unwrap());
        assert_eq!(objection("127.0.0.1:5432"), None);
        assert_eq!(objection("10.0.0.1:8080"), None);
        assert_eq!(objection("192.0.2.1:9090"), None, "not this host's");
        assert_eq!(objection("127.0.0.1:8080"), Some("flexcore's own listener"));
        assert_eq!(objection("127.0.0.1:9090"), Some("flexcore's own listener"));
        assert_eq!(objection("[::ffff:127.0.0.1]:8080"), Some("flexcore's own listener"));
        assert_eq!(objection("127.0.0.2:5432"), Some("loopback"));
        assert_eq!(objection("[::ffff:127.0.0.1]:5432"), Some("loopback"));
    }
}
