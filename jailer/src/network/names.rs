//! What a program's libraries read to find names, as text. Never in here: anything of the host's own files.

use crate::protocol::Connection;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

/// The name that stands for the program's own loopback and needs no line of its own.
pub const LOCALHOST: &str = "localhost";

/// `/etc/resolv.conf`: the one server is the daemon's answer that a name is not there. Without it musl and Go wait for
/// seconds; the short patience is for the moment when the daemon is busy.
pub const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions attempts:2 timeout:2\n";

/// `/etc/nsswitch.conf`: `files` before `dns`, which Go needs to read `/etc/hosts` at all.
pub const NSSWITCH_CONF: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// `/etc/hosts`: the program's own name and each granted one.
#[must_use]
pub fn hosts(own_name: &str, connect: &[Connection]) -> String {
    let mut text = format!("127.0.0.1 {LOCALHOST} {own_name}\n::1 {LOCALHOST}\n");
    let mut seen = BTreeSet::from([LOCALHOST, own_name]);
    for Connection { host, address, .. } in connect {
        if host.parse::<IpAddr>().is_err() && seen.insert(host) {
            let _ = writeln!(text, "{address} {host}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::hosts;
    use crate::protocol::Connection;

    #[test]
    fn each_name_has_one_line_and_addresses_none() {
        let connection = |host: &str, port, address: [u8; 4]| Connection {
            host: host.to_owned(),
            port,
            address: address.into(),
        };
        let connect = [
            connection("db.internal", 5432, [127, 1, 0, 1]),
            connection("db.internal", 5433, [127, 1, 0, 1]),
            connection("10.0.0.1", 1, [10, 0, 0, 1]),
            connection("api", 443, [127, 1, 0, 2]),
            connection("localhost", 1, [127, 0, 0, 1]),
        ];
        let expected = "127.0.0.1 localhost own\n::1 localhost\n127.1.0.1 db.internal\n127.1.0.2 api\n";
        assert_eq!(hosts("own", &connect), expected);
    }
}
