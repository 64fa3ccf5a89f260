//! Tokens over a store in memory.

use std::net::Ipv4Addr;

use flexcore_actors::testkit::{ManualClock, MemoryTokens};

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn access(required: bool) -> (Access, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1));
    (Access::new(required, Arc::new(MemoryTokens::default()), clock.clone()), clock)
}

async fn role_of(access: &Access, header: &str) -> Option<Role> {
    access.identify(Some(header.as_bytes()), PEER).await.ok().map(|identity| identity.role)
}

#[tokio::test]
async fn without_a_token_only_who_need_not_have_one_is_let_in() {
    let identity = access(false).0.identify(None, PEER).await.unwrap();
    assert_eq!((identity.actor.as_str(), identity.role), ("anonymous@127.0.0.1", Role::Admin));
    assert!(matches!(access(true).0.identify(None, PEER).await, Err(Denied::Missing)));
}

#[tokio::test]
async fn a_bearer_has_the_role_of_the_token_until_it_ends() {
    let (access, clock) = access(false);
    let made = access.create(None, Role::Operator, Some(Duration::from_secs(60)), "me").await.unwrap();
    assert!(made.text.starts_with(PREFIX) && made.text.len() == PREFIX.len() + 43);
    assert!(!format!("{made:?}").contains(&made.text), "it is shown by nothing but its own field");
    let header = format!("bearer {}", made.text);
    assert_eq!(role_of(&access, &header).await, Some(Role::Operator));
    clock.advance(Duration::from_secs(60));
    assert_eq!(role_of(&access, &header).await, None, "expired, also where none is required");
    let second = access.create(None, Role::Admin, None, "me").await.unwrap();
    let header = format!("Bearer {}", second.text);
    assert_eq!(role_of(&access, &header).await, Some(Role::Admin));
    assert!(access.revoke(second.token.id).await.unwrap());
    assert_eq!(role_of(&access, &header).await, None, "at once");
    assert!(!access.revoke(TokenId(Uuid::nil())).await.unwrap());
    assert_eq!(access.list_all().await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_token_is_worth_nothing() {
    let (access, _) = access(true);
    let made = access.create(None, Role::Admin, None, "me").await.unwrap();
    let tampered = format!("{}A", &made.text[..made.text.len() - 1]);
    let shorter = &made.text[..made.text.len() - 1];
    for text in [tampered.as_str(), shorter, "x", "eyJhbGciOiJub25lIn0.e30."] {
        if text == made.text {
            continue; // its last character is an A once in 64 times
        }
        let denied = access.identify(Some(format!("Bearer {text}").as_bytes()), PEER).await.unwrap_err();
        assert!(matches!(denied, Denied::Worthless), "{denied}");
    }
    for header in ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer a b", &made.text] {
        let denied = access.identify(Some(header.as_bytes()), PEER).await.unwrap_err();
        assert!(matches!(denied, Denied::Malformed), "{header}: {denied}");
    }
    assert!(matches!(access.identify(Some(b"Bearer \xff"), PEER).await, Err(Denied::Malformed)));
    let key = Some(Uuid::from_u128(7));
    access.create(key, Role::Viewer, None, "me").await.unwrap();
    assert!(matches!(access.create(key, Role::Viewer, None, "me").await, Err(TokenError::Made)));
    for time in [Duration::ZERO, MAX_VALIDITY + Duration::from_secs(1), Duration::MAX] {
        assert!(matches!(
            access.create(None, Role::Admin, Some(time), "me").await,
            Err(TokenError::Validity)
        ));
    }
}
