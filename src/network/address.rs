//! Addresses that a name must not lead to. Pure. Never in here: what is granted, or a resolver.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses where clouds hand out credentials, beyond those that are link-local anyway.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // AWS, for pods
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), // Scaleway
];

/// What is wrong with an address; `None` when a name may lead to it. Private networks are nothing special: they are what
/// internal names resolve to.
#[must_use]
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("a cloud's metadata service");
    }
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("the unspecified address"),
        [127, ..] => Some("loopback"),
        [169, 254, ..] => Some("link-local, where metadata services are"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved or broadcast"),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let reason = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local, which no network uses any more"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        _ => None,
    };
    reason.or_else(|| embedded(address).into_iter().flatten().find_map(|inner| forbidden(IpAddr::V4(inner))))
}

/// The IPv4 addresses that a gateway, a tunnel or the kernel itself may take out of an IPv6 address.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 3] {
    let octets = address.octets();
    let four = |at: [usize; 4]| Some(Ipv4Addr::from(at.map(|n| octets[n])));
    let last = four([12, 13, 14, 15]);
    match address.segments() {
        // compatible and mapped, also in the translated form (::ffff:0:a.b.c.d)
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => {
            [last, None, None]
        }
        // NAT64, well known
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => [last, None, None],
        // NAT64 of a network's own, whose prefix may have 48, 64 or 96 bits (octet 8 is never part of the address)
        [0x64, 0xff9b, 1, ..] => [last, four([6, 7, 9, 10]), four([9, 10, 11, 12])],
        // 6to4
        [0x2002, ..] => [four([2, 3, 4, 5]), None, None],
        // Teredo: the server, and the client in the complement
        [0x2001, 0, ..] => [four([4, 5, 6, 7]), last.map(|inner| Ipv4Addr::from(!u32::from(inner))), None],
        // ISATAP
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => [last, None, None],
        _ => [None; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::forbidden;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    const FORBIDDEN: [&str; 18] = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "169.254.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "fd00:ec2::254",
    ];

    const PERMITTED: [&str; 12] = [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "1.1.1.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "223.255.255.255",
        "fd00::1",
        "2001:db8::1",
        "2606:4700:4700::1111",
    ];

    /// Every shape of an IPv6 address that carries an IPv4 address.
    fn shapes(inner: Ipv4Addr) -> Vec<Ipv6Addr> {
        let [a, b, c, d] = inner.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        vec![
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, high, c, d << 8, 0, 0),
            Ipv6Addr::new(0x64, 0xff9b, 1, 7, a, b << 8 | c, d << 8, 0),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0x0101, 0x0101),
            Ipv6Addr::new(0x2001, 0, 0x0101, 0x0101, 0, 0, !high, !low),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0x5efe, high, low),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0x200, 0x5efe, high, low),
        ]
    }

    #[test]
    fn what_names_may_and_may_not_lead_to() {
        for address in FORBIDDEN {
            assert!(forbidden(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in PERMITTED {
            assert_eq!(forbidden(address.parse().unwrap()), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_shape_of_an_address_changes_what_it_is(bits: u32, one_of in 0..FORBIDDEN.len()) {
            let plain = Ipv4Addr::from(bits);
            let evil = FORBIDDEN[one_of].parse::<IpAddr>().unwrap();
            let addresses = [Some(plain), match evil { IpAddr::V4(evil) => Some(evil), IpAddr::V6(_) => None }];
            for inner in addresses.into_iter().flatten() {
                let expected = forbidden(IpAddr::V4(inner)).is_some();
                for shape in shapes(inner) {
                    // another shape may read other octets of it, which can only forbid more
                    prop_assert!(!expected || forbidden(IpAddr::V6(shape)).is_some(), "{shape} carries {inner}");
                }
                let mapped = IpAddr::V6(inner.to_ipv6_mapped());
                prop_assert_eq!(forbidden(mapped).is_some(), expected);
            }
        }
    }
}
