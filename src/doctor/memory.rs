//! How much memory this process may use: the machine's, or what its control group (version 2) leaves of it.

use std::fs::read_to_string;
use std::path::Path;

use serde::Serialize;

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// What there is.
    pub(super) total: u64,
    /// What can be had without taking it from others; caches count as free.
    pub(super) free: u64,
    /// Whether a control group leaves less than the machine has.
    pub(super) limited: bool,
}

impl Memory {
    /// `None` where the system does not tell.
    pub(super) fn look() -> Option<Self> {
        let machine = Self::of_machine(&read_to_string("/proc/meminfo").ok()?)?;
        Some(groups().into_iter().fold(machine, Self::within))
    }

    /// From the text of `/proc/meminfo`.
    fn of_machine(meminfo: &str) -> Option<Self> {
        let bytes = |key: &str| Some(1024 * number(meminfo, key)?);
        Some(Self { total: bytes("MemTotal:")?, free: bytes("MemAvailable:")?, limited: false })
    }

    /// From a control group's `memory.max`, `memory.current` and `memory.stat`; `None` without a limit.
    fn of_group(max: &str, current: &str, stat: &str) -> Option<Self> {
        let (total, used): (u64, u64) = (max.trim().parse().ok()?, current.trim().parse().ok()?);
        // Read files count as used, and are dropped when memory is wanted.
        let cached = number(stat, "active_file").unwrap_or(0) + number(stat, "inactive_file").unwrap_or(0);
        Some(Self { total, free: total.saturating_sub(used.saturating_sub(cached)), limited: true })
    }

    /// What is left of it by a group with a limit of its own.
    fn within(self, group: Self) -> Self {
        let limited = self.limited || group.total < self.total;
        Self { total: self.total.min(group.total), free: self.free.min(group.free), limited }
    }
}

/// The number after `key`, on the line that begins with it.
fn number(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == key).then(|| words.next()?.parse().ok())?)
}

/// The control group of this process and those around it, as far as they have limits.
fn groups() -> Vec<Memory> {
    let mounted = Path::new("/sys/fs/cgroup");
    let told = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = told.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let limits = Path::new(own).ancestors().filter_map(|group| {
        let read = |file: &str| read_to_string(mounted.join(group).join(file)).ok();
        Memory::of_group(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?)
    });
    limits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        8000 kB\nMemFree:         1000 kB\nMemAvailable:    5000 kB\n";

    #[test]
    fn caches_of_the_machine_count_as_free() {
        let machine = Memory::of_machine(MEMINFO).unwrap();
        assert_eq!(machine, Memory { total: 8_192_000, free: 5_120_000, limited: false });
        assert_eq!(Memory::of_machine("MemTotal: 8000 kB\n"), None);
    }

    #[test]
    fn caches_of_a_group_count_as_free_and_a_group_may_have_no_limit() {
        // 4000 used, of which 1500 are files: 6000 - 2500.
        let stat = "anon 2500\nfile 1500\ninactive_file 1000\nactive_file 500\n";
        let group = Memory::of_group("6000\n", "4000\n", stat).unwrap();
        assert_eq!(group, Memory { total: 6000, free: 3500, limited: true });
        assert_eq!(Memory::of_group("max\n", "4000\n", stat), None);
    }

    #[test]
    fn the_tightest_of_machine_and_groups_holds() {
        let machine = Memory { total: 100, free: 40, limited: false };
        let wide = Memory { total: 200, free: 150, limited: true };
        assert_eq!(machine.within(wide), machine);
        let (outer, inner) =
            (Memory { total: 60, free: 30, limited: true }, Memory { total: 80, free: 20, limited: true });
        assert_eq!(machine.within(inner).within(outer), Memory { total: 60, free: 20, limited: true });
    }
}
