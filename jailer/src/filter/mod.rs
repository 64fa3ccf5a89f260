//! The system call filter of a program: builds it from the tables in [`table`] and installs it.
//!
//! What is not named in the tables does not exist for a program (`ENOSYS`, which libraries take as "an older kernel" and
//! work around). Four filters are stacked, since one filter knows one answer; the kernel takes the strictest. Never in
//! here: a decision by program or plugin. Every program gets the same filter, but for the questions of [`Allow`].

mod notice;
mod table;

pub(crate) use notice::Notices;

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use table::{
    ALLOWED, ALLOWED_FAMILIES, ALLOWED_LEGACY, ALLOWED_PERSONALITIES, ALLOWED_PROTOCOLS, ATTRIBUTES,
    CREATING, DENIED, DENIED_BITS, DENIED_IOCTLS, DENIED_MODES, INTERNET_FAMILIES, LARGEST_SEGMENT, MODES,
    NAMESPACES, NEW_PROCESSES,
};

/// What differs between programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allow {
    /// New processes; threads and executing in place always are.
    pub(crate) subprocess: bool,
    /// Sockets of the internet families: harmless in a network namespace of one's own, the host's network elsewhere.
    pub(crate) internet: bool,
    /// Changing modes, owners, times and attributes of files, which rules by path do not cover.
    pub(crate) attributes: bool,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters in the order in which they are installed. The allow-list permits what installing needs.
#[derive(Debug)]
pub(crate) struct Filter {
    programs: [BpfProgram; 3],
    /// Refuses what is never for a program, by itself or, where the kernel lets it, by asking whoever listens.
    dangerous: BpfProgram,
}

impl Filter {
    /// Builds the filters for this machine's architecture; no system call is made.
    ///
    /// # Errors
    /// Only for an architecture that the builder does not know, or a table that contradicts itself.
    pub(crate) fn build(allow: Allow) -> Result<Self, seccompiler::BackendError> {
        let programs = [allow_list()?, socket_families(allow.internet)?, refusals(allow)?];
        Ok(Self { programs, dangerous: dangerous()? })
    }

    /// Binds the calling process and all its descendants for ever. `no_new_privs` must be set. With `tell` the dangerous
    /// calls are asked about there (see [`Notices`]).
    ///
    /// # Errors
    /// The system's: `EINVAL` or `ENOSYS` where the kernel has no filters.
    pub(crate) fn install(&self, tell: Option<&OwnedFd>) -> nix::Result<()> {
        let asked = tell.is_some_and(|tell| notice::install(&self.dangerous, tell));
        if !asked {
            install(&self.dangerous)?;
        }
        self.programs.iter().try_for_each(install)
    }
}

fn install(program: &BpfProgram) -> nix::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    // The builder's instruction and libc's have the same layout, the kernel's; the pointer is only read.
    let filter = program.as_ptr().cast::<libc::sock_filter>().cast_mut();
    let program = libc::sock_fprog { len: length, filter };
    // SAFETY: `program` points to `length` instructions that live until the call returns; the kernel copies them.
    let answer =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(&program)) };
    Errno::result(answer).map(drop)
}

fn compile(rules: Rules, otherwise: SeccompAction, found: SeccompAction) -> Compiled {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    // Of a foreign architecture (i386 on x86_64) the numbers mean other calls: the builder's guard kills such a caller.
    SeccompFilter::new(rules, otherwise, found, arch)?.try_into()
}

type Compiled = Result<BpfProgram, seccompiler::BackendError>;

fn errno(errno: Errno) -> SeccompAction {
    SeccompAction::Errno(errno as u32)
}

/// Whatever the tables name passes here, also what [`refusals`] refuses, so that it is answered `EPERM`. The numbers of
/// the x32 variant of `x86_64` are in no table, so this is its guard too.
fn allow_list() -> Compiled {
    let allowed = ALLOWED.iter().chain(ALLOWED_LEGACY).flat_map(|(_, calls)| *calls).copied();
    let rules = allowed.chain(denied()).map(|call| (call, Vec::new())).collect();
    compile(rules, errno(Errno::ENOSYS), SeccompAction::Allow)
}

