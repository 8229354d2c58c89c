//! Reading `[streams.NAME]`: where its records come from, what their fields mean, which tables they feed.

use std::str::FromStr;

use shardmill_connectors::Millis;
use shardmill_connectors::fields::TimePointer;
use shardmill_connectors::json::Pointer;

use super::model::{Backend, Fields, PartitionBy, ReadBy, StartAt, Stream, TimeField};
use super::reader::{Item, Section};
use super::sections::TableName;
use super::setting::Setting;
use super::tables;

impl FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "trim_horizon" => Ok(StartAt::TrimHorizon),
            "latest" => Ok(StartAt::Latest),
            moment => moment
                .parse::<jiff::Timestamp>()
                .map(|moment| StartAt::At(Millis(moment.as_millisecond())))
                .map_err(|_| format!("`{text}` is not a place to start")),
        }
    }
}

impl Setting for StartAt {
    const EXAMPLE: &'static str = "\"trim_horizon\", \"latest\" or \"2026-11-20T10:00:00Z\"";
}

/// Reads one stream.
pub(super) fn read(name: String, mut section: Section<'_>, backend: Backend) -> (String, Stream) {
    let defaults = Stream::new(table_of(&name));
    check_name(&name, &section);
    let kinesis = section.text("kinesis");
    let kinesis = match backend {
        Backend::Aws => section.required("kinesis", kinesis, "\"data-collection-stream\""),
        Backend::Embedded => kinesis,
    };
    let (read, consumer) = reading(&mut section, backend);
    let (tables, mapping) = (tables::read(&mut section), tables::mapping(&mut section));
    let partitions = [("arrival", PartitionBy::Arrival), ("event", PartitionBy::Event)];
    let stream = Stream {
        kinesis,
        read,
        consumer,
        shards: section
            .integer("shards", 1..1_025)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(defaults.shards),
        retention: section.setting("retention").unwrap_or(defaults.retention),
        start: section.setting("start").unwrap_or(defaults.start),
        schema: section.text("schema"),
        table: section.setting("table").map_or(defaults.table, |TableName(table)| table),
        rules: section.text("rules"),
        partition_by: section.choice("partition_by", &partitions).unwrap_or(defaults.partition_by),
        fields: section.section("fields").map_or_else(Fields::default, fields),
        tables: tables.iter().flatten().cloned().collect(),
        mapping,
        raw: section.flag("raw"),
    };
    tables::check(&stream, &tables, &section);
    section.finish();
    (name, stream)
}

/// How the stream is read, and as which consumer.
fn reading(section: &mut Section<'_>, backend: Backend) -> (ReadBy, Option<String>) {
    let ways = [("poll", ReadBy::Poll), ("fan_out", ReadBy::FanOut)];
    let read = section.choice("read", &ways).unwrap_or(ReadBy::Poll);
    let consumer = section.text("consumer");
    if (read, backend) == (ReadBy::FanOut, Backend::Embedded) {
        let fix = "remove the line, or set backend = \"aws\"";
        section.report("read", "enhanced fan-out is Kinesis' own: an embedded stream has none", fix);
    }
    match &consumer {
        Some(_) if read == ReadBy::Poll => {
            let fix = "set read = \"fan_out\", or remove the line";
            section.report("consumer", "a stream that is polled is read as no consumer", fix);
        }
        Some(name) if !is_consumer_name(name) => {
            let fix = "letters, digits, `_`, `.` and `-`, 128 at most";
            section.report("consumer", format!("`{name}` is not a consumer name"), fix);
        }
        _ => {}
    }
    (read, consumer)
}

fn is_consumer_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(fits)
}

/// A stream's name stands in object names and URLs.
fn check_name(name: &str, section: &Section<'_>) {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let plain = !name.is_empty() && name.len() <= 128 && name.bytes().all(fits) && !name.starts_with('.');
    if !plain {
        section.report("", format!("`{name}` is not a stream name"), "letters, digits, `_`, `-` and `.`");
    }
}

/// The table a stream feeds when it names none.
fn table_of(stream: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    stream.chars().map(plain).collect()
}

fn fields(mut section: Section<'_>) -> Fields {
    let defaults = Fields::default();
    let fields = Fields {
        name: pointers(&mut section, "name").unwrap_or(defaults.name),
        time: times(&mut section).unwrap_or(defaults.time),
        id: pointers(&mut section, "id").unwrap_or(defaults.id),
        key: pointers(&mut section, "key").unwrap_or(defaults.key),
    };
    section.finish();
    fields
}

/// A list of JSON pointers.
pub(super) fn pointers(section: &mut Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let pointers = section.texts(key)?;
    for pointer in &pointers {
        check_pointer(section, key, pointer);
    }
    Some(pointers)
}

fn check_pointer(section: &Section<'_>, key: &str, pointer: &str) {
    if let Err(no) = Pointer::parse(pointer) {
        section.report(key, no.message, no.fix);
    }
}

/// A form in which no time can be read would make every event invalid.
fn check_format(section: &Section<'_>, format: Option<&str>) {
    let Some(format) = format else { return };
    let time = TimePointer::Format { pointer: String::new(), format: format.to_owned() };
    if let Some(problem) = time.problem() {
        let fix = "write date, time and zone in strftime's letters, like \"%d/%b/%Y:%H:%M:%S %z\"";
        section.report("format", problem, fix);
    }
}

fn times(section: &mut Section<'_>) -> Option<Vec<TimeField>> {
    let mut times = Vec::new();
    for item in section.mixed("time")? {
        match item {
            Item::Text(pointer) => {
                check_pointer(section, "time", &pointer);
                times.push(TimeField { pointer, format: None });
            }
            Item::Table(mut table) => {
                let pointer = table.text("pointer");
                let pointer = table.required("pointer", pointer, "\"/timestamp\"");
                let format = table.text("format");
                check_format(&table, format.as_deref());
                if let Some(pointer) = pointer {
                    check_pointer(&table, "pointer", &pointer);
                    times.push(TimeField { pointer, format });
                }
                table.finish();
            }
        }
    }
    Some(times)
}
