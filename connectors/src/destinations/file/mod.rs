//! Files: events as lines of JSON, appended durably.

mod append;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

use super::registry::Setup;
use super::settings::{Known, SettingProblem, Settings};
use super::{Answer, Batch, Destination, Event, Limits, Refusal};
use crate::failure::Failure;
use append::Appender;

/// Events in a batch unless configured: enough that syncing the disk is not what takes the time.
const EVENTS: usize = 1_000;

/// Bytes in a batch, about.
const BYTES: usize = 4 << 20;

/// How long an incomplete batch waits for more events.
const LINGER: Duration = Duration::from_millis(20);

/// What a file may be told.
pub const SETTINGS: &[Known] = &[
    Known::required("path", "the file; relative paths start in the data directory"),
    Known::new("rotate", "never", "the size above which a new file is begun, as \"64MiB\""),
];

/// Opens a file destination. The file itself is opened by the first delivery.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let path = settings.required("path", "deliveries.ndjson").map(PathBuf::from);
    let rotate = settings.size("rotate");
    if path.as_ref().is_some_and(|path| path.file_name().is_none()) {
        settings.report("path", "does not name a file", "write it as \"folder/deliveries.ndjson\"");
    }
    let problems = settings.finish();
    match path {
        Some(path) if problems.is_empty() => {
            let path = setup.base_dir.join(path);
            let appender = Arc::new(Mutex::new(Appender::new(path.clone(), rotate)));
            Ok(Arc::new(FileDestination { path, batch: setup.batch.unwrap_or(EVENTS).max(1), appender }))
        }
        _ => Err(problems),
    }
}

/// One file, appended to.
#[derive(Debug)]
struct FileDestination {
    path: PathBuf,
    batch: usize,
    appender: Arc<Mutex<Appender>>,
}

#[async_trait]
impl Destination for FileDestination {
    fn limits(&self) -> Limits {
        Limits {
            events: self.batch,
            bytes: BYTES,
            linger: LINGER,
            concurrency: 1, // writers of one file take turns anyway
            keys_share_batches: true,
        }
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        let (count, lines) = (batch.events.len(), lines(batch.events));
        let appender = self.appender.clone();
        let written = tokio::task::spawn_blocking(move || {
            // A panic while appending leaves nothing behind in the appender that the next one would trust.
            appender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&lines)
        });
        match written.await {
            Ok(Ok(())) => Answer::delivered(count),
            Ok(Err(refusal)) => Answer::refused(count, &refusal),
            Err(error) => {
                let crashed = Failure::crashed(format!("appending to {}: {error}", self.path.display()));
                Answer::refused(count, &Refusal { unknown: true, ..crashed.into() })
            }
        }
    }

    fn preview(&self, batch: Batch<'_>) -> Value {
        let shown = |event: &Event| {
            serde_json::from_slice(&event.data)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&event.data).into_owned()))
        };
        json!({
            "path": self.path.display().to_string(),
            "lines": batch.events.iter().map(shown).collect::<Vec<_>>(),
        })
    }
}

/// Each event on a line of its own. Line breaks in JSON can only stand between its parts, where a space means the same.
fn lines(events: &[Event]) -> Bytes {
    let mut lines = Vec::with_capacity(events.iter().map(|event| event.data.len() + 1).sum());
    for event in events {
        lines.extend(event.data.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        lines.push(b'\n');
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::super::sender::Sender;
    use super::super::testing::{batch, event, events};
    use super::*;
    use crate::failure::Class;

    fn setup(settings: &Value, base_dir: &std::path::Path) -> Setup {
        Setup {
            name: "log".into(),
            settings: settings.as_object().unwrap().clone(),
            batch: None,
            base_dir: base_dir.to_owned(),
            sender: Sender::new().unwrap(),
        }
    }

    #[tokio::test]
    async fn events_become_lines() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(setup(&json!({"path": "new/folder/log.ndjson"}), dir.path())).unwrap();
        assert_eq!(log.deliver(batch(&events(2))).await, Answer::delivered(2));
        let pretty = [event("a", "{\n  \"a\": \"x\\ny\"\r\n}")];
        assert_eq!(log.deliver(batch(&pretty)).await, Answer::delivered(1));
        let text = std::fs::read_to_string(dir.path().join("new/folder/log.ndjson")).unwrap();
        assert_eq!(text, "{\"n\":0}\n{\"n\":1}\n{   \"a\": \"x\\ny\"  }\n");
        let shown = log.preview(batch(&events(1)));
        assert_eq!(shown["lines"], json!([{"n": 0}]));
        assert!(shown["path"].as_str().unwrap().ends_with("new/folder/log.ndjson"), "{shown}");
    }

    #[test]
    fn settings_are_checked() {
        for (settings, key) in [
            (json!({}), "path"),
            (json!({"path": ""}), "path"),
            (json!({"path": "a/.."}), "path"),
            (json!({"path": "a", "rotate": "0"}), "rotate"),
            (json!({"path": "a", "rotate": 5}), "rotate"),
            (json!({"path": "a", "pth": "b"}), "pth"),
        ] {
            let problems = open(setup(&settings, std::path::Path::new("."))).unwrap_err();
            assert_eq!((problems.len(), problems[0].key.as_str()), (1, key), "{problems:?}");
        }
    }

    #[tokio::test]
    async fn what_stands_in_the_way_pauses() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plain"), "").unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        for path in ["folder", "plain/log.ndjson"] {
            let log = open(setup(&json!({ "path": path }), dir.path())).unwrap();
            let Answer::Each(outcomes) = log.deliver(batch(&events(1))).await else { panic!("split") };
            let refusal = outcomes[0].clone().unwrap_err();
            assert_eq!((refusal.failure.class, refusal.unknown), (Class::Unauthorized, false), "{refusal:?}");
        }
    }
}
