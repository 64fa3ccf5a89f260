//! How often the tokens of an address were worth nothing, for as long as that matters; bounded. A valid token is never counted
//! against, so that who shares an address with somebody who guesses is let in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Denied;

/// Failures of an address within [`WINDOW`] that are answered as what they are.
const FREE: u32 = 20;
/// After which an address is forgotten.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond, all that are new count together.
const ADDRESSES: usize = 4_096;
/// In the place of an address that there is no room for.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The failures of a minute.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl Failures {
    /// One more; how it is answered.
    pub(super) fn note(&self, peer: IpAddr) -> Denied {
        self.note_at(peer, Instant::now())
    }

    fn note_at(&self, peer: IpAddr, now: Instant) -> Denied {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = network(peer);
        if seen.len() >= ADDRESSES && !seen.contains_key(&place) {
            seen.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if seen.len() >= ADDRESSES {
                place = OTHERS;
            }
        }
        let (since, count) = seen.entry(place).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count <= FREE {
            return Denied::Worthless;
        }
        let left = WINDOW.saturating_sub(now.duration_since(*since));
        Denied::TooMany { retry_after: left.as_secs().max(1) }
    }
}

/// What one customer of a provider has: an IPv4 address, or 64 bits of IPv6.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_guesses_is_put_off_for_a_minute() {
        let (failures, start) = (Failures::default(), Instant::now());
        let [a, same, other] = ["2001:db8::1", "2001:db8::2", "192.0.2.7"].map(|text| text.parse().unwrap());
        for n in 0..FREE {
            let peer = if n % 2 == 0 { a } else { same };
            assert!(matches!(failures.note_at(peer, start), Denied::Worthless));
        }
        let Denied::TooMany { retry_after } = failures.note_at(a, start + Duration::from_secs(20)) else {
            panic!("it is still answered")
        };
        assert_eq!(retry_after, 40);
        assert!(matches!(failures.note_at(other, start), Denied::Worthless));
        assert!(matches!(failures.note_at(a, start + WINDOW), Denied::Worthless), "and then forgotten");
    }

    #[test]
    fn no_more_addresses_are_remembered_than_there_is_room_for() {
        let (failures, start) = (Failures::default(), Instant::now());
        let peer = |n: usize| IpAddr::V4(std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap()));
        for n in 0..3 * ADDRESSES {
            failures.note_at(peer(n), start);
        }
        assert_eq!(failures.0.lock().unwrap().len(), ADDRESSES + 1);
        assert!(matches!(failures.note_at(peer(1 << 20), start), Denied::TooMany { .. }));
        assert!(matches!(failures.note_at(peer(1 << 20), start + WINDOW), Denied::Worthless));
        assert_eq!(failures.0.lock().unwrap().len(), 1, "those of a minute ago make room");
    }
}
