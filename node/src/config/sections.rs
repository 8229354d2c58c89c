//! From the sections of a configuration file to [`Config`]: which keys there are and what they must look like.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::model::{
    Alarms, Athena, Backend, Cluster, Collector, Compression, Config, DeadLetters, Documents, Flush, Intake,
    Lake, Memory, Ops, Stream,
};
use super::reader::Section;
use super::setting::Setting;
use super::{Secret, Size};
use super::{destination, live, schedule, stream, table_settings, tables};

/// An IP address and port to listen on.
struct Listen(SocketAddr);

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Listen).map_err(|_| format!("`{text}` is not an IP address with a port"))
    }
}

impl Setting for Listen {
    const EXAMPLE: &'static str = "\"127.0.0.1:8080\"";
}

/// A name that may stand in object names and SQL.
pub(super) struct TableName(pub(super) String);

impl std::str::FromStr for TableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !text.is_empty() && text.len() <= 128 && text.bytes().all(fits) {
            return Ok(TableName(text.to_owned()));
        }
        Err(format!("`{text}` is not a table name: lower-case letters, digits and `_`"))
    }
}

impl Setting for TableName {
    const EXAMPLE: &'static str = "\"web_events\"";
}

/// Reads the whole document.
pub(super) fn config(mut root: Section<'_>) -> Config {
    let places = root.places();
    let backend = root.choice("backend", &[("embedded", Backend::Embedded), ("aws", Backend::Aws)]);
    let backend = backend.unwrap_or(Backend::Embedded);
    let data_dir = root.text("data_dir").map_or_else(|| PathBuf::from(super::DATA_DIR), PathBuf::from);
    let streams = root.named("streams");
    if streams.is_empty() {
        root.report("streams", "no stream is configured", "add a section [streams.events]");
    }
    let streams: BTreeMap<_, _> =
        streams.into_iter().map(|(name, section)| stream::read(name, section, backend)).collect();
    tables::check_across(&streams, &places, &root);
    let by_table = table_settings::read(root.named("tables"), &streams);
    let intakes = root.named("intake").into_iter();
    let intake: BTreeMap<_, _> =
        intakes.filter_map(|(name, section)| intake(name, section, &streams, backend)).collect();
    let schedules = schedule::read(root.list("schedules"), &streams, &intake, backend);
    let letters = root.section("dead_letters").map(|section| dead_letters(section, &intake, backend));
    let config = Config {
        file: None,
        backend,
        data_dir,
        streams,
        lake: root.section("lake").map_or_else(Lake::default, |section| lake(section, backend)),
        tables: by_table,
        athena: root.section("athena").map(athena),
        documents: root.section("documents").map(documents).unwrap_or_default(),
        memory: root.section("memory").map(memory).unwrap_or_default(),
        collector: root.section("collector").map(collector).unwrap_or_default(),
        intake,
        schedules,
        dead_letters: letters.unwrap_or_default(),
        destinations: root.named("destinations").into_iter().filter_map(destination::read).collect(),
        alarms: root.section("alarms").map(alarms).unwrap_or_default(),
        ops: root.section("ops").map(ops).unwrap_or_default(),
        cluster: root.section("cluster").map(cluster),
        places,
    };
    if backend == Backend::Aws {
        needed_on_aws(&config, &root);
    }
    live::check(&config, &root);
    root.finish();
    config
}

fn needed_on_aws(config: &Config, root: &Section<'_>) {
    if config.lake.url.is_none() {
        root.report(
            "lake",
            "the backend \"aws\" needs lake.url",
            "add url = \"s3://bucket/prefix\" to [lake]",
        );
    }
    if config.documents.url.is_none() {
        root.report(
            "documents",
            "the backend \"aws\" needs documents.url",
            "add url = \"s3://bucket/state/\"",
        );
    }
    if config.dead_letters.queue.is_none() {
        root.report(
            "dead_letters",
            "the backend \"aws\" needs dead_letters.queue",
            "add queue = \"https://sqs…\" to [dead_letters]",
        );
    }
    if config.athena.is_none() {
        root.report("athena", "the backend \"aws\" needs [athena]", "add [athena] with database = \"…\"");
    }
}

