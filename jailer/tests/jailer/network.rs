//! The program's own network. The other side of each test is this binary itself, started in a user and a network
//! namespace of its own by `unshare`, as init is by the launcher.

use flexcore_jailer::network::{NAME_SERVICE, NetworkError, names, open};
use flexcore_jailer::protocol::Connection;
use nix::errno::Errno;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;

/// Runs one of the ignored tests below in new namespaces.
fn inside(test: &str) {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", test, "--ignored", "--nocapture"];
    let ran = Command::new("unshare").args(["-U", "-r", "-n"]).arg(this).args(arguments).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

fn connections(of: &[(&str, u16, &str)]) -> Vec<Connection> {
    of.iter()
        .map(|(host, port, address)| Connection {
            host: (*host).to_owned(),
            port: *port,
            address: address.parse().unwrap(),
        })
        .collect()
}

/// Sends a word through a listener; nobody accepts before the word is on its way, as in the jail.
fn passes(listener: OwnedFd, to: SocketAddr) {
    let listener = TcpListener::from(listener);
    assert_eq!(listener.local_addr().unwrap(), to);
    let mut client = TcpStream::connect(to).unwrap();
    client.write_all(b"word").unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let mut word = [0; 4];
    accepted.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"word");
}

#[test]
fn granted_addresses_are_loopbacks_and_nothing_else_is() {
    inside("network::only_what_is_granted");
}

#[test]
#[ignore = "not a test: a part of one that runs in namespaces of its own"]
fn only_what_is_granted() {
    let granted = [
        ("db.internal", 5432, "127.1.0.1"),
        ("db.internal", 443, "127.1.0.1"),
        ("10.9.8.7", 22, "10.9.8.7"),
        ("127.0.0.1", 80, "127.0.0.1"),
    ];
    let granted = connections(&granted);
    let mut sockets = open(&granted).unwrap();
    let names = UdpSocket::from(sockets.pop().unwrap());
    assert_eq!(sockets.len(), granted.len());
    for (socket, connection) in sockets.into_iter().zip(&granted) {
        passes(socket, connection.inner());
    }
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"where", NAME_SERVICE).unwrap();
    let mut asked = [0; 5];
    assert_eq!(names.recv_from(&mut asked).unwrap().1, client.local_addr().unwrap());

    let refused = |to: &str| TcpStream::connect(to).unwrap_err().kind();
    assert_eq!(refused("127.1.0.1:5433"), ErrorKind::ConnectionRefused, "another port");
    assert_eq!(refused("127.1.0.2:5432"), ErrorKind::ConnectionRefused, "another host's address");
    // The grant is one address, not the network around it.
    for outside in ["10.9.8.8:22", "192.0.2.1:443", "[2001:db8::1]:443"] {
        assert_eq!(refused(outside), ErrorKind::NetworkUnreachable, "{outside}");
    }
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", "192.0.2.1:53").unwrap_err();
    assert_eq!(udp.kind(), ErrorKind::NetworkUnreachable);
}

#[test]
fn literal_ipv6_addresses_are_its_own_too() {
    if TcpListener::bind("[::1]:0").is_err() {
        return inside("network::without_ipv6");
    }
    inside("network::with_ipv6");
}

#[test]
#[ignore = "not a test: a part of one that runs in namespaces of its own"]
fn with_ipv6() {
    let granted = connections(&[("2001:db8::7", 5432, "2001:db8::7"), ("::1", 80, "::1")]);
    let sockets = open(&granted).unwrap();
    for (socket, connection) in sockets.into_iter().zip(&granted) {
        passes(socket, connection.inner());
    }
    let other = TcpStream::connect("[2001:db8::8]:5432").unwrap_err();
    assert_eq!(other.kind(), ErrorKind::NetworkUnreachable);
}

#[test]
#[ignore = "not a test: a part of one that runs in namespaces of its own"]
fn without_ipv6() {
    let error = open(&connections(&[("2001:db8::7", 5432, "2001:db8::7")])).unwrap_err();
    assert!(error.to_string().contains("2001:db8::7"), "{error}");
}

#[test]
fn what_cannot_be_made_says_what() {
    inside("network::an_address_twice");
}

#[test]
#[ignore = "not a test: a part of one that runs in namespaces of its own"]
fn an_address_twice() {
    let twice = connections(&[("a", 1, "127.1.0.1"), ("b", 1, "127.1.0.1")]);
    let NetworkError { operation, errno } = open(&twice).unwrap_err();
    assert_eq!((operation.as_str(), errno), ("listen on 127.1.0.1:1", Errno::EADDRINUSE));
}

#[test]
fn libraries_find_granted_names_in_files_first() {
    let connect = connections(&[("db.internal", 5432, "127.1.0.1")]);
    let hosts = names::hosts("own", &connect);
    let line = hosts.lines().find(|line| line.ends_with(" db.internal")).unwrap();
    assert_eq!(line.split(' ').next().unwrap().parse::<IpAddr>().unwrap(), connect[0].address);
    assert!(names::NSSWITCH_CONF.contains("hosts: files dns"));
    assert!(names::RESOLV_CONF.contains(&NAME_SERVICE.ip().to_string()));
}
