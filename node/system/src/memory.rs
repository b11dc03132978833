//! How much memory there is for this process.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// The memory of this machine, of the control group that this process is in, or of its address space, where that
/// is less, in bytes; `None` where the system does not say.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|it| machine_bytes(&it));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|it| fs::read_to_string(it).ok());
    let address_space = getrlimit(Resource::As).current;
    machine
        .into_iter()
        .chain(address_space)
        .chain(limits.filter_map(|it| it.trim().parse().ok()))
        .min()
}

/// The memory of the machine by `/proc/meminfo`.
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Where the limits of the groups are that a process is in, by its `/proc/self/cgroup`: of its own and of all
/// that this one is in.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let files = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            it if it.split(',').any(|it| it == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let own = Path::new(path.strip_prefix('/')?);
        let groups = own.ancestors().map(move |it| Path::new(root).join(it).join(file));
        Some(groups.collect::<Vec<_>>())
    });
    files.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_how_much_memory_it_has() {
        assert_eq!(
            machine_bytes("Foo: 1 kB\nMemTotal:       2048 kB\nMemFree: 1 kB\n"),
            Some(2 << 20)
        );
        for nonsense in ["", "MemTotal:", "MemTotal: x kB", "MemTotal: 18446744073709551615 kB"] {
            assert_eq!(machine_bytes(nonsense), None, "{nonsense}");
        }
        assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_limits_of_a_group_are_those_of_all_around_it() {
        let files = limit_files("0::/a/b\n");
        let expected = ["a/b/memory.max", "a/memory.max", "memory.max"];
        assert_eq!(files, expected.map(|it| Path::new("/sys/fs/cgroup").join(it)));
        let older = limit_files("5:cpu,memory:/x\n4:pids:/x\n");
        let expected = ["x/memory.limit_in_bytes", "memory.limit_in_bytes"];
        assert_eq!(older, expected.map(|it| Path::new("/sys/fs/cgroup/memory").join(it)));
        assert!(limit_files("nonsense\n7:memory\n0::relative\n").is_empty());
    }
}
