//! The stores on AWS: Kinesis Data Streams, S3, SQS and Athena.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shardmill_actors::live::Live;
use shardmill_actors::patience;
use shardmill_actors::shared::{Ports, StreamSettings};
use shardmill_cluster::membership::{About, Settings};
use shardmill_cluster::{Lease, Membership, NodeId};
use shardmill_connectors::Failure;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::athena::{self, AthenaCatalog};
use shardmill_connectors::aws::kinesis::{self, FanOut, KinesisStream};
use shardmill_connectors::aws::s3::{self, S3Documents, S3Objects, S3Place};
use shardmill_connectors::aws::session::Place;
use shardmill_connectors::aws::sqs::SqsQueue;
use shardmill_connectors::ports::{Documents, Objects, Queue, RawFiles, Stream, TextFile, TextObject};
use tokio::sync::watch;

use super::peers::Departed;
use super::tables::{self, Texts};
use super::{Hold, Opened, intake, schedules, streams, unopened};
use crate::config::{self, Config, Problem, Ruled};

/// Where nodes find each other's documents.
#[derive(Debug, Clone)]
pub(super) struct Home {
    place: S3Place,
}

impl Home {
    /// This node's document, renewed by a thread with a client of its own.
    pub(super) async fn hold(
        &self,
        me: &NodeId,
        about: watch::Receiver<About>,
        departed: Departed,
    ) -> Result<Hold, Failure> {
        let place = self.place.clone();
        let open = move || async move {
            let session = Session::load(&Place::default()).await;
            Ok(Arc::new(S3Documents::new(&session, place, s3::Options::default())) as Arc<_>)
        };
        let gone = Arc::new(departed);
        let settings = Settings { about, gone, ..Settings::new(me.clone(), Lease::S3) };
        Ok(Hold { membership: Membership::join(settings, open).await?, lock: None })
    }
}

/// The stores of a configuration, not asked anything yet.
struct Stores {
    documents: S3Documents,
    objects: Arc<S3Objects>,
    dead_letters: SqsQueue,
    catalog: AthenaCatalog,
    live: Live,
    home: Home,
    root: String,
}

impl Stores {
    fn of(config: &Config, session: &Session) -> Result<Stores, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut place = |key: &str, url: Option<&str>| {
            // That it is there was checked with the file.
            let place = url.unwrap_or_default().parse::<S3Place>();
            place
                .map_err(|wrong| {
                    problems.push(unopened(config, key, Failure::unauthorized(wrong.to_string())))
                })
                .ok()
        };
        let lake = place("lake.url", config.lake.url.as_deref());
        let state = place("documents.url", config.documents.url.as_deref());
        let (Some(lake), Some(state)) = (lake, state) else { return Err(problems) };
        let root = config.lake.url.clone().unwrap_or_default().trim_end_matches('/').to_owned();
        let manifests = S3Documents::new(session, lake.clone(), s3::Options::default());
        let objects = Arc::new(S3Objects::new(session, lake, s3::Options::default()));
        let queue = config.dead_letters.queue.clone().unwrap_or_default();
        Ok(Stores {
            documents: S3Documents::new(session, state.clone(), s3::Options::default()),
            dead_letters: SqsQueue::new(session, queue, objects.clone() as Arc<dyn Objects>),
            catalog: AthenaCatalog::new(session, athena_options(config, &root)),
            objects,
            live: live(config, Arc::new(manifests), &root),
            home: Home { place: state },
            root,
        })
    }
}

/// Manifests of live tables, which lie with the lake's objects and are changed like documents.
fn live(config: &Config, texts: Arc<dyn Documents>, root: &str) -> Live {
    let config::Live { on, every } = config.lake.live;
    let by_table = config.live_by_table();
    Live { texts, root: root.to_owned(), by_default: on, by_table, every: every.0 }
}

fn athena_options(config: &Config, root: &str) -> athena::Options {
    match &config.athena {
        Some(athena) => athena::Options {
            workgroup: athena.workgroup.clone(),
            output: athena.output.clone(),
            ..athena::Options::new(&athena.database, root)
        },
        None => athena::Options::new("default", root),
    }
}