fn denied() -> impl Iterator<Item = i64> {
    DENIED.iter().flat_map(|(_, calls)| *calls).map(|(call, _)| *call)
}

/// What is never for a program, whatever its arguments.
fn dangerous() -> Compiled {
    let rules = denied().map(|call| (call, Vec::new())).collect();
    compile(rules, SeccompAction::Allow, errno(Errno::EPERM))
}

/// A family that is not listed does not exist: some (`AF_VSOCK`) reach the host past any network namespace.
fn socket_families(internet: bool) -> Compiled {
    use SeccompCmpOp::{Eq, Ne};
    let allowed = ALLOWED_FAMILIES.iter().map(|(_, family)| *family);
    let allowed = allowed.filter(|family| internet || !INTERNET_FAMILIES.contains(family));
    let unlisted = allowed.map(|family| int(0, Ne, family)).collect::<Result<_, _>>()?;
    let netlink = libc::AF_NETLINK as u64;
    // The routing protocol tells a program its addresses; the others configure firewalls, audit and devices.
    let other_netlink = vec![int(0, Eq, netlink)?, int(2, Ne, libc::NETLINK_ROUTE as u64)?];
    let rules = [(libc::SYS_socket, vec![SeccompRule::new(unlisted)?, SeccompRule::new(other_netlink)?])];
    compile(rules.into(), SeccompAction::Allow, errno(Errno::EAFNOSUPPORT))
}

/// What is dangerous with some arguments, or for some programs.
fn refusals(allow: Allow) -> Compiled {
    use SeccompCmpOp::{Eq, Gt, MaskedEq, Ne};
    let mut rules = Rules::new();
    let any_of = |conditions: Vec<SeccompCondition>| -> Result<Vec<SeccompRule>, _> {
        conditions.into_iter().map(|condition| SeccompRule::new(vec![condition])).collect()
    };
    let mut clones: Vec<_> =
        NAMESPACES.iter().map(|(_, flag)| int(0, MaskedEq(*flag), *flag)).collect::<Result<_, _>>()?;
    if !allow.subprocess {
        let thread = libc::CLONE_THREAD as u64;
        clones.push(int(0, MaskedEq(thread), 0)?);
        rules.extend(NEW_PROCESSES.iter().map(|call| (*call, Vec::new())));
    }
    rules.insert(libc::SYS_clone, any_of(clones)?);
    let ioctls = DENIED_IOCTLS.iter().map(|(_, request)| int(1, Eq, *request));
    rules.insert(libc::SYS_ioctl, any_of(ioctls.collect::<Result<_, _>>()?)?);
    let unlisted = ALLOWED_PERSONALITIES.iter().map(|(_, persona)| int(0, Ne, *persona));
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(unlisted.collect::<Result<_, _>>()?)?]);
    for (_, call, argument, bits) in DENIED_BITS {
        rules.insert(*call, any_of(vec![int(*argument, MaskedEq(*bits), *bits)?])?);
    }
    let large = SeccompCondition::new(1, SeccompCmpArgLen::Qword, Gt, LARGEST_SEGMENT)?;
    rules.insert(libc::SYS_shmget, any_of(vec![large])?);
    rules.extend(modes()?);
    rules.insert(libc::SYS_socket, protocols()?);
    let (others, changed) = (int(0, Ne, 0)?, SeccompCondition::new(2, SeccompCmpArgLen::Qword, Ne, 0)?);
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![others, changed])?]);
    if !allow.attributes {
        rules.extend(ATTRIBUTES.iter().map(|call| (*call, Vec::new())));
    }
    compile(rules, SeccompAction::Allow, errno(Errno::EPERM))
}

