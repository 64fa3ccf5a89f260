//! Descriptors from the launcher, looked at before they are used: a listener that were in the daemon's own network
//! would open the granted hosts to everyone on this machine.

use flexcore_jailer::network::NAME_SERVICE;
use nix::sys::socket::{getsockopt, sockopt};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h`, which the libc crate does not have; Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// What is wrong with what the launcher passed.
#[derive(Debug, thiserror::Error)]
pub enum ReceivedError {
    /// Not as many as were asked for.
    #[error("the launcher passed {received} sockets instead of {expected}")]
    Number {
        /// As many came.
        received: usize,
        /// As many should have.
        expected: usize,
    },
    /// A socket that is not what stands at its place.
    #[error("the launcher passed another socket than the one for {0}")]
    Other(SocketAddr),
    /// A socket of the daemon's own network.
    #[error("the launcher passed a socket for {0} that is not in a network of its own")]
    NotForeign(SocketAddr),
    /// It cannot be looked at or used.
    #[error("a socket from the launcher cannot be used: {0}")]
    System(#[from] io::Error),
}

/// A listener of the program's network at this address.
pub(super) fn listener(socket: OwnedFd, at: SocketAddr) -> Result<TcpListener, ReceivedError> {
    if !getsockopt(&socket, sockopt::AcceptConn).is_ok_and(|listens| listens) {
        return Err(ReceivedError::Other(at));
    }
    let listener = TcpListener::from(socket);
    if listener.local_addr()? != at {
        return Err(ReceivedError::Other(at));
    }
    // whatever its maker chose: a blocking one would stop the thread that accepts
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The socket of the program's name service.
pub(super) fn name_service(socket: OwnedFd) -> Result<UdpSocket, ReceivedError> {
    let kind = getsockopt(&socket, sockopt::SockType).map_err(io::Error::from)?;
    let socket = UdpSocket::from(socket);
    if kind != nix::sys::socket::SockType::Datagram || socket.local_addr()? != NAME_SERVICE {
        return Err(ReceivedError::Other(NAME_SERVICE));
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether a socket belongs to another network namespace than this process.
pub(super) fn is_foreign(socket: impl AsFd) -> io::Result<bool> {
    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(cookie(socket)? != cookie(own)?)
}

/// The number of the network namespace that a socket was made in; never given twice.
fn cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes, which is what `cookie` has; both live until it returns.
    let answer = unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, (&raw mut cookie).cast(), &raw mut length)
    };
    if answer == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