fn lake(mut section: Section<'_>, backend: Backend) -> Lake {
    let defaults = Lake::default();
    let compressions =
        [("zstd", Compression::Zstd), ("snappy", Compression::Snappy), ("none", Compression::None)];
    let url = section.text("url");
    if backend == Backend::Aws && url.as_ref().is_some_and(|url| !url.starts_with("s3://")) {
        section.report(
            "url",
            "the backend \"aws\" keeps its lake in S3",
            "write it like \"s3://bucket/prefix\"",
        );
    }
    let flush = section.section("flush").map_or(defaults.flush, |mut flush| {
        let read = Flush {
            every: flush.setting("every").unwrap_or(defaults.flush.every),
            bytes: flush.setting("bytes").unwrap_or(defaults.flush.bytes),
        };
        flush.finish();
        read
    });
    let lake = Lake {
        url,
        compression: section.choice("compression", &compressions).unwrap_or(defaults.compression),
        flush,
        late_grace: section.setting("late_grace").unwrap_or(defaults.late_grace),
        delete_grace: section.setting("delete_grace").unwrap_or(defaults.delete_grace),
        keep: table_settings::keep(&mut section),
        layout: section.text("layout"),
        raw: section.flag("raw").unwrap_or(defaults.raw),
        dedupe: table_settings::dedupe(&mut section).unwrap_or(defaults.dedupe),
        live: live::read(&mut section),
    };
    section.finish();
    lake
}

fn athena(mut section: Section<'_>) -> Athena {
    let database = section.text("database");
    let athena = Athena {
        database: section.required("database", database, "\"acme\"").unwrap_or_default(),
        workgroup: section.text("workgroup").unwrap_or_else(|| "primary".into()),
        output: section.text("output"),
    };
    section.finish();
    athena
}

fn documents(mut section: Section<'_>) -> Documents {
    let documents = Documents { url: section.text("url") };
    section.finish();
    documents
}

fn memory(mut section: Section<'_>) -> Memory {
    let limit = section.setting("limit").unwrap_or_else(|| Memory::default().limit);
    if limit < Size(64 << 20) {
        section.report("limit", format!("{limit} is too little to work with"), "at least \"64MiB\"");
    }
    section.finish();
    Memory { limit }
}

fn listen(section: &mut Section<'_>, default: SocketAddr) -> SocketAddr {
    section.setting::<Listen>("listen").map_or(default, |listen| listen.0)
}

fn collector(mut section: Section<'_>) -> Collector {
    let defaults = Collector::default();
    let collector = Collector {
        listen: listen(&mut section, defaults.listen),
        max_body: section.setting("max_body").unwrap_or(defaults.max_body),
    };
    if collector.max_body > Size(256 << 20) || collector.max_body == Size(0) {
        section.report(
            "max_body",
            format!("{} is out of range", collector.max_body),
            "from 1B to \"256MiB\"",
        );
    }
    section.finish();
    collector
}

fn intake(
    name: String,
    mut section: Section<'_>,
    streams: &BTreeMap<String, Stream>,
    backend: Backend,
) -> Option<(String, Intake)> {
    let (queue, table) = (section.text("queue"), section.setting::<TableName>("table"));
    let queue = section.required("queue", queue, "\"https://sqs…/raw-files\"");
    let table = section.required("table", table, "\"web_events\"").map(|table| table.0);
    if streams.contains_key(&name) {
        let fix = "call it otherwise: rows tell by `_stream` where they are from";
        section.report("queue", format!("a stream is called `{name}` as well"), fix);
    }
    if let Some(table) =
        table.as_ref().filter(|table| streams.values().all(|of| of.fed().all(|(fed, _)| fed != *table)))
    {
        let fix = "name the table of a stream: schema, fields and partitions are that stream's";
        section.report("table", format!("no stream feeds the table `{table}`"), fix);
    }
    if let Some(queue) = &queue {
        own_queue(&section, ("queue", queue), backend);
    }
    section.finish();
    Some((name, Intake { queue: queue?, table: table? }))
}