/// Modes that a file must not get, whether it is made with them or gets them later.
fn modes() -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::new();
    for (call, mode, flags) in MODES {
        for (_, denied) in DENIED_MODES {
            let has = || int(*mode, SeccompCmpOp::MaskedEq(*denied), *denied);
            let refused = rules.entry(*call).or_default();
            match flags {
                None => refused.push(SeccompRule::new(vec![has()?])?),
                // Where nothing is made the argument was not given and is whatever the register held.
                Some(flags) => {
                    for creating in CREATING {
                        let creates = int(*flags, SeccompCmpOp::MaskedEq(*creating), *creating)?;
                        refused.push(SeccompRule::new(vec![creates, has()?])?);
                    }
                }
            }
        }
    }
    Ok(rules)
}

/// Protocols of the internet families that are refused: for an unusual one the kernel would load a module.
fn protocols() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    const TYPE: u64 = 0xF; // without the flags SOCK_NONBLOCK and SOCK_CLOEXEC
    let mut rules = Vec::new();
    for family in INTERNET_FAMILIES {
        let mut unlisted = vec![int(0, Eq, *family)?];
        for (_, protocol) in ALLOWED_PROTOCOLS {
            unlisted.push(int(2, Ne, *protocol)?);
        }
        rules.push(SeccompRule::new(unlisted)?);
        for kind in [libc::SOCK_SEQPACKET as u64, libc::SOCK_DCCP as u64] {
            rules.push(SeccompRule::new(vec![int(0, Eq, *family)?, int(1, MaskedEq(TYPE), kind)?])?);
        }
    }
    Ok(rules)
}

/// A condition on the low 32 bits of an argument: the kernel ignores the upper half of these, so a comparison of 64 bits
/// could be passed by setting one there.
fn int(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

#[cfg(test)]
mod tests {
    //! The tables agree with each other; that the kernel does what they say is shown by `tests/jailer/filter.rs`.

    use super::table::{ALLOWED, ALLOWED_LEGACY, ATTRIBUTES, DENIED, DENIED_BITS, MODES, PREFIX};
    use super::{Allow, Filter};
    use std::collections::BTreeSet;

    #[test]
    fn every_call_is_named_once() {
        let mut seen = BTreeSet::new();
        for (reason, calls) in ALLOWED.iter().chain(ALLOWED_LEGACY) {
            assert!(!reason.is_empty() && !calls.is_empty());
            for call in *calls {
                assert!(seen.insert(*call), "call {call} ({reason}) is named twice");
            }
        }
        for (reason, calls) in DENIED {
            for (call, name) in *calls {
                assert!(seen.insert(*call), "{name} ({reason}) is named twice");
                assert!(name.starts_with(PREFIX), "{name}");
            }
        }
        let partly =
            MODES.iter().map(|(call, ..)| *call).chain(DENIED_BITS.iter().map(|(_, call, ..)| *call));
        let others = [
            libc::SYS_clone,
            libc::SYS_ioctl,
            libc::SYS_personality,
            libc::SYS_socket,
            libc::SYS_shmget,
            libc::SYS_prlimit64,
        ];
        for partly in partly.chain(others).chain(ATTRIBUTES.iter().copied()) {
            assert!(seen.contains(&partly), "a rule on arguments needs its call in the allow-list");
        }
        for hidden in [libc::SYS_clone3, libc::SYS_openat2] {
            assert!(!seen.contains(&hidden), "its flags are in memory, where no filter can look");
        }
    }

    #[test]
    fn the_filters_fit_into_the_kernel() {
        const BPF_MAXINSNS: usize = 4096;
        for all in [true, false] {
            let allow = Allow { subprocess: all, internet: all, attributes: all };
            let Filter { programs, dangerous } = Filter::build(allow).unwrap();
            assert!(
                programs
                    .iter()
                    .chain([&dangerous])
                    .all(|program| (1..=BPF_MAXINSNS).contains(&program.len()))
            );
        }
    }
}
