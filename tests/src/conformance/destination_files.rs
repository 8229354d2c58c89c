//! What a destination that appends lines to a file must do: in order, whole lines, beside other writers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use shardmill_connectors::destinations::{Answer, Destination};

use super::check;
use super::destinations::{batch, event, events, told};

/// Runs every check of a destination that appends lines to `<dir>/<name>`; `make` opens one more that appends to the same file
/// and puts it aside beyond `rotate` bytes, where given. `dir` is a fresh folder at every call.
pub async fn file(fresh: impl Fn() -> PathBuf, make: impl Fn(&Path, Option<&str>) -> Arc<dyn Destination>) {
    check("lines in order", lines_in_order(&fresh(), &make)).await;
    check("a torn line", torn_line(&fresh(), &make)).await;
    check("writers at once", writers_at_once(&fresh(), &make)).await;
}

/// Every line of every file in the folder whose name ends in `.ndjson`; of each file in order.
fn lines(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension() == Some("ndjson".as_ref())).collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn number(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).ok()?["n"].as_u64()
}

async fn lines_in_order(dir: &Path, make: &impl Fn(&Path, Option<&str>) -> Arc<dyn Destination>) {
    let destination = make(dir, None);
    assert_eq!(told(&*destination, 1).await.classes(), [None]);
    assert_eq!(told(&*destination, 200).await.classes(), vec![None; 200]);
    let wanted: Vec<Option<u64>> = std::iter::once(0).chain(0..200).map(Some).collect();
    assert_eq!(lines(dir).iter().map(|line| number(line)).collect::<Vec<_>>(), wanted);
    let shown = destination.preview(batch(&events(3))).to_string();
    assert!(shown.contains("id-2"), "{shown}");
    assert_eq!(lines(dir).len(), 201, "a preview wrote something");
}

async fn torn_line(dir: &Path, make: &impl Fn(&Path, Option<&str>) -> Arc<dyn Destination>) {
    assert_eq!(told(&*make(dir, None), 1).await.classes(), [None]);
    let path = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let path = path.into_iter().find(|path| path.extension() == Some("ndjson".as_ref())).unwrap();
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"n\":99,\"mess");
    std::fs::write(&path, text).unwrap();
    assert_eq!(told(&*make(dir, None), 2).await.classes(), [None, None]);
    let numbers: Vec<Option<u64>> = lines(dir).iter().map(|line| number(line)).collect();
    assert_eq!(numbers, [Some(0), None, Some(0), Some(1)], "the torn line swallows another");
}

async fn writers_at_once(dir: &Path, make: &impl Fn(&Path, Option<&str>) -> Arc<dyn Destination>) {
    let tasks: Vec<_> = (0..4_u64)
        .map(|writer| {
            let destination = make(dir, Some("2KiB"));
            tokio::spawn(async move {
                for round in 0..25 {
                    let events = [event(writer * 1000 + round * 2), event(writer * 1000 + round * 2 + 1)];
                    assert_eq!(destination.deliver(batch(&events)).await, Answer::delivered(2));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut numbers: Vec<u64> = lines(dir).iter().map(|line| number(line).expect("a torn line")).collect();
    numbers.sort_unstable();
    let wanted: Vec<u64> = (0..4).flat_map(|writer| (0..50).map(move |n| writer * 1000 + n)).collect();
    assert_eq!(numbers, wanted, "events are lost or there twice");
    let files = std::fs::read_dir(dir).unwrap().filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.path().extension() == Some("ndjson".as_ref()))
    });
    assert!(files.count() > 2, "nothing was put aside");
}
