//! What is told of notes, without a server. With one: `tests/integration/redis.rs`.

use super::builder;

#[test]
fn a_url_that_is_none_is_refused_without_being_shown() {
    for url in ["", "redis//x", "http://u:hidden@h", "redis://:hidden@h:notaport"] {
        let Err(error) = builder(url) else { panic!("{url} was accepted") };
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
    assert!(builder("redis://:password@127.0.0.1:6379/3").is_ok());
}
