//! JSON pointers (RFC 6901), checked and split once, used for every event.

use std::borrow::Cow;
use std::fmt;

/// A pointer to something inside an object: at least one token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

/// Why a text is no pointer, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPointer {
    /// What is wrong.
    pub message: String,
    /// What would mend it.
    pub fix: String,
}

impl Pointer {
    /// Reads a pointer. The empty one, which means the whole event, is refused: nothing here is done to a whole event.
    pub fn parse(text: &str) -> Result<Pointer, NoPointer> {
        let no = |fix: String| NoPointer { message: format!("`{text}` is not a JSON pointer"), fix };
        let Some(rest) = text.strip_prefix('/') else {
            return Err(no(format!("write \"/{}\"", text.trim_start_matches("$.").replace('.', "/"))));
        };
        if text.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
            return Err(no("write `~0` for `~` and `~1` for `/` within a name".to_owned()));
        }
        let tokens = rest.split('/').map(|token| unescape(token).into_owned()).collect();
        Ok(Pointer { text: text.to_owned(), tokens })
    }

    /// The pointer as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its names and indexes, unescaped; at least one.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Whether it leads to `other` or to something inside it.
    pub fn is_within(&self, other: &Pointer) -> bool {
        self.tokens.starts_with(&other.tokens)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name that a token stands for.
pub(super) fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') { token.replace("~1", "/").replace("~0", "~").into() } else { token.into() }
}

/// The element that a token names in an array: digits without a leading zero.
pub(super) fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if plain { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_split_and_unescaped() {
        let pointer = Pointer::parse("/a~1b/~01//0").unwrap();
        assert_eq!(pointer.tokens(), ["a/b", "~1", "", "0"]);
        assert_eq!((pointer.as_str(), pointer.to_string().as_str()), ("/a~1b/~01//0", "/a~1b/~01//0"));
        assert_eq!(Pointer::parse("/").unwrap().tokens(), [""]);
        assert!(pointer.is_within(&Pointer::parse("/a~1b").unwrap()));
        assert!(!Pointer::parse("/ab").unwrap().is_within(&Pointer::parse("/a").unwrap()));
    }

    #[test]
    fn what_is_no_pointer_is_told_how_to_become_one() {
        for (wrong, fix) in [
            ("", "write \"/\""),
            ("userId", "write \"/userId\""),
            ("$.context.ip", "write \"/context/ip\""),
            ("/a~", "write `~0` for `~` and `~1` for `/` within a name"),
            ("/a~2", "write `~0` for `~` and `~1` for `/` within a name"),
        ] {
            assert_eq!(Pointer::parse(wrong).unwrap_err().fix, fix, "{wrong}");
        }
    }

    #[test]
    fn indexes_have_one_spelling() {
        for (token, wanted) in [("0", Some(0)), ("10", Some(10)), ("", None), ("01", None), ("+1", None)] {
            assert_eq!(index(token), wanted, "{token}");
        }
        assert_eq!(index("99999999999999999999999"), None);
    }
}
