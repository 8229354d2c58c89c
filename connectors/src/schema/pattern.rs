//! Patterns: JSON Schema's regular expressions (ECMA-262) in the dialect of the `regex` crate.

use regex::Regex;

/// Compiles a pattern, or says what cannot be compiled.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| outside_classes(pattern, look)) {
        return Err("look-around is not supported".to_owned());
    }
    Regex::new(&translate(pattern)).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// The same pattern with the meanings of ECMA-262: `\d`, `\w` and `\b` know ASCII only, classes do not nest.
fn translate(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => match rest.next() {
                Some('d') => translated.push_str("[0-9]"),
                Some('D') => translated.push_str("[^0-9]"),
                Some('w') => translated.push_str("[0-9A-Za-z_]"),
                Some('W') => translated.push_str("[^0-9A-Za-z_]"),
                Some('b') if !in_class => translated.push_str("(?-u:\\b)"),
                Some('b') => translated.push_str("\\x08"),
                Some(other) => translated.extend(['\\', other]),
                None => translated.push('\\'),
            },
            // A bracket or a doubled sign within a class is an ordinary character there, and an operator here.
            '[' if in_class => translated.push_str("\\["),
            '&' | '~' if in_class => translated.extend(['\\', next]),
            '[' => {
                in_class = true;
                translated.push('[');
            }
            ']' => {
                in_class = false;
                translated.push(']');
            }
            other => translated.push(other),
        }
    }
    translated
}

fn outside_classes(pattern: &str, look: &str) -> bool {
    pattern.match_indices(look).any(|(at, _)| {
        let before = &pattern[..at];
        let escapes = before.bytes().rev().take_while(|byte| *byte == b'\\').count();
        escapes % 2 == 0 && before.matches('[').count() <= before.matches(']').count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_ecma_says() {
        let table = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^[\d\-]+$", "1-2", true),
            (r"^\w$", "é", false),
            (r"\bcat\b", "a cat!", true),
            (r"^[[a]$", "[", true),
            (r"^[&&~~a]$", "&", true),
            (r"^\/a\.b$", "/a.b", true),
            ("b", "abc", true),
            (r"^\p{L}+$", "é", true),
            ("^.$", "😀", true),
        ];
        for (pattern, text, wanted) in table {
            assert_eq!(compile(pattern).unwrap().is_match(text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn what_cannot_be_compiled_is_refused() {
        for pattern in ["(?=a)", "a(?!b)", "(?<=a)b", r"(a)\1", "(", "a{99999999}"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
