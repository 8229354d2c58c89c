//! Reading `[[schedules]]`: when files of rows are put into which stream.

use std::collections::BTreeMap;

use shardmill_connectors::batches::{Cron, Format, Pattern};
use shardmill_connectors::nearest::advice;

use super::model::{Backend, Intake, Schedule, Stream};
use super::reader::Section;
use super::setting::Setting;

impl Setting for Cron {
    const EXAMPLE: &'static str = "\"0 * * * *\" (minute hour day month weekday, UTC)";
}

impl Setting for Pattern {
    const EXAMPLE: &'static str = "\"s3://bucket/in/*.csv.gz\" or \"in/*.ndjson\"";
}

impl Setting for Format {
    const EXAMPLE: &'static str = "\"csv\", \"ndjson\", \"json\" or \"parquet\"";
}

/// Reads every schedule.
pub(super) fn read(
    sections: Vec<Section<'_>>,
    streams: &BTreeMap<String, Stream>,
    intakes: &BTreeMap<String, Intake>,
    backend: Backend,
) -> Vec<Schedule> {
    let mut schedules: Vec<Schedule> = Vec::new();
    for section in sections {
        let taken = |name: &str| {
            let kinds = [
                ("a stream", streams.contains_key(name)),
                ("an intake", intakes.contains_key(name)),
                ("another schedule", schedules.iter().any(|known| known.name == name)),
            ];
            kinds.into_iter().find(|(_, is)| *is).map(|(kind, _)| kind)
        };
        let read = one(section, streams, taken, backend);
        schedules.extend(read);
    }
    schedules
}

fn one(
    mut section: Section<'_>,
    streams: &BTreeMap<String, Stream>,
    taken: impl Fn(&str) -> Option<&'static str>,
    backend: Backend,
) -> Option<Schedule> {
    let (name, cron) = (section.text("name"), section.setting::<Cron>("cron"));
    let (files, stream) = (section.setting::<Pattern>("files"), section.text("stream"));
    let name = section.required("name", name, "\"nightly\"");
    let cron = section.required("cron", cron, "\"0 * * * *\"");
    let files = section.required("files", files, Pattern::EXAMPLE);
    let stream = section.required("stream", stream, "\"web\"");
    let (format, null) = (section.setting("format"), section.text("null"));
    if let Some(name) = &name {
        if !is_name(name) {
            section.report("name", format!("`{name}` is not a name"), "letters, digits, `_`, `-` and `.`");
        }
        if let Some(kind) = taken(name) {
            let fix = "call it otherwise: dead letters tell by the name where they are from";
            section.report("name", format!("{kind} is called `{name}` as well"), fix);
        }
    }
    if let Some(stream) = stream.as_ref().filter(|stream| !streams.contains_key(*stream)) {
        let known: Vec<&str> = streams.keys().map(String::as_str).collect();
        section.report("stream", format!("the stream `{stream}` is not configured"), advice(stream, &known));
    }
    if backend == Backend::Aws && files.as_ref().is_some_and(|files| files.bucket().is_empty()) {
        let fix = "write it like \"s3://bucket/in/*.csv.gz\": any node may run the schedule";
        section.report("files", "the backend \"aws\" reads files in S3", fix);
    }
    section.finish();
    Some(Schedule { name: name?, cron: cron?, files: files?, stream: stream?, format, null })
}

/// It stands in names of documents.
fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(fits) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::batches::Format;

    use crate::config::{Config, Problem};

    fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse("c.toml", &format!("[streams.web]\n{text}"), &|_| None)
    }

    const WHOLE: &str = "[[schedules]]\nname = \"nightly\"\ncron = \"30 2 * * MON-FRI\"\n\
        files = \"s3://acme/in/*.csv.gz\"\nstream = \"web\"\nformat = \"csv\"\nnull = \"\"\n";

    #[test]
    fn schedules_are_read() {
        let minimal = "[[schedules]]\nname = \"b\"\ncron = \"@daily\"\nfiles = \"in/*\"\nstream = \"web\"\n";
        let config = parse(&format!("{WHOLE}{minimal}")).unwrap();
        let [first, second] = config.schedules.as_slice() else { panic!("{:?}", config.schedules) };
        assert_eq!((first.name.as_str(), first.stream.as_str()), ("nightly", "web"));
        assert_eq!((first.files.bucket(), first.format), ("acme", Some(Format::Csv)));
        assert_eq!((first.null.as_deref(), second.null.as_deref(), second.format), (Some(""), None, None));
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_told_with_what_would_mend_it() {
        for (from, to, line, told) in [
            ("\"web\"", "\"wep\"", 6, "did you mean `web`?"),
            ("30 2 * * MON-FRI", "61 2 * * *", 4, "no minute"),
            ("30 2 * * MON-FRI", "0 0 30 2 *", 4, "never fires"),
            ("\"nightly\"", "\"web\"", 3, "a stream is called `web`"),
            ("\"nightly\"", "\"a/b\"", 3, "not a name"),
            ("s3://acme/in/*.csv.gz", "s3://acme", 5, "names no files"),
            ("\"csv\"", "\"cvs\"", 7, "did you mean `csv`?"),
            ("null =", "nul =", 8, "did you mean `null`?"),
            ("cron = \"30 2 * * MON-FRI\"\n", "", 2, "this key is needed"),
        ] {
            let problems = parse(&WHOLE.replace(from, to)).unwrap_err();
            let all: Vec<String> = problems.iter().map(Problem::to_string).collect();
            assert!(problems.len() == 1 && all[0].contains(told), "{to}: {all:?}");
            assert_eq!(problems[0].line, line, "{to}: {all:?}");
        }
        let twice = parse(&format!("{WHOLE}{WHOLE}")).unwrap_err();
        assert!(twice.len() == 1 && twice[0].message.contains("another schedule"), "{twice:?}");
    }
}
