//! `cargo bench`: standardising events, encoding them, compacting segments.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark that cannot be set up fails loudly

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shardmill_connectors::embedded::EmbeddedObjects;
use shardmill_connectors::parquet::{Input, WriteOptions};
use shardmill_connectors::ports::Objects;
use shardmill_tests::work;
use tokio::runtime::Runtime;

/// Events standardised together.
const EVENTS: u64 = 10_000;
/// Segments merged, and the events of each: small ones are gathered and encoded anew, large ones copied.
const SEGMENTS: [(u64, u64, &str); 2] = [(16, 5_000, "encoded anew"), (8, 20_000, "copied")];

fn standardise(criterion: &mut Criterion) {
    let events: Vec<String> = work::events(EVENTS, 1).collect();
    let bytes: usize = events.iter().map(String::len).sum();
    let rows = || work::standardise(events.iter().map(String::as_str), 0).unwrap();
    let mut group = criterion.benchmark_group("standardise");
    group.sample_size(20);
    for (by, throughput) in
        [("events", Throughput::Elements(EVENTS)), ("bytes", Throughput::Bytes(bytes as u64))]
    {
        group.throughput(throughput);
        group.bench_function(format!("rows, by {by}"), |bencher| bencher.iter(|| black_box(rows())));
    }
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let objects = EmbeddedObjects::open(folder.path()).unwrap();
    let mut file = 0;
    for (by, throughput) in
        [("events", Throughput::Elements(EVENTS)), ("bytes", Throughput::Bytes(bytes as u64))]
    {
        group.throughput(throughput);
        group.bench_function(format!("rows and Parquet, by {by}"), |bencher| {
            bencher.iter(|| {
                file += 1;
                let (key, options) = (format!("file-{file}"), WriteOptions::default());
                runtime.block_on(work::write(&objects, &key, &[rows()], &options)).unwrap()
            });
        });
    }
    group.finish();
}

/// Writes `count` segments of `each` events; the bytes of their JSON and the segments.
fn segments(runtime: &Runtime, objects: &Arc<dyn Objects>, (count, each): (u64, u64)) -> (u64, Vec<Input>) {
    let events: Vec<String> = work::events(count * each, 1).collect();
    let mut keys = Vec::new();
    for (number, some) in events.chunks(each as usize).enumerate() {
        let rows = work::standardise(some.iter().map(String::as_str), number as u64 * each).unwrap();
        let key = work::segment(number);
        runtime.block_on(work::write(objects.as_ref(), &key, &[rows], &WriteOptions::default())).unwrap();
        keys.push(key);
    }
    let bytes = events.iter().map(|event| event.len() as u64).sum();
    (bytes, runtime.block_on(work::inputs(objects, &keys)).unwrap())
}

fn compact(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("compact");
    group.sample_size(10);
    for (count, each, how) in SEGMENTS {
        let folder = tempfile::tempdir().unwrap();
        let objects: Arc<dyn Objects> = Arc::new(EmbeddedObjects::open(folder.path()).unwrap());
        let (bytes, inputs) = segments(&runtime, &objects, (count, each));
        let mut made = 0;
        for (by, throughput) in
            [("events", Throughput::Elements(count * each)), ("bytes of JSON", Throughput::Bytes(bytes))]
        {
            group.throughput(throughput);
            group.bench_function(format!("{count} segments of {each}, {how}, by {by}"), |bencher| {
                bencher.iter_batched(
                    || inputs.clone(),
                    |inputs| {
                        made += 1;
                        let (objects, into) = (objects.clone(), format!("merged-{made}"));
                        let merged = work::compact(objects, &into, inputs, WriteOptions::default());
                        runtime.block_on(merged).unwrap()
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, standardise, compact);
criterion_main!(benches);
