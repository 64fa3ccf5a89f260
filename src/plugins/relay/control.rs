//! Orders to a running relay thread: a flag and a descriptor that wakes its `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// What a relay is told. Later orders include earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Order {
    /// Go on.
    Relay = 0,
    /// The upstream program and all its descendants are gone: what the pipe holds is all there is.
    UpstreamGone = 1,
    /// Deliver what was read, end the downstream's input, and throw away what else the upstream writes.
    Finish = 2,
    /// Leave at once; nobody is interested any more.
    Abandon = 3,
}

/// The sending side, cloneable; the relay holds one too.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    order: AtomicU8,
    wake: EventFd,
}

impl Control {
    /// A control that orders nothing yet.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(Arc::new(Inner { order: AtomicU8::new(Order::Relay as u8), wake })))
    }

    /// Gives an order; one that is already included changes nothing.
    pub fn order(&self, order: Order) {
        self.0.order.fetch_max(order as u8, Ordering::AcqRel);
        // fails only when the counter is full, and then the relay is awake anyway
        let _ = self.0.wake.write(1);
    }

    /// The furthest order given.
    #[must_use]
    pub fn current(&self) -> Order {
        match self.0.order.load(Ordering::Acquire) {
            0 => Order::Relay,
            1 => Order::UpstreamGone,
            2 => Order::Finish,
            _ => Order::Abandon,
        }
    }

    /// What to wait for besides the pipes.
    #[must_use]
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }

    /// Forgets wake-ups that were noticed.
    pub fn noticed(&self) {
        // would block when there was none
        let _ = self.0.wake.read();
    }
}
