//! The host's network, and what goes around it: addresses, names, sockets in the file system and without a name in it.

use super::super::support::users;
use super::{attacker, directory, outside, tell, told};
use std::fs::{Permissions, set_permissions};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::time::Duration;

/// No answer comes later; where a packet is swallowed the attempt fails.
const WAIT: Duration = Duration::from_secs(5);

/// Addresses that are nobody's (documentation), a cloud's metadata, and a resolver's.
const FAR: [&str; 4] = ["192.0.2.1:443", "169.254.169.254:80", "[2001:db8::1]:443", "8.8.8.8:53"];

fn tell_result(name: &str, result: io::Result<()>) {
    tell(name, result.map_or_else(|error| format!("{:?}", error.kind()), |()| "reached".to_owned()));
}

fn targets() -> Vec<SocketAddr> {
    std::env::var("TARGETS")
        .unwrap_or_default()
        .split_whitespace()
        .map(|text| text.parse().unwrap())
        .collect()
}

fn send(address: SocketAddr) -> io::Result<()> {
    let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(own)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.connect(address)?;
    socket.send(b"ping")?;
    socket.recv(&mut [0; 4]).map(drop)
}

#[test]
#[ignore = "not a test: the program that the other tests run, in the jail and outside"]
fn caller() {
    for (n, address) in targets().into_iter().enumerate() {
        tell_result(&format!("tcp{n}"), TcpStream::connect_timeout(&address, WAIT).map(drop));
        tell_result(&format!("udp{n}"), send(address));
    }
    if let Ok(name) = std::env::var("ABSTRACT") {
        let address = UnixAddress::from_abstract_name(name).unwrap();
        tell_result("abstract", UnixStream::connect_addr(&address).map(drop));
    }
    if let Ok(path) = std::env::var("SOCKET") {
        tell_result("path", UnixStream::connect(path).map(drop));
    }
    let interfaces = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let names = interfaces.lines().skip(2).filter_map(|line| line.split(':').next());
    tell("interfaces", names.map(str::trim).collect::<Vec<_>>().join(","));
}

#[test]
fn the_hosts_own_services_are_out_of_reach() {
    let (four, six) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0"));
    // what listens everywhere is reached by every address of the host
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut targets = vec![four.local_addr().unwrap(), everywhere.local_addr().unwrap()];
    targets.extend(six.iter().map(|six| six.local_addr().unwrap()));
    let text = targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert!(TcpStream::connect(targets[0]).is_ok(), "the control");
    for user in users() {
        let mut launch = attacker("network::caller").by(user);
        launch.policy.env.push(("TARGETS".into(), text.clone()));
        let inside = told(&launch.run().1);
        for n in 0..targets.len() {
            for name in [format!("tcp{n}"), format!("udp{n}")] {
                let answer = inside[&name].as_str();
                assert!(
                    ["ConnectionRefused", "NetworkUnreachable", "AddrNotAvailable"].contains(&answer),
                    "{inside:?}"
                );
            }
        }
        assert_eq!(inside["interfaces"], "lo");
    }
    assert_ne!(outside("network::caller")["interfaces"], "", "the control");
}

#[test]
fn addresses_elsewhere_have_no_route() {
    for user in users() {
        let mut launch = attacker("network::caller").by(user);
        launch.policy.env.push(("TARGETS".into(), FAR.join(" ")));
        let inside = told(&launch.run().1);
        for n in 0..FAR.len() {
            for name in [format!("tcp{n}"), format!("udp{n}")] {
                let answer = inside[&name].as_str();
                assert!(
                    ["NetworkUnreachable", "HostUnreachable", "AddrNotAvailable"].contains(&answer),
                    "{inside:?}"
                );
            }
        }
    }
}

#[test]
fn sockets_of_the_hosts_programs_are_out_of_reach() {
    let name = format!("flexcore-test-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    let place = directory(None);
    let path = place.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    assert!(UnixStream::connect_addr(&address).is_ok() && UnixStream::connect(&path).is_ok(), "the control");
    for user in users() {
        let mut launch = attacker("network::caller").by(user);
        launch.policy.env.push(("ABSTRACT".into(), name.clone()));
        launch.policy.env.push(("SOCKET".into(), path.to_str().unwrap().to_owned()));
        let inside = told(&launch.run().1);
        assert_eq!((inside["abstract"].as_str(), inside["path"].as_str()), ("ConnectionRefused", "NotFound"));
    }
}

/// No layer of the kernel's tells connecting from reading here: the documentation warns of it.
#[test]
fn a_socket_in_a_granted_directory_can_be_connected_to() {
    let place = directory(None);
    let path = place.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    for user in users() {
        for write in [false, true] {
            let mut launch = attacker("network::caller").by(user).shows(place.path(), write);
            launch.policy.env.push(("SOCKET".into(), path.to_str().unwrap().to_owned()));
            assert_eq!(told(&launch.run().1)["path"], "reached", "written {write}");
        }
    }
}
