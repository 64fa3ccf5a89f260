//! The network of a program, made by init inside its new network namespace: loopback alone, an address on it for each
//! host that was granted, and sockets on those addresses that go to the daemon, who connects them with the real hosts.
//! Never in here: a connection to anything outside, or what was granted and why.

mod link;
pub mod names;

use crate::limits::{ROUTE_ROUND, ROUTE_WAIT};
use crate::protocol::Connection;
use link::Link;
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Where resolvers of the program ask for names: a socket that the daemon answers.
pub const NAME_SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// What could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: {errno}")]
pub struct NetworkError {
    /// The operation and its object.
    pub operation: String,
    /// The system's answer.
    pub errno: Errno,
}

/// Brings loopback up, gives it the addresses, and listens: one descriptor for each connection in their order, then the
/// name service's. Nobody accepts here, so a connection waits in the kernel until the daemon has the descriptors.
///
/// The caller must be in a network namespace of its own (the host's loopback would get the addresses otherwise) and
/// may administer it.
///
/// # Errors
/// [`NetworkError`]: an address that is taken twice, or IPv6 on a host without it.
pub fn open(connect: &[Connection]) -> Result<Vec<OwnedFd>, NetworkError> {
    let link = Link::open().map_err(failed("open rtnetlink"))?;
    link.up().map_err(failed("bring loopback up"))?;
    for connection in connect {
        // Explicitly, though all of 127/8 is loopback's: resolvers that look for configured addresses skip 127.0.0.1.
        let address = connection.address;
        link.add(address).map_err(|errno| failed(format!("give loopback the address {address}"))(errno))?;
    }
    // After all were added, since each may take the kernel a moment.
    for connection in connect.iter().filter(|connection| connection.address.is_ipv6()) {
        await_route(connection.address)?;
    }
    let mut sockets = Vec::with_capacity(connect.len() + 1);
    for connection in connect {
        let inner = connection.inner();
        let listener =
            TcpListener::bind(inner).map_err(|error| refused(&error, format!("listen on {inner}")))?;
        sockets.push(OwnedFd::from(listener));
    }
    let names = UdpSocket::bind(NAME_SERVICE);
    sockets.push(names.map_err(|error| refused(&error, format!("bind {NAME_SERVICE}")))?.into());
    Ok(sockets)
}

/// Waits until an IPv6 address can be connected to: unlike IPv4's, its route is made by a worker of the kernel's.
fn await_route(address: IpAddr) -> Result<(), NetworkError> {
    let deadline = Instant::now() + ROUTE_WAIT;
    loop {
        match reach(address) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(refused(&error, format!("make a route to {address}")));
            }
            Err(_) => std::thread::sleep(ROUTE_ROUND),
        }
    }
}

/// Sends a byte from an address to itself. Nothing less shows that the address is reached: the kernel adds a route to
/// it at once, by which it can be bound and connected to in name, and the one that delivers afterwards.
fn reach(address: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((address, 0))?;
    socket.connect(socket.local_addr()?)?;
    socket.set_read_timeout(Some(ROUTE_ROUND))?;
    socket.send(&[0])?;
    socket.recv(&mut [0]).map(|_| ())
}

fn failed(operation: impl Into<String>) -> impl FnOnce(Errno) -> NetworkError {
    move |errno| NetworkError { operation: operation.into(), errno }
}

fn refused(error: &io::Error, operation: String) -> NetworkError {
    NetworkError { operation, errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)) }
}
