//! Files of events: NDJSON, JSON, CSV or Parquet, packed or not, read one event at a time as JSON text.

use std::fs::File;
use std::path::{Path, PathBuf};

use shardmill_connectors::Failure;
use shardmill_connectors::batches::glob::has_wildcards;
use shardmill_connectors::batches::{self, Format, How, Input, Pattern, local};

use crate::cli::SourceFormat;

/// One event of a file: its JSON text on one line, or why its place in the file holds none.
pub(super) type Event = Result<String, String>;

/// The events of files, in order. The outer failure is one of reading: nothing follows it.
pub(super) type Events = Box<dyn Iterator<Item = Result<Event, Failure>> + Send>;

/// Opens a file (`-`: standard input). `null` is the text that stands for null in CSV.
pub(super) fn open(
    path: &Path,
    format: Option<SourceFormat>,
    null: Option<String>,
) -> Result<(Events, u64), Failure> {
    let size = size(path)?;
    Ok((events(path, format, null, false)?, size))
}

/// Opens files, one after the other; wildcards in a path that names no file stand for those that match, in order.
pub(super) fn open_all(
    paths: &[PathBuf],
    format: Option<SourceFormat>,
    null: Option<String>,
) -> Result<(Events, u64), Failure> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(matching(path)?);
    }
    if let [one] = files.as_slice() {
        return open(one, format, null);
    }
    let sizes: Vec<u64> = files.iter().map(|file| size(file)).collect::<Result<_, _>>()?;
    let one = move |file: PathBuf| -> Events {
        match events(&file, format, null.clone(), true) {
            Ok(events) => events,
            Err(failure) => Box::new(std::iter::once(Err(failure))),
        }
    };
    Ok((Box::new(files.into_iter().flat_map(one)), sizes.into_iter().sum()))
}

/// The files that a path means.
fn matching(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let shown = path.display().to_string();
    if shown.starts_with("s3://") {
        let advice = "a schedule reads files in S3; here, name files of this machine";
        return Err(Failure::rejected(format!("{shown} is not on this machine: {advice}")));
    }
    if !has_wildcards(&shown) || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let pattern: Pattern = shown.parse().map_err(Failure::rejected)?;
    let found = local::list(Path::new(""), &pattern).map_err(|error| unreadable(&shown, &error))?;
    if found.is_empty() {
        return Err(Failure::rejected(format!("no file matches {shown}")));
    }
    Ok(found.into_keys().map(PathBuf::from).collect())
}

/// The bytes of a file; 0 for standard input. One that does not exist is found before anything of the others is sent.
fn size(path: &Path) -> Result<u64, Failure> {
    if path == Path::new("-") {
        return Ok(0);
    }
    let shown = path.display().to_string();
    let known = std::fs::metadata(path).map_err(|error| unreadable(&shown, &error))?;
    Ok(known.len())
}

/// The events of one file; with `named`, what is wrong is told with the file's name.
fn events(
    path: &Path,
    format: Option<SourceFormat>,
    null: Option<String>,
    named: bool,
) -> Result<Events, Failure> {
    let shown = path.display().to_string();
    let input = match shown.as_str() {
        "-" => Input::Stream(Box::new(std::io::stdin())),
        _ => Input::File(File::open(path).map_err(|error| unreadable(&shown, &error))?),
    };
    let format = format.map_or_else(|| Format::of_name(&shown), Format::from);
    let rows = batches::open(input, How { format, null, shown: shown.clone() })?;
    let within = if named { format!("{shown}: ") } else { String::new() };
    Ok(Box::new(rows.map(move |row| {
        let row = row?;
        let wrong =
            |broken: batches::Broken| format!("{within}{}: {}", format.place(row.number), broken.reason);
        Ok(row.data.map_err(wrong))
    })))
}

fn unreadable(shown: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::rejected(format!("{shown} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_files_are_one_row_of_events_and_what_is_wrong_names_its_file() {
        let folder = std::env::temp_dir().join(format!("shardmill-source-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        std::fs::write(path("b.csv"), "id,n\n1,NA\n2\n").unwrap();
        std::fs::write(path("a.ndjson"), "{\"id\":0}\n").unwrap();
        std::fs::write(path("c[1].json"), "[7]").unwrap();
        let open = |paths: &[PathBuf]| open_all(paths, None, Some("NA".into()));
        let (events, size) = open(&[path("*.??*"), path("c[1].json")]).unwrap();
        let told: Vec<Event> = events.map(Result::unwrap).collect();
        assert_eq!(
            (told[0].as_deref(), told[1].as_deref()),
            (Ok("{\"id\":0}"), Ok(r#"{"id":"1","n":null}"#))
        );
        let wrong = told[2].as_ref().unwrap_err();
        assert!(wrong.contains("b.csv: line 3: this row has 1 fields"), "{wrong}");
        assert_eq!(
            (told.len(), size),
            (5, 9 + 12 + 3 + 3),
            "a name with a bracket is a name, if there is one"
        );
        assert!(open(&[path("*.none")]).err().unwrap().detail.contains("no file matches"));
        assert!(open(&[path("a.ndjson"), path("none")]).err().unwrap().detail.contains("cannot be read"));
        assert!(open(&["s3://b/k".into()]).err().unwrap().detail.contains("schedule"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
