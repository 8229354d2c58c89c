//! Group commit, failures inside a group, and opening by several at once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const SCHEMA: Schema = Schema { page_size: 4096, steps: &["CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT"] };

fn open_in(dir: &Path) -> Database {
    Database::open(dir.join("t.db"), &SCHEMA, |_| Ok(())).unwrap()
}

/// Occupies the writer thread until the sender is dropped or used, so that the writes made meanwhile form one group.
async fn hold(
    database: &Database,
) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), Failure>>) {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (started, running) = oneshot::channel();
    let mut started = Some(started);
    let database = database.clone();
    let job = tokio::spawn(async move {
        let work = move |_: &Write<'_>| {
            started.take().map(|started| started.send(()));
            let _ = held.recv();
            Ok(())
        };
        database.write(Care::default(), work).await
    });
    running.await.unwrap();
    (release, job)
}

fn insert(n: i64) -> impl FnMut(&Write<'_>) -> Result<usize, Fault> + Send + 'static {
    move |write| Ok(write.db.execute("INSERT INTO t VALUES (?1)", [n])?)
}

async fn rows(database: &Database) -> Vec<i64> {
    database
        .read(|db| {
            let mut statement = db.prepare("SELECT n FROM t ORDER BY n")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
        .unwrap()
}

/// Runs `count` writes that all wait for the writer thread at the same moment.
async fn queued<T: Send + 'static>(
    database: &Database,
    count: usize,
    job: impl Fn(usize) -> futures::future::BoxFuture<'static, T>,
) -> Vec<T> {
    let (release, holder) = hold(database).await;
    let tasks: Vec<_> = (0..count).map(|i| tokio::spawn(job(i))).collect();
    while database.jobs.capacity() > WAITING - count {
        tokio::task::yield_now().await;
    }
    drop(release);
    holder.await.unwrap().unwrap();
    futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn writes_that_wait_share_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let database = open_in(dir.path());
    let begun = Arc::new(AtomicU64::new(0));
    let outcomes = queued(&database, 200, |i| {
        let (database, begun) = (database.clone(), begun.clone());
        Box::pin(async move {
            let mut insert = insert(i as i64);
            let work = move |write: &Write<'_>| {
                // The first write of a transaction finds nothing that is not committed.
                let pending: i64 = write.db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
                let committed = write.db.path().map(Connection::open).unwrap()?;
                let visible: i64 = committed.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
                if pending == visible {
                    begun.fetch_add(1, Ordering::Relaxed);
                }
                insert(write)
            };
            database.write(Care::default(), work).await
        })
    })
    .await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(rows(&database).await.len(), 200);
    assert_eq!(begun.load(Ordering::Relaxed), 1, "200 writes that waited took more than one transaction");
}

#[tokio::test]
async fn a_write_that_fails_or_panics_undoes_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let database = open_in(dir.path());
    let outcomes = queued(&database, 9, |i| {
        let database = database.clone();
        Box::pin(async move {
            let mut insert = insert(i as i64);
            let work = move |write: &Write<'_>| {
                insert(write)?;
                match i % 3 {
                    0 => Ok(i),
                    1 => Err(Failure::rejected("changed my mind").into()),
                    _ => panic!("a bug"),
                }
            };
            database.write(Care::default(), work).await
        })
    })
    .await;
    let mut done: Vec<i64> = outcomes.iter().flatten().map(|&i| i as i64).collect();
    done.sort_unstable();
    assert_eq!(done, [0, 3, 6]);
    assert_eq!(rows(&database).await, done, "what failed left something behind");
    let classes: Vec<_> = outcomes.iter().filter_map(|outcome| Some(outcome.as_ref().err()?.class)).collect();
    assert!(classes.contains(&crate::Class::Rejected) && classes.contains(&crate::Class::Crashed));
}

#[tokio::test]
async fn a_lost_transaction_fails_its_group_and_the_next_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let database = open_in(dir.path());
    let lose = |write: &Write<'_>| {
        // What SQLite does by itself on a full disk or an I/O error.
        write.db.execute_batch("ROLLBACK")?;
        Err::<(), _>(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(13), None).into())
    };
    let failure = database.write(Care::default(), lose).await.unwrap_err();
    assert_eq!(failure.class, crate::Class::Transient);
    assert!(failure.detail.contains("disk full: free space in"), "{failure}");
    assert!(failure.detail.contains(&dir.path().display().to_string()), "{failure}");
    database.write(Care::default(), insert(1)).await.unwrap();
    assert_eq!(rows(&database).await, [1]);
}

#[test]
fn many_open_a_new_database_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let prepare = |db: &Connection| {
                    let made = db.execute("INSERT OR IGNORE INTO t VALUES (1)", [])?;
                    prepared.fetch_add(made as u64, Ordering::Relaxed);
                    Ok(())
                };
                Database::open(dir.path().join("deep/er/t.db"), &SCHEMA, prepare).unwrap()
            });
        }
    });
    assert_eq!(prepared.load(Ordering::Relaxed), 1);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("t.db"),
        "this is not a database, it is a text of some length ".repeat(40),
    )
    .unwrap();
    let failure = Database::open(dir.path().join("t.db"), &SCHEMA, |_| Ok(())).unwrap_err();
    assert_eq!(failure.class, crate::Class::Unauthorized);
    assert!(failure.detail.contains("t.db"), "{failure}");

    let newer = Schema { page_size: 4096, steps: &["CREATE TABLE t (n)", "CREATE TABLE u (n)"] };
    let newer: &'static Schema = Box::leak(Box::new(newer));
    Database::open(dir.path().join("newer.db"), newer, |_| Ok(())).unwrap();
    let failure = Database::open(dir.path().join("newer.db"), &SCHEMA, |_| Ok(())).unwrap_err();
    assert_eq!(failure.class, crate::Class::Unauthorized);
    assert!(failure.detail.contains("newer shardmill"), "{failure}");
}
