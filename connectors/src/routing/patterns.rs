//! Patterns of event names, in which `*` stands for anything, compiled so that plain names cost one look-up.

use std::collections::HashSet;

/// A list of patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    /// `*` is among them.
    all: bool,
    plain: HashSet<Box<str>>,
    starred: Vec<Starred>,
}

/// A pattern with at least one `*` and something else: how names begin and end, and what comes between, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Starred {
    first: Box<str>,
    between: Vec<Box<str>>,
    last: Box<str>,
}

impl Patterns {
    /// Compiles them.
    pub fn of<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Self {
        let mut compiled = Patterns::default();
        for pattern in patterns {
            match pattern.split_once('*') {
                None => {
                    compiled.plain.insert(pattern.into());
                }
                Some(_) if pattern.bytes().all(|byte| byte == b'*') => compiled.all = true,
                Some((first, rest)) => compiled.starred.push(Starred::of(first, rest)),
            }
        }
        compiled
    }

    /// Whether a name is among them; an event without a name is matched by `*` alone.
    pub fn matches(&self, name: Option<&str>) -> bool {
        let Some(name) = name else { return self.all };
        self.all || self.plain.contains(name) || self.starred.iter().any(|pattern| pattern.matches(name))
    }
}

impl Patterns {
    /// Whether everything that `pattern` stands for is among them, and by one of them alone.
    ///
    /// A `*` can only be matched whatever it stands for where a `*` of ours is. So it is enough to ask for one name, with a letter
    /// in place of each `*` that no pattern has.
    pub fn cover(&self, pattern: &str) -> bool {
        self.matches(Some(&pattern.replace('*', "\u{10ffff}")))
    }
}

impl Starred {
    fn of(first: &str, rest: &str) -> Self {
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let between = between.split('*').filter(|part| !part.is_empty()).map(Into::into).collect();
        Starred { first: first.into(), between, last: last.into() }
    }

    /// Each part is taken at its first place after the one before: if a name fits at all, it fits that way.
    fn matches(&self, name: &str) -> bool {
        let inner = name.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&*self.last));
        let after = |rest: &mut &str, part: &str| {
            let at = rest.find(part)?;
            *rest = &rest[at + part.len()..];
            Some(())
        };
        inner.is_some_and(|mut rest| self.between.iter().all(|part| after(&mut rest, part).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => naive(&pattern[1..], name) || (!name.is_empty() && naive(pattern, &name[1..])),
            (Some(one), Some(other)) => one == other && naive(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    #[test]
    fn names_match_or_not() {
        let patterns = Patterns::of(["Order *", "page_view", "*.done", "a*b*c"]);
        for name in ["Order Completed", "Order ", "page_view", ".done", "x.done", "abc", "a-b-b-c"] {
            assert!(patterns.matches(Some(name)), "{name}");
        }
        for name in ["Order", "order x", "page_views", "", "acb", "abcx"] {
            assert!(!patterns.matches(Some(name)), "{name}");
        }
        assert!(!Patterns::of(["ab*ba"]).matches(Some("aba")), "first and last do not overlap");
        assert!(
            !patterns.matches(None)
                && Patterns::of(["**"]).matches(None)
                && Patterns::of(["*"]).matches(Some(""))
        );
    }

    proptest! {
        #[test]
        fn what_covers_a_pattern_takes_every_name_of_it(
            patterns in prop::collection::vec("[ab*]{1,5}", 1..3), pattern in "[ab*]{1,5}", fill in prop::collection::vec("[ab]{0,3}", 5),
        ) {
            let compiled = Patterns::of(patterns.iter().map(String::as_str));
            let mut fill = fill.into_iter();
            let name: String = pattern.chars().map(|c| if c == '*' { fill.next().unwrap() } else { c.to_string() }).collect();
            if compiled.cover(&pattern) {
                prop_assert!(compiled.matches(Some(&name)), "{:?} {} {}", patterns, pattern, name);
            } else {
                let strange = pattern.replace('*', "#");
                prop_assert!(!compiled.matches(Some(&strange)), "{:?} {}", patterns, pattern);
            }
        }

        #[test]
        fn agrees_with_the_naive_reading(patterns in prop::collection::vec("[ab*é]{1,7}", 0..4), name in "[abé]{0,9}") {
            let wanted = patterns.iter().any(|pattern| naive(pattern.as_bytes(), name.as_bytes()));
            let compiled = Patterns::of(patterns.iter().map(String::as_str));
            prop_assert_eq!(compiled.matches(Some(&name)), wanted, "{:?} {}", patterns, name);
        }
    }
}