/// Opens everything that must be there: streams, bucket, queue.
pub(super) async fn open(config: &Config) -> Result<Opened, Vec<Problem>> {
    let session = Session::load(&Place::default()).await;
    let stores = Stores::of(config, &session)?;
    let mut streams = BTreeMap::new();
    for (name, settings) in &config.streams {
        let fan_out = consumer(config, name, settings).map(FanOut::new);
        let opened = kinesis(config, &session, (name, settings), fan_out).await?;
        streams.insert(name.clone(), stream(config, &session, (name, settings), opened).await?);
    }
    let files: Arc<dyn RawFiles> = Arc::new(s3::RawFiles::new(&session));
    let overflow: Arc<dyn Objects> = stores.objects.clone();
    let queue = |url: &str| Ok(Arc::new(SqsQueue::new(&session, url, overflow.clone())) as Arc<dyn Queue>);
    let redrives = intake::redrives(config, queue, intake::REDRIVES_SQS);
    let redrives =
        redrives.map_err(|failure| vec![unopened(config, "dead_letters.redrive_queue", failure)])?;
    let intakes = intake::settings(config, &streams, &files, queue, intake::SQS);
    let intakes = intakes.map_err(|failure| vec![unopened(config, "intake", failure)])?;
    let schedules = schedules::settings(config, &streams, &files);
    let schedules = schedules.map_err(|failure| vec![unopened(config, "schedules", failure)])?;
    let ports = patience::patient(Ports {
        documents: Arc::new(stores.documents),
        dead_letters: Arc::new(stores.dead_letters),
        catalog: Arc::new(stores.catalog),
        objects: stores.objects,
        live: Some(stores.live),
    });
    let home = super::Home::Documents(stores.home);
    Ok(Opened { ports, streams, intakes, schedules, redrives, root: stores.root, home })
}

/// The queue with this URL.
pub(super) async fn queue(url: &str, overflow: Arc<dyn Objects>) -> Arc<dyn Queue> {
    let session = Session::load(&Place::default()).await;
    Arc::new(SqsQueue::new(&session, url, overflow))
}

/// The name of the consumer that reads a stream by fan-out; `None`: it is polled. Another lake has another consumer: two that
/// read as one would take the stream from each other.
fn consumer(config: &Config, name: &str, settings: &config::Stream) -> Option<String> {
    let by_default = || {
        let lake = config.lake.url.as_deref().unwrap_or_default().trim_start_matches("s3://");
        kinesis::consumer::name(&format!("shardmill {lake} {name}"))
    };
    let is_pushed = settings.read == config::ReadBy::FanOut;
    is_pushed.then(|| settings.consumer.clone().unwrap_or_else(by_default))
}

async fn kinesis(
    config: &Config,
    session: &Session,
    (name, settings): (&str, &config::Stream),
    fan_out: Option<FanOut>,
) -> Result<KinesisStream, Vec<Problem>> {
    // A record that was turned away is put again behind nothing of its key.
    let options = kinesis::Options {
        called: Some(name.to_owned()),
        strict_order: true,
        fan_out,
        ..kinesis::Options::default()
    };
    let kinesis = settings.kinesis.as_deref().unwrap_or(name);
    let opened = KinesisStream::open(session, kinesis, options).await;
    opened.map_err(|failure| vec![unopened(config, &format!("streams.{name}.kinesis"), failure)])
}

async fn stream(
    config: &Config,
    session: &Session,
    (name, settings): (&str, &config::Stream),
    opened: KinesisStream,
) -> Result<StreamSettings, Vec<Problem>> {
    let text = |name: &str| object(session, name);
    let stream = streams::Opened {
        retention: Some(opened.retention()),
        stream: Arc::new(opened),
        tables: tables::book(config, name, texts(config, session)).await?,
        objects: &text,
    };
    streams::settings(config, settings, stream).await
}

/// The rules of every stream, wherever they are.
pub(super) async fn rules(config: &Config) -> Result<Vec<Ruled>, Vec<Problem>> {
    if config.streams.values().all(|stream| stream.rules.is_none()) {
        return Ok(Vec::new());
    }
    let session = Session::load(&Place::default()).await;
    streams::ruled(config, |name| match object(&session, name) {
        Some((objects, key)) => Arc::new(TextObject::new(objects, key, name)),
        None => Arc::new(TextFile(config.resolve(name))),
    })
    .await
}

/// The store and the name of a text in S3; `None`: it is not in S3.
fn object(session: &Session, url: &str) -> Option<(Arc<dyn Objects>, String)> {
    let place = url.parse::<S3Place>().ok()?;
    let bucket = S3Place { bucket: place.bucket, prefix: String::new() };
    // As a place it ends with a `/`, which names no object.
    let key = place.prefix.trim_end_matches('/').to_owned();
    Some((Arc::new(S3Objects::new(session, bucket, s3::Options::default())), key))
}

/// Where the texts of schemas are: objects, or files.
fn texts(config: &Config, session: &Session) -> Texts {
    let (config, session) = (config.clone(), session.clone());
    Arc::new(move |name| match object(&session, name) {
        Some((objects, key)) => Arc::new(TextObject::new(objects, key, name)),
        None => Arc::new(TextFile(config.resolve(name))),
    })
}

