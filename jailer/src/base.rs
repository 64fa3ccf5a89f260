//! What every program sees of the host: the system's programs and libraries, and of `/etc` what libraries look up. Data,
//! and its look-up; the daemon asks it too, when it judges whether a program could run.

use std::fs::read_link;
use std::path::{Path, PathBuf};

/// Directories of the system. A distribution that merged them into `/usr` has links here, which are made anew.
pub const DIRECTORIES: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Of `/etc`: the dynamic loader's cache, the certificates of public authorities, time zone, names of ports and types.
/// Nothing with accounts, hosts or secrets: those are made for each program.
pub const ETC: [&str; 15] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
    "/etc/os-release",
];

/// What the same look-ups need of a host that is not hidden; with namespaces files are made in their place.
pub const ETC_OF_HOST: [&str; 5] =
    ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf"];

/// Devices that hold nothing.
pub const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// How a path of the base is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// As it is on the host.
    Tree(PathBuf),
    /// As a symbolic link with the host's text.
    Link(PathBuf, PathBuf),
}

/// What this host has of [`DIRECTORIES`] and [`ETC`].
#[must_use]
pub fn entries() -> Vec<Entry> {
    let paths = DIRECTORIES.iter().chain(&ETC).map(Path::new).filter(|path| path.symlink_metadata().is_ok());
    paths
        .map(|path| match read_link(path) {
            Ok(text) => Entry::Link(path.to_owned(), text),
            Err(_) => Entry::Tree(path.to_owned()),
        })
        .collect()
}