/// Reports a queue under `key` that cannot be polled: it is none, or that of the dead letters.
fn own_queue(section: &Section<'_>, (key, queue): (&str, &str), backend: Backend) {
    match backend {
        Backend::Aws if !queue.starts_with("http") => {
            section.report(key, "this is not a queue's URL", "write it like \"https://sqs…/name\"");
        }
        Backend::Embedded if queue == "dead-letters" => {
            section.report(key, "this is the queue of the dead letters", "name one of its own");
        }
        _ => {}
    }
}

fn dead_letters(
    mut section: Section<'_>,
    intake: &BTreeMap<String, Intake>,
    backend: Backend,
) -> DeadLetters {
    let letters = DeadLetters { queue: section.text("queue"), redrive_queue: section.text("redrive_queue") };
    if let Some(queue) = &letters.redrive_queue {
        own_queue(&section, ("redrive_queue", queue), backend);
        if letters.queue.as_ref() == Some(queue) {
            let why = "this is the queue of the dead letters: each would be redriven at once";
            section.report("redrive_queue", why, "name one of its own");
        }
        if intake.values().any(|intake| intake.queue == *queue) {
            section.report("redrive_queue", "an intake polls this queue", "name one of its own");
        }
    }
    section.finish();
    letters
}

fn alarms(mut section: Section<'_>) -> Alarms {
    let defaults = Alarms::default();
    let alarms = Alarms {
        webhook: address(&mut section, "webhook"),
        slack: address(&mut section, "slack"),
        dead_letters: section.integer("dead_letters", 1..1 << 53).unwrap_or(defaults.dead_letters),
        dead_letters_per_minute: section
            .integer("dead_letters_per_minute", 1..1 << 53)
            .unwrap_or(defaults.dead_letters_per_minute),
    };
    section.finish();
    alarms
}

/// A URL that is a secret, because whoever knows it may post there; so what is wrong with it is told without it.
fn address(section: &mut Section<'_>, key: &'static str) -> Option<Secret> {
    let address = section.secret(key)?;
    let http = ["http://", "https://"].iter().any(|scheme| {
        address.reveal().strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    if !http {
        section.report(key, "this is not an HTTP address", "write it like \"https://host/path\"");
    }
    Some(address)
}

fn ops(mut section: Section<'_>) -> Ops {
    let ops = Ops { listen: listen(&mut section, Ops::default().listen), token: section.secret("token") };
    if ops.token.as_ref().is_some_and(|token| token.reveal().is_empty()) {
        section.report("token", "the token is empty", "write a token of at least 16 characters");
    }
    if !ops.listen.ip().is_loopback() && ops.token.is_none() {
        let fix = "add token = \"${SHARDMILL_TOKEN}\", or listen on 127.0.0.1";
        section.report("listen", "listening off loopback needs a token", fix);
    }
    section.finish();
    ops
}

fn cluster(mut section: Section<'_>) -> Cluster {
    let cluster = Cluster {
        listen: listen(&mut section, Cluster::default().listen),
        certificates: section.text("certificates").map(PathBuf::from),
        name: section.text("name"),
    };
    if !cluster.listen.ip().is_loopback() && cluster.certificates.is_none() {
        let fix =
            "add certificates = \"FOLDER\" (`shardmill cluster certs` makes some), or listen on 127.0.0.1";
        section.report("listen", "listening for nodes off loopback needs certificates", fix);
    }
    section.finish();
    cluster
}
