//! The program's name service: granted names have the addresses of their listeners, and no other name exists. It is for
//! what asks DNS itself instead of reading `/etc/hosts`, or waits long for a server that is not there. Never in here: a
//! question to anyone else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const HEADER_BYTES: usize = 12;
/// Longest name in wire form, and longest label.
const NAME_BYTES: usize = 255;
const LABEL_BYTES: usize = 63;

const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const CLASS_IN: u16 = 1;

const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const NO_SUCH_NAME: u8 = 3;

/// An answer to send back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) message: Vec<u8>,
    /// The name, if it was asked for a host that is not granted.
    pub(super) denied: Option<String>,
}

/// Answers one plain question; `None` for anything else, which gets no answer at all.
pub(super) fn answer(question: &[u8], granted: &BTreeMap<String, IpAddr>) -> Option<Answer> {
    let header = question.get(..HEADER_BYTES)?;
    let counts = &header[4..10];
    // a query, the standard one; one question, no records but in the additional section, which extensions use
    let is_query = header[2] & (RESPONSE | OPCODE) == 0;
    if !is_query || counts != [0, 1, 0, 0, 0, 0] {
        return None;
    }
    let (name, end) = name(question)?;
    let asked = question.get(HEADER_BYTES..end + 4)?;
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let class = u16::from_be_bytes([question[end + 2], question[end + 3]]);
    let known = granted.get(&name);
    let record = match known {
        Some(IpAddr::V4(address)) if kind == TYPE_A && class == CLASS_IN => Some(*address),
        _ => None,
    };
    let code = if known.is_some() { 0 } else { NO_SUCH_NAME };
    let mut message = header[..2].to_vec();
    message.extend([RESPONSE | header[2] & RECURSION_DESIRED, RECURSION_AVAILABLE | code]);
    message.extend([0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]);
    message.extend(asked);
    message.extend(record.map(address_record).unwrap_or_default());
    // who an address belongs to is asked by servers of all kinds, out of habit
    let denied = (known.is_none() && kind != TYPE_PTR).then_some(name);
    Some(Answer { message, denied })
}

/// The name of the question, in lower case, and where its wire form ends.
fn name(question: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut name) = (HEADER_BYTES, String::new());
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        // a pointer has no sense in a first name
        if length > LABEL_BYTES || at + length - HEADER_BYTES >= NAME_BYTES {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        let label = question.get(at..at + length)?;
        name.extend(label.iter().flat_map(|byte| byte.to_ascii_lowercase().escape_ascii().map(char::from)));
        at += length;
    }
}

/// A record that refers to the question's name and is not to be kept.
fn address_record(address: Ipv4Addr) -> Vec<u8> {
    let mut record = vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4];
    record.extend(address.octets());
    record
}

#[cfg(test)]
mod tests {
    use super::{NAME_BYTES, answer};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    fn query(labels: &[&str], kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, kind, 0, 1]);
        bytes
    }

    fn granted() -> BTreeMap<String, IpAddr> {
        BTreeMap::from([("db.internal".to_owned(), IpAddr::from([127, 1, 0, 1]))])
    }

    #[test]
    fn only_granted_names_exist() {
        let question = query(&["DB", "internal"], 1);
        let found = answer(&question, &granted()).unwrap();
        assert_eq!(found.denied, None);
        assert_eq!(found.message[..12], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(found.message[12..question.len()], question[12..]);
        assert_eq!(found.message[question.len()..][10..], [0, 4, 127, 1, 0, 1]);

        let no_ipv6 = answer(&query(&["db", "internal"], 28), &granted()).unwrap();
        assert_eq!((no_ipv6.message[3] & 15, no_ipv6.message[7], no_ipv6.denied), (0, 0, None));

        let other = answer(&query(&["evil", "example"], 1), &granted()).unwrap();
        assert_eq!((other.message[3] & 15, other.message[7]), (3, 0));
        assert_eq!(other.denied.as_deref(), Some("evil.example"));
        let reverse = answer(&query(&["1", "in-addr", "arpa"], 12), &granted()).unwrap();
        assert_eq!((reverse.message[3] & 15, reverse.denied), (3, None));
        let odd = answer(&query(&["a\n\"\u{1}"], 1), &granted()).unwrap();
        assert_eq!(odd.denied.as_deref(), Some("a\\n\\\"\\x01"));
    }

    #[test]
    fn extensions_are_passed_over() {
        let mut question = query(&["evil"], 1);
        question[11] = 1;
        question.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let found = answer(&question, &granted()).unwrap();
        assert_eq!(found.message.len(), question.len() - 11);
        assert_eq!(found.message[10..12], [0, 0]);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let good = query(&["a", "b"], 1);
        for end in 0..good.len() {
            assert_eq!(answer(&good[..end], &granted()), None, "{end}");
        }
        for (at, byte) in [(2, 0x81), (2, 0x28), (4, 1), (5, 0), (5, 2), (7, 1), (9, 1), (12, 0xc0), (12, 64)]
        {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(answer(&bad, &granted()), None, "{at} {byte}");
        }
        let label = "x".repeat(63);
        assert_eq!(answer(&query(&[label.as_str(); 4], 1), &granted()), None, "longer than a name may be");
        assert!(answer(&query(&[&label, &label, &label, &label[..61]], 1), &granted()).is_some());
    }

    proptest! {
        #[test]
        fn an_answer_is_never_much_longer_than_its_question(bytes in prop::collection::vec(any::<u8>(), 0..600), fix: bool) {
            let mut bytes = bytes;
            if fix && bytes.len() > 12 {
                bytes[2] &= 0x87 & 0x7f;
                bytes[4..10].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
            }
            if let Some(found) = answer(&bytes, &granted()) {
                prop_assert!(found.message.len() <= bytes.len() + 16);
                prop_assert!(found.message[2] & 0x80 != 0);
                prop_assert!(found.denied.is_none_or(|name| name.len() <= 4 * NAME_BYTES));
            }
        }
    }
}
