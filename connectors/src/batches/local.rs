//! Which files of this machine a pattern means. Only folders that can hold one are looked into; `**` follows no
//! links.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::glob::{Part, Pattern};

/// The files that `pattern` means, by key: the path from `base` as the pattern writes it.
///
/// # Errors
/// When a folder cannot be read. One that does not exist holds no files.
pub fn list(base: &Path, pattern: &Pattern) -> io::Result<BTreeMap<String, Metadata>> {
    let mut walk = Walk { base, found: BTreeMap::new() };
    walk.parts(pattern.parts(), "")?;
    Ok(walk.found)
}

struct Walk<'a> {
    base: &'a Path,
    found: BTreeMap<String, Metadata>,
}

impl Walk<'_> {
    /// Where a key is; that of a folder ends with a `/`, or is empty.
    fn path(&self, key: &str) -> PathBuf {
        self.base.join(if key.is_empty() { "." } else { key })
    }

    /// Looks for `parts` in the folder `key`.
    fn parts(&mut self, parts: &[Part], key: &str) -> io::Result<()> {
        match parts {
            [] => Ok(()),
            [Part::Folders, rest @ ..] => {
                // Alone at the end it means every file, as `**/*` would.
                let any = [Part::Like(vec![super::glob::Token::Many])];
                self.parts(if rest.is_empty() { &any } else { rest }, key)?;
                for (name, known) in self.entries(key)? {
                    if known.is_dir() && parts.first().is_some_and(|part| part.fits(&name)) {
                        self.parts(parts, &format!("{key}{name}/"))?;
                    }
                }
                Ok(())
            }
            [Part::Name(name), rest @ ..] => self.named(name, rest, key),
            [part, rest @ ..] => {
                for (name, _) in self.entries(key)? {
                    if part.fits(&name) {
                        self.named(&name, rest, key)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Goes on with what is called `name` in the folder `key`.
    fn named(&mut self, name: &str, rest: &[Part], key: &str) -> io::Result<()> {
        let below = format!("{key}{name}");
        if !rest.is_empty() {
            return self.parts(rest, &format!("{below}/"));
        }
        match fs::metadata(self.path(&below)) {
            Ok(known) if known.is_file() => _ = self.found.insert(below, known),
            Ok(_) => {}
            Err(error) if is_nothing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What is in a folder. A link counts as what it is: nobody walks in circles.
    fn entries(&self, key: &str) -> io::Result<Vec<(String, Metadata)>> {
        let entries = match fs::read_dir(self.path(key)) {
            Ok(entries) => entries,
            Err(error) if is_nothing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                tracing::warn!(path = %entry.path().display(), "a file's name is not UTF-8: it is left out");
                continue;
            };
            match entry.metadata() {
                Ok(known) => found.push((name, known)),
                Err(error) if is_nothing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// It is not there, or not there any more.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_what_matches_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a.csv", "b.json", ".c.csv", "x/a.csv", "x/y/a.csv", "x/.y/a.csv", "z.csv/w"];
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "1").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            list(folder.path(), &pattern.parse().unwrap()).unwrap().into_keys().collect()
        };
        assert_eq!(names("*.csv"), ["a.csv"], "a folder is no file, and what is hidden is not meant");
        assert_eq!(names("**/*.csv"), ["a.csv", "x/a.csv", "x/y/a.csv"]);
        assert_eq!(names("x/**"), ["x/a.csv", "x/y/a.csv"]);
        assert_eq!(names("?/*"), ["x/a.csv"]);
        assert_eq!(names("none/*.csv"), Vec::<String>::new());
        assert_eq!(names("b.json"), ["b.json"]);
        let absolute = format!("{}/*.json", folder.path().display());
        assert_eq!(names(&absolute), [format!("{}/b.json", folder.path().display())]);
    }
}