/// The same for a command that has opened nothing.
pub(super) async fn named_texts(config: &Config) -> Texts {
    texts(config, &Session::load(&Place::default()).await)
}

/// The lake's objects, when it is said where they are. Nothing is asked of AWS yet.
pub(super) async fn objects(config: &Config) -> Option<Arc<dyn Objects>> {
    let session = Session::load(&Place::default()).await;
    session.region()?;
    Stores::of(config, &session).ok().map(|stores| stores.objects as Arc<dyn Objects>)
}

/// Asks every service for what the configuration names. All that is wrong, each with what to do.
pub(super) async fn probe(config: &Config) -> Vec<Problem> {
    let session = Session::load(&Place::default()).await;
    if session.region().is_none() {
        // Nobody can be asked without one.
        let failure = Failure::unauthorized("no region is set; set AWS_REGION, or the profile's region");
        return vec![unopened(config, "backend", failure)];
    }
    let mut problems = Vec::new();
    for (name, settings) in &config.streams {
        problems.extend(probe_stream(config, &session, name, settings).await);
    }
    match Stores::of(config, &session) {
        Ok(stores) => problems.extend(probe_stores(config, &session, &stores).await),
        Err(found) => problems.extend(found),
    }
    problems
}

/// What is wrong with a stream, and with its schema and its rules where those are objects.
async fn probe_stream(
    config: &Config,
    session: &Session,
    name: &str,
    settings: &config::Stream,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    match kinesis(config, session, (name, settings), None).await {
        Err(found) => problems.extend(found),
        Ok(opened) => {
            let mut wrong = |key: &str, asked: Result<(), Failure>| {
                let problem = |failure| unopened(config, &format!("streams.{name}.{key}"), failure);
                problems.extend(asked.err().map(problem));
            };
            wrong("kinesis", opened.shards().await.map(|_| ()));
            // Asked about and not registered: that costs money.
            if let Some(consumer) = consumer(config, name, settings) {
                wrong("read", opened.probe_consumer(&consumer).await);
            }
        }
    }
    // Local files were judged with the configuration.
    let text = |name: &str| object(session, name);
    let in_s3 = |name: &&str| text(name).is_some();
    let schemas: BTreeSet<&str> = settings.fed().filter_map(|(_, schema)| schema).filter(in_s3).collect();
    for name in schemas {
        let schema = tables::schema(name, &texts(config, session)).await;
        problems.extend(schema.err().into_iter().flatten());
    }
    if settings.rules.as_deref().filter(in_s3).is_some() {
        problems.extend(streams::rules(config, settings, &text).await.err().into_iter().flatten());
    }
    problems
}

/// What is wrong with everything that is no stream.
async fn probe_stores(config: &Config, session: &Session, stores: &Stores) -> Vec<Problem> {
    let overflow: Arc<dyn Objects> = stores.objects.clone();
    let mut answers: Vec<(String, Result<(), Failure>)> = Vec::new();
    for (name, settings) in &config.intake {
        let queue = SqsQueue::new(session, &settings.queue, overflow.clone());
        answers.push((format!("intake.{name}.queue"), queue.probe().await));
    }
    for (index, schedule) in config.schedules.iter().enumerate() {
        let files = s3::RawFiles::new(session);
        let listed = files.list(schedule.files.bucket(), schedule.files.prefix(), None).await;
        answers.push((format!("schedules[{index}].files"), listed.map(drop)));
    }
    if let Some(queue) = &config.dead_letters.redrive_queue {
        let queue = SqsQueue::new(session, queue, overflow.clone());
        answers.push(("dead_letters.redrive_queue".into(), queue.probe().await));
    }
    answers.extend([
        ("lake.url".into(), stores.objects.probe().await),
        ("documents.url".into(), stores.documents.probe().await),
        ("dead_letters.queue".into(), stores.dead_letters.probe().await),
        ("athena.workgroup".into(), stores.catalog.probe_workgroup().await),
        ("athena.database".into(), stores.catalog.probe_database().await),
    ]);
    // Athena writes results in its caller's name.
    if let Some(output) = config.athena.as_ref().and_then(|athena| athena.output.as_deref()) {
        answers.push(("athena.output".into(), probe_output(session, output).await));
    }
    answers.into_iter().filter_map(|(key, answer)| Some(unopened(config, &key, answer.err()?))).collect()
}

async fn probe_output(session: &Session, output: &str) -> Result<(), Failure> {
    let place = output.parse::<S3Place>().map_err(|wrong| Failure::unauthorized(wrong.to_string()))?;
    S3Objects::new(session, place, s3::Options::default()).probe().await
}
