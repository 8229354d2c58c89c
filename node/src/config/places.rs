//! Where each key of a section stands, for problems that are found only after the file has been read.

use std::collections::BTreeMap;

/// The lines of a section's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    section: usize,
    lines: BTreeMap<String, usize>,
}

impl Places {
    /// A section that begins at this line; 0: it is in no file.
    pub(super) fn at(section: usize) -> Self {
        Places { section, lines: BTreeMap::new() }
    }

    /// Notes the line of a key: dotted, elements of lists as `key[0]`.
    pub(super) fn note(&mut self, key: &str, line: usize) {
        self.lines.insert(key.to_owned(), line);
    }

    /// The line of a key, or of the nearest one around it that is written.
    pub(super) fn line(&self, key: &str) -> usize {
        let mut rest = key;
        loop {
            if let Some(line) = self.lines.get(rest) {
                return *line;
            }
            match rest.rfind(['.', '[']) {
                Some(cut) => rest = &rest[..cut],
                None => return self.section,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_written_has_the_line_of_what_is_around_it() {
        let mut places = Places::at(3);
        for (key, line) in [("map", 5), ("map.rename", 6), ("map.rename./a.b", 7), ("map.drop[1]", 9)] {
            places.note(key, line);
        }
        for (key, line) in [
            ("map.rename./a.b", 7),
            ("map.rename./a.c", 6),
            ("map.drop[1]", 9),
            ("map.drop[0]", 5),
            ("map.x.y", 5),
            ("url", 3),
            ("", 3),
        ] {
            assert_eq!(places.line(key), line, "{key}");
        }
    }
}
