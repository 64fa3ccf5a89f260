//! File names from stream names: readable, different for different streams, and never a way out of the directory.

/// The longest file name that is made, in bytes, extension left out. File systems allow 255 in all.
const MAX_NAME: usize = 200;

/// Letters, digits, `-`, `_` and inner dots stay; everything else becomes `%XX`. `None` for a name that is
/// empty or comes out longer than a file name may be.
pub(super) fn file_name(stream: &str) -> Option<String> {
    let mut name = String::with_capacity(stream.len());
    for (at, character) in stream.char_indices() {
        let plain =
            character.is_alphanumeric() || matches!(character, '-' | '_') || (character == '.' && at > 0);
        if plain {
            name.push(character);
        } else {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                name.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    (!name.is_empty() && name.len() <= MAX_NAME).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_distinct() {
        for (stream, name) in [
            ("public-orders_2.v1", "public-orders_2.v1"),
            ("größe", "größe"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            (".", "%2E"),
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
            ("a\0b\n", "a%00b%0A"),
        ] {
            assert_eq!(file_name(stream).as_deref(), Some(name), "{stream}");
        }
        assert_eq!(file_name(""), None);
        assert_eq!(file_name(&"x".repeat(MAX_NAME + 1)), None);
        assert_eq!(file_name(&"/".repeat(MAX_NAME)), None);
    }
}
