//! How long the machine has been up, its sleep included: what leases are measured with. Never the time of day.

use std::time::Duration;

use flexcore_actors::ports::Uptime;

/// The kernel's `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SinceBoot;

impl Uptime for SinceBoot {
    fn uptime(&self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one timespec to the place it is given, which lives until it returns
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
        // every kernel that FlexCore runs on has this clock, and what it tells is not negative
        assert_eq!(failed, 0, "the kernel has no CLOCK_BOOTTIME");
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let before = SinceBoot.uptime();
        assert!(before > Duration::ZERO);
        while SinceBoot.uptime() == before {}
        assert!(SinceBoot.uptime() > before);
    }
}
