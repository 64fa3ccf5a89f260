//! Time and randomness, so that tests run on a manual clock and can print their seed.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

/// The time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now, as recorded in events and compared with due times.
    fn now(&self) -> Timestamp;
}

/// How long the machine runs.
pub trait Uptime: Send + Sync + 'static {
    /// Time since some fixed moment. It never goes back, nobody sets it, and it goes on while the machine sleeps: a
    /// node that was suspended knows that its leases have run out.
    fn uptime(&self) -> Duration;
}

/// Fresh ids and random fractions.
pub trait IdSource: Send + Sync + 'static {
    /// A new UUID version 7: sorts by the time of its making.
    fn uuid(&self) -> Uuid;
    /// A number in `0.0..1.0`, for jitter.
    fn fraction(&self) -> f64;
}

/// The machine's clock and randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl IdSource for System {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn fraction(&self) -> f64 {
        // the last 32 bits of a version 7 UUID are random
        let random = u32::try_from(Uuid::now_v7().as_u128() & 0xffff_ffff).expect("masked to 32 bits");
        f64::from(random) / (f64::from(u32::MAX) + 1.0)
    }
}
