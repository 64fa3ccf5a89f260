//! Which groups this process is in, as directories: two files of `/proc` read together. Changes nothing.

use super::delegate::DAEMON_GROUP;
use super::{CONTROLLERS, CgroupsError};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::read_to_string;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The directories of this process's groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// By controller.
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

/// The same on version 1 where nothing is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct V1Own {
    pub(super) memory: PathBuf,
    pub(super) pids: PathBuf,
    pub(super) cpu: PathBuf,
    pub(super) cpuacct: Option<PathBuf>,
}

/// A mounted hierarchy: which part of it is seen where.
struct Mount {
    root: PathBuf,
    point: PathBuf,
    version: u8,
    options: String,
}

/// Reads `/proc/self/cgroup` with `/proc/self/mountinfo`. What lies outside of every mount is left out.
pub(super) fn find(cgroup: &str, mountinfo: &str) -> Own {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(mount).collect();
    let mut own = Own::default();
    for line in cgroup.lines() {
        // The path may hold colons.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        if controllers.is_empty() {
            let mut all = mounts.iter().filter(|mount| mount.version == 2);
            own.v2 = all.find_map(|mount| mount.seen(path));
        }
        for controller in controllers.split(',').filter(|name| !name.is_empty()) {
            let mut all = mounts.iter().filter(|mount| mount.has(controller));
            if let Some(directory) = all.find_map(|mount| mount.seen(path)) {
                own.v1.insert(controller.to_owned(), directory);
            }
        }
    }
    own
}

impl Own {
    /// The version 2 group if it offers every controller. That of a node that stepped aside is the one above.
    pub(super) fn v2_with_controllers(&self) -> Option<PathBuf> {
        let own = self.v2.as_deref()?;
        let aside = own.file_name().is_some_and(|name| name == DAEMON_GROUP);
        let group = if aside { own.parent()? } else { own };
        missing(&controllers(group)).is_empty().then(|| group.to_owned())
    }

    /// The version 1 groups if every controller has one.
    pub(super) fn v1(&self) -> Option<V1Own> {
        let of = |controller| self.v1.get(controller).cloned();
        Some(V1Own { memory: of("memory")?, pids: of("pids")?, cpu: of("cpu")?, cpuacct: of("cpuacct") })
    }

    /// Why neither is there.
    pub(super) fn missing(&self) -> CgroupsError {
        let v1: Vec<String> = self.v1.keys().cloned().collect();
        let v2 = self.v2.as_deref().map(controllers);
        let seen = match &v2 {
            Some(v2) => format!("version 1: {}; version 2: {}", list(&v1), list(v2)),
            None => format!("version 1: {}; version 2 is not mounted", list(&v1)),
        };
        let nearest = v2.filter(|v2| missing(v2).len() <= missing(&v1).len()).unwrap_or(v1);
        CgroupsError::Missing { missing: missing(&nearest).join(", "), seen }
    }
}

impl Mount {
    fn has(&self, controller: &str) -> bool {
        self.version == 1 && self.options.split(',').any(|option| option == controller)
    }

    /// The directory of a group of this hierarchy, if it lies in the part that is mounted.
    fn seen(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // As seen from another cgroup namespace, paths may lead upwards, out of what is mounted.
        below.components().all(|part| part != std::path::Component::ParentDir).then(|| self.point.join(below))
    }
}

/// `36 35 98:0 /root /point opts tag … - type source options`, spaces in paths as `\040`.
fn mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point) = (unescape(place.next()?), unescape(place.next()?));
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup" => 1,
        "cgroup2" => 2,
        _ => return None,
    };
    Some(Mount { root, point, version, options: kind.nth(1)?.to_owned() })
}

fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// What a version 2 group could give to its children.
fn controllers(group: &Path) -> Vec<String> {
    let offered = read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    offered.split_whitespace().map(str::to_owned).collect()
}

fn missing(offered: &[String]) -> Vec<&'static str> {
    CONTROLLERS.into_iter().filter(|controller| !offered.iter().any(|one| one == controller)).collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    //! Hosts as they are found, by what they show.

    use super::{Own, V1Own, find};
    use std::fs::write;
    use std::path::PathBuf;

    fn v1(own: &Own) -> [PathBuf; 4] {
        let V1Own { memory, pids, cpu, cpuacct } = own.v1().unwrap();
        [memory, pids, cpu, cpuacct.unwrap()]
    }

    #[test]
    fn version_1_with_controllers_mounted_together() {
        let cgroup =
            "12:cpu,cpuacct:/user.slice\n5:memory:/user.slice/a:b\n4:pids:/\n1:name=systemd:/x\n0::/x\n";
        let mounts = "33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                      34 32 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                      35 32 0:31 / /mnt/my\\040groups/memory rw - cgroup cgroup rw,memory\n\
                      36 32 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      37 32 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
                      38 32 0:34 / /memory rw - tmpfs memory rw,memory\n";
        let own = find(cgroup, mounts);
        let together = "/sys/fs/cgroup/cpu,cpuacct/user.slice";
        let expected = ["/mnt/my groups/memory/user.slice/a:b", "/sys/fs/cgroup/pids", together, together];
        assert_eq!(v1(&own), expected.map(PathBuf::from));
        assert_eq!(own.v2, Some(PathBuf::from("/sys/fs/cgroup/unified/x")));
    }

    #[test]
    fn a_container_sees_its_part_of_a_hierarchy() {
        let cgroup = "9:memory:/docker/c0ffee/inner\n8:pids:/docker/other\n7:cpu:/../up\n0::/\n";
        let mounts = "33 32 0:29 /docker/c0ffee /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      34 32 0:30 /docker/c0ffee /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n\
                      35 32 0:31 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
        let own = find(cgroup, mounts);
        assert_eq!(own.v1["memory"], PathBuf::from("/sys/fs/cgroup/memory/inner"));
        assert_eq!((own.v1.len(), own.v1(), &own.v2), (1, None, &None));
        let text = own.missing().to_string();
        assert!(
            text.contains("controllers pids, cpu are in no")
                && text.contains("(version 1: memory; version 2 is not"),
            "{text}"
        );
    }

    #[test]
    fn version_2_counts_if_it_offers_every_controller() {
        let mount = tempfile::tempdir().unwrap();
        let mounts = format!("30 1 0:26 / {} rw - cgroup2 cgroup2 rw\n", mount.path().display());
        let own = find("0::/flexcore.daemon\n", &mounts);
        assert_eq!(own.v2_with_controllers(), None, "nothing can be read");
        write(mount.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        assert_eq!(
            own.v2_with_controllers().as_deref(),
            Some(mount.path()),
            "the group above the node's own"
        );
        write(mount.path().join("cgroup.controllers"), "memory pids\n").unwrap();
        assert_eq!(find("0::/\n", &mounts).v2_with_controllers(), None);
        let text = find("0::/\n", &mounts).missing().to_string();
        assert!(text.contains("controllers cpu are") && text.contains("version 2: memory pids)"), "{text}");
    }
}
