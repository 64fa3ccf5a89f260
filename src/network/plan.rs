//! From what is granted to the addresses that stand for it inside. Pure. Never in here: a socket, or a name's real address.

use super::limits::MOST_TARGETS;
use flexcore_jailer::network::names::LOCALHOST;
use flexcore_jailer::protocol::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names get addresses from here on, in the order in which they are granted.
const FIRST_NAME: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

/// A host and a port that a program may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// A name in lower case, or an address as text.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why grants cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More than a launcher can listen for.
    #[error("{0} hosts and ports are too many to connect to: at most {MOST_TARGETS}")]
    TooMany(usize),
    /// An address that nothing can connect to by itself.
    #[error("{address} is {what}: name another address, or the host's name")]
    Unreachable {
        /// The address.
        address: IpAddr,
        /// Why not.
        what: &'static str,
    },
}

/// Where a granted connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// The granted address itself, whatever it is; the second is for `localhost` alone.
    Literal(Vec<IpAddr>),
    /// Whatever the name resolves to, within the rules.
    Name,
}

/// Every connection of one program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub(super) targets: Vec<(Connection, Destination)>,
}

impl Plan {
    /// Gives each host its address inside: a name one of its own, an address itself. What is the same address and port
    /// inside is one connection.
    ///
    /// # Errors
    /// [`PlanError`]
    pub fn new(grants: &[Grant]) -> Result<Self, PlanError> {
        let literals: BTreeSet<IpAddr> =
            grants.iter().filter_map(|grant| literal(&grant.host)).flatten().collect();
        let mut free = (u32::from(FIRST_NAME)..).map(Ipv4Addr::from).map(IpAddr::V4);
        let mut names: BTreeMap<&str, IpAddr> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        let mut targets = Vec::new();
        for Grant { host, port } in grants {
            let (address, destination) = match literal(host) {
                Some(addresses) => {
                    let address = addresses[0];
                    if let Some(what) = unreachable(address) {
                        return Err(PlanError::Unreachable { address, what });
                    }
                    (address, Destination::Literal(addresses))
                }
                None => {
                    let known = names.get(host.as_str()).copied();
                    let address = known.or_else(|| free.find(|address| !literals.contains(address)));
                    let address = address.ok_or(PlanError::TooMany(grants.len()))?;
                    names.insert(host, address);
                    (address, Destination::Name)
                }
            };
            if taken.insert((address, *port)) {
                targets.push((Connection { host: host.clone(), port: *port, address }, destination));
            }
        }
        if targets.len() > MOST_TARGETS {
            return Err(PlanError::TooMany(targets.len()));
        }
        Ok(Self { targets })
    }

    /// Whether nothing can be connected to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// What the launcher is told, in the order in which its listeners come back.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.targets.iter().map(|(connection, _)| connection.clone()).collect()
    }

    /// The names and the addresses that they have inside.
    pub(super) fn names(&self) -> BTreeMap<String, IpAddr> {
        let named = self.targets.iter().filter(|(_, destination)| *destination == Destination::Name);
        named.map(|(connection, _)| (connection.host.clone(), connection.address)).collect()
    }
}

/// The addresses that a host's text is: of `localhost`, which cannot mean anything else, both loopbacks.
fn literal(host: &str) -> Option<Vec<IpAddr>> {
    if host == LOCALHOST {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    // an IPv4 address in IPv6's clothes is one for the kernel, too
    Some(vec![host.parse::<IpAddr>().ok()?.to_canonical()])
}

fn unreachable(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("no host's address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some("a link-local address, which means nothing without a network device")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, Grant, MOST_TARGETS, Plan, PlanError};
    use std::net::IpAddr;

    fn grants(of: &[(&str, u16)]) -> Vec<Grant> {
        of.iter().map(|(host, port)| Grant { host: (*host).to_owned(), port: *port }).collect()
    }

    fn planned(of: &[(&str, u16)]) -> Vec<(String, String)> {
        let plan = Plan::new(&grants(of)).unwrap();
        plan.connections().iter().map(|c| (c.host.clone(), c.inner().to_string())).collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(host, inner)| ((*host).to_owned(), (*inner).to_owned())).collect()
    }

    #[test]
    fn a_name_has_an_address_of_its_own_and_an_address_is_itself() {
        let granted = [
            ("db.internal", 5432),
            ("api", 443),
            ("db.internal", 5433),
            ("127.1.0.3", 1),
            ("2001:db8::1", 1),
            ("::ffff:10.0.0.1", 2),
            ("third", 1),
            ("localhost", 5432),
        ];
        let expected = [
            ("db.internal", "127.1.0.1:5432"),
            ("api", "127.1.0.2:443"),
            ("db.internal", "127.1.0.1:5433"),
            ("127.1.0.3", "127.1.0.3:1"),
            ("2001:db8::1", "[2001:db8::1]:1"),
            ("::ffff:10.0.0.1", "10.0.0.1:2"),
            ("third", "127.1.0.4:1"),
            ("localhost", "127.0.0.1:5432"),
        ];
        assert_eq!(planned(&granted), pairs(&expected));
    }

    #[test]
    fn two_spellings_of_an_address_are_one_connection() {
        let twice = [("127.0.0.1", 1), ("localhost", 1), ("::ffff:127.0.0.1", 1)];
        assert_eq!(planned(&twice), pairs(&[("127.0.0.1", "127.0.0.1:1")]));
        let plan = Plan::new(&grants(&[("localhost", 1)])).unwrap();
        let both: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(plan.targets[0].1, Destination::Literal(both));
    }

    #[test]
    fn what_nothing_can_connect_to_is_refused() {
        for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1"] {
            let error = Plan::new(&grants(&[(address, 1)])).unwrap_err();
            assert!(matches!(error, PlanError::Unreachable { .. }), "{address}: {error}");
        }
        let many: Vec<Grant> = (0..=MOST_TARGETS).map(|n| Grant { host: format!("h{n}"), port: 1 }).collect();
        assert_eq!(Plan::new(&many), Err(PlanError::TooMany(MOST_TARGETS + 1)));
        assert_eq!(Plan::new(&many[1..]).unwrap().targets.len(), MOST_TARGETS);
    }
}
