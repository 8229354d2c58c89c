//! Which files are meant: a path or an `s3://` URL in which `*`, `?` and `[…]` stand for parts of a name, and `**` for any folders.
//!
//! No wildcard matches a `/` (but `**`, alone between two of them), and none the dot at the beginning of a name: what somebody is
//! still writing can be called so.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    bucket: String,
    text: String,
    parts: Vec<Part>,
}

/// What stands between two `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Exactly this name.
    Name(String),
    /// A name that matches.
    Like(Vec<Token>),
    /// Any number of folders.
    Folders,
}

/// A part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Is(char),
    /// Any character.
    Any,
    /// Any characters.
    Many,
    /// One of these, or none of these.
    OneOf { ranges: Vec<(char, char)>, not: bool },
}

/// Whether a text has wildcards.
pub fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

impl Pattern {
    /// The bucket; empty for files of this machine.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The pattern of keys; of paths when there is no bucket.
    pub fn key(&self) -> &str {
        &self.text
    }

    /// What every key that matches begins with.
    pub fn prefix(&self) -> &str {
        let end = self.text.find(['*', '?', '[']).unwrap_or(self.text.len());
        self.text.get(..end).unwrap_or_default()
    }

    /// Whether a key matches.
    pub fn matches(&self, key: &str) -> bool {
        let names: Vec<&str> = key.split('/').collect();
        // `fits[n]`: the parts looked at so far match the first n names.
        let mut fits = vec![false; names.len() + 1];
        fits[0] = true;
        for part in &self.parts {
            let mut next = vec![false; names.len() + 1];
            if *part == Part::Folders {
                next[0] = fits[0];
            }
            for (at, name) in names.iter().enumerate() {
                next[at + 1] = match part {
                    Part::Folders => fits[at + 1] || (next[at] && !name.starts_with('.')),
                    part => fits[at] && part.fits(name),
                };
            }
            fits = next;
        }
        fits.last().copied().unwrap_or_default()
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl Part {
    /// Whether it matches one name.
    pub(super) fn fits(&self, name: &str) -> bool {
        match self {
            Part::Name(wanted) => wanted == name,
            Part::Folders => !name.starts_with('.'),
            Part::Like(tokens) => {
                let hidden = name.starts_with('.') && tokens.first() != Some(&Token::Is('.'));
                !hidden && like(tokens, name)
            }
        }
    }
}

fn like(tokens: &[Token], name: &str) -> bool {
    // `fits[n]`: the tokens looked at so far match the first n characters.
    let characters: Vec<char> = name.chars().collect();
    let mut fits = vec![false; characters.len() + 1];
    fits[0] = true;
    for token in tokens {
        let mut next = vec![false; characters.len() + 1];
        if *token == Token::Many {
            next[0] = fits[0];
        }
        for (at, character) in characters.iter().enumerate() {
            next[at + 1] = match token {
                Token::Many => fits[at + 1] || next[at],
                Token::Any => fits[at],
                Token::Is(wanted) => fits[at] && wanted == character,
                Token::OneOf { ranges, not } => {
                    let within = ranges.iter().any(|(from, to)| (from..=to).contains(&character));
                    fits[at] && within != *not
                }
            };
        }
        fits = next;
    }
    fits.last().copied().unwrap_or_default()
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bucket, key) = match text.strip_prefix("s3://") {
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
            None => ("", text.strip_prefix("file://").unwrap_or(text)),
        };
        if has_wildcards(bucket) {
            return Err(format!("`{text}` has a wildcard in the bucket's name: name one bucket"));
        }
        if key.is_empty() || (bucket.is_empty() && text.starts_with("s3://")) {
            return Err(format!("`{text}` names no files: write it like s3://bucket/in/*.csv.gz"));
        }
        let parts = key.split('/').map(part).collect::<Result<_, _>>();
        let parts = parts.map_err(|wrong| format!("`{text}`: {wrong}"))?;
        Ok(Pattern { bucket: bucket.to_owned(), text: key.to_owned(), parts })
    }
}

fn part(text: &str) -> Result<Part, String> {
    if text == "**" {
        return Ok(Part::Folders);
    }
    if !has_wildcards(text) {
        return Ok(Part::Name(text.to_owned()));
    }
    let mut tokens = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        tokens.push(match character {
            '*' => Token::Many,
            '?' => Token::Any,
            '[' => {
                let (within, after) = rest.as_str().split_once(']').ok_or("a `[` is not closed")?;
                rest = after.chars();
                one_of(within)?
            }
            character => Token::Is(character),
        });
    }
    Ok(Part::Like(tokens))
}

fn one_of(text: &str) -> Result<Token, String> {
    let (not, text) = match text.strip_prefix(['!', '^']) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let characters: Vec<char> = text.chars().collect();
    let (mut ranges, mut rest) = (Vec::new(), characters.as_slice());
    while let [first, after @ ..] = rest {
        rest = after;
        let mut last = *first;
        if let ['-', to, after @ ..] = rest {
            (last, rest) = (*to, after);
        }
        if last < *first {
            return Err(format!("the range {first}-{last} runs backwards"));
        }
        ranges.push((*first, last));
    }
    if ranges.is_empty() { Err("`[]` matches nothing".to_owned()) } else { Ok(Token::OneOf { ranges, not }) }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bucket.as_str() {
            "" => f.write_str(&self.text),
            bucket => write!(f, "s3://{bucket}/{}", self.text),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(key)
    }

    #[test]
    fn wildcards_stay_within_a_name_and_two_stars_within_nothing() {
        for (pattern, key, wanted) in [
            ("in/*.csv.gz", "in/a.csv.gz", true),
            ("in/*.csv.gz", "in/a.csv", false),
            ("in/*.csv.gz", "in/b/a.csv.gz", false),
            ("in/**/*.csv", "in/a.csv", true),
            ("in/**/*.csv", "in/x/y/a.csv", true),
            ("in/**/*.csv", "in/.x/a.csv", false),
            ("in/**", "in/x/y", true),
            ("/data/20[0-9][0-9]-??.csv", "/data/2026-11.csv", true),
            ("/data/20[!0-9]*", "/data/2026", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("*", "a/b", false),
            ("exact", "exact", true),
            ("[a-]x", "-x", true),
        ] {
            assert_eq!(matches(pattern, key), wanted, "{pattern} {key}");
        }
    }

    #[test]
    fn patterns_that_mean_nothing_are_told() {
        for (text, told) in [
            ("s3://bucket", "names no files"),
            ("s3:///x", "names no files"),
            ("", "names no files"),
            ("s3://b*/x", "bucket"),
            ("a[b", "not closed"),
            ("a[]", "nothing"),
            ("a[z-a]", "backwards"),
        ] {
            let wrong = text.parse::<Pattern>().unwrap_err();
            assert!(wrong.contains(told), "{wrong}");
        }
        let pattern: Pattern = "s3://b/in/x-*.csv".parse().unwrap();
        assert_eq!((pattern.bucket(), pattern.prefix()), ("b", "in/x-"));
        assert_eq!(pattern.to_string(), "s3://b/in/x-*.csv");
    }

    proptest! {
        /// What is put for the stars of a pattern is found by it, and everything that matches begins with its prefix.
        #[test]
        fn what_a_star_stands_for_matches(parts in proptest::collection::vec("[a-c]{0,3}", 1..5), fill in "[a-d]{0,4}") {
            let pattern: Pattern = format!("x{}", parts.join("*")).parse().unwrap();
            let key = format!("x{}", parts.join(&fill));
            prop_assert!(pattern.matches(&key));
            prop_assert!(key.starts_with(pattern.prefix()));
        }
    }
}
