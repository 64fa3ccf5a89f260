//! Loopback's state and addresses, by rtnetlink: three fixed messages, made and read here, instead of a library for all.

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Loopback's index: the first device of every network namespace.
const LOOPBACK: u32 = 1;

const HEADER_BYTES: usize = 16;
const ANSWER_BYTES: usize = 1024;

/// A conversation with the kernel about this namespace's devices.
pub(super) struct Link(OwnedFd);

impl Link {
    pub(super) fn open() -> nix::Result<Self> {
        let route = SockProtocol::NetlinkRoute;
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, route).map(Self)
    }

    /// Brings loopback up; the kernel then gives it `127.0.0.1/8` and `::1`.
    pub(super) fn up(&self) -> nix::Result<()> {
        let up = libc::IFF_UP.unsigned_abs();
        // struct ifinfomsg: family, padding, device type, index, flags, which of them change
        let mut body = vec![0; 4];
        for field in [LOOPBACK, up, up] {
            body.extend(field.to_ne_bytes());
        }
        self.ask(libc::RTM_NEWLINK, 0, &body)
    }

    /// Gives loopback one address (not a network of them); no harm if it has it.
    pub(super) fn add(&self, address: IpAddr) -> nix::Result<()> {
        let (family, octets) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let bits = u8::try_from(octets.len() * 8).map_err(|_| Errno::EINVAL)?;
        let family = u8::try_from(family).map_err(|_| Errno::EINVAL)?;
        // No search for duplicates: the address can be used at once, and nobody else is on this link.
        let flags = u8::try_from(libc::IFA_F_NODAD).map_err(|_| Errno::EINVAL)?;
        // struct ifaddrmsg: family, length of the prefix, flags, scope, index
        let mut body = vec![family, bits, flags, libc::RT_SCOPE_HOST];
        body.extend(LOOPBACK.to_ne_bytes());
        for attribute in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
            let length = u16::try_from(4 + octets.len()).map_err(|_| Errno::EINVAL)?;
            body.extend(length.to_ne_bytes());
            body.extend(attribute.to_ne_bytes());
            body.extend(&octets);
        }
        match self.ask(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body) {
            Err(Errno::EEXIST) => Ok(()),
            answer => answer,
        }
    }

    /// Sends one request and reads its answer, which the kernel has made before `send` returns.
    fn ask(&self, kind: u16, flags: libc::c_int, body: &[u8]) -> nix::Result<()> {
        let flags =
            u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags).map_err(|_| Errno::EINVAL)?;
        let length = u32::try_from(HEADER_BYTES + body.len()).map_err(|_| Errno::EMSGSIZE)?;
        // struct nlmsghdr: length, type, flags, sequence number, port
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(self.0.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = [0; ANSWER_BYTES];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
        acknowledged(&answer[..length])
    }
}

/// Whether an answer is an acknowledgement: an error message with number 0.
fn acknowledged(answer: &[u8]) -> nix::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(HEADER_BYTES..HEADER_BYTES + 4).and_then(|bytes| bytes.try_into().ok());
    match (kind.map(libc::c_int::from), error.map(i32::from_ne_bytes)) {
        (Some(libc::NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(libc::NLMSG_ERROR), Some(error)) => Err(Errno::from_raw(error.wrapping_neg())),
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::acknowledged;
    use nix::errno::Errno;

    #[test]
    fn answers() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = vec![0; 36];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..20].copy_from_slice(&error.to_ne_bytes());
            bytes
        };
        assert_eq!(acknowledged(&answer(2, 0)), Ok(()));
        assert_eq!(acknowledged(&answer(2, -13)), Err(Errno::EACCES));
        assert_eq!(acknowledged(&answer(20, 0)), Err(Errno::EBADMSG));
        assert_eq!(acknowledged(&[0; 5]), Err(Errno::EBADMSG));
        assert_eq!(acknowledged(&answer(2, 0)[..18]), Err(Errno::EBADMSG));
    }
}
