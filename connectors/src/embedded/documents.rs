//! Embedded documents: rows of `<data-dir>/state.db`, changed by compare-and-set on their version.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::sqlite::{Care, Database, Fault, Schema, Write};
use crate::failure::Failure;
use crate::ports::{Document, Documents, Tag, Written};

/// S3's longest name, in bytes; both backends take the same keys.
const MAX_KEY: usize = 1024;

/// One counter gives out the versions of all documents, so that a document that is deleted and created again never gets a
/// version it had before.
const SCHEMA: Schema = Schema {
    page_size: 4096,
    steps: &["
        CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL) STRICT;
        INSERT INTO counter VALUES (1, 0);
        CREATE TABLE documents (key TEXT PRIMARY KEY, version INTEGER NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
    "],
};

/// The documents of a data directory.
#[derive(Debug, Clone)]
pub struct EmbeddedDocuments {
    database: Database,
}

impl EmbeddedDocuments {
    /// Opens the documents of the data directory `dir`, which is created if needed.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        Ok(EmbeddedDocuments { database: Database::open(dir.join("state.db"), &SCHEMA, |_| Ok(()))? })
    }
}

fn checked(key: &str) -> Result<String, Failure> {
    if key.is_empty() || key.len() > MAX_KEY || key.contains('\0') {
        return Err(Failure::rejected(format!(
            "a document's key has 1 to {MAX_KEY} bytes without NUL: `{key}`"
        )));
    }
    Ok(key.to_owned())
}

fn tag(version: i64) -> Tag {
    Tag(version.to_string())
}

fn present(db: &Connection, key: &str) -> rusqlite::Result<Option<Tag>> {
    let mut statement = db.prepare_cached("SELECT version FROM documents WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?.map(tag))
}

fn write(db: &Connection, key: &str, body: &[u8], expected: Option<&Tag>) -> Result<Written, Fault> {
    if present(db, key)?.as_ref() != expected {
        return Ok(Written::Conflict);
    }
    let version: i64 = db
        .prepare_cached("UPDATE counter SET version = version + 1 RETURNING version")?
        .query_row([], |row| row.get(0))?;
    db.prepare_cached("INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3)")?
        .execute(params![key, version, body])?;
    Ok(Written::Done(tag(version)))
}

fn delete(db: &Connection, key: &str, expected: &Tag) -> Result<Written, Fault> {
    if present(db, key)?.as_ref() != Some(expected) {
        return Ok(Written::Conflict);
    }
    db.prepare_cached("DELETE FROM documents WHERE key = ?1")?.execute([key])?;
    Ok(Written::Done(expected.clone()))
}

fn list(db: &Connection, prefix: &str) -> Result<Vec<(String, Tag)>, Fault> {
    let mut statement =
        db.prepare_cached("SELECT key, version FROM documents WHERE key >= ?1 ORDER BY key")?;
    let mut rows = statement.query([prefix])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        // Keys are ordered by their bytes, so those with the prefix come first and together.
        if !key.starts_with(prefix) {
            break;
        }
        found.push((key, tag(row.get(1)?)));
    }
    Ok(found)
}

#[async_trait]
impl Documents for EmbeddedDocuments {
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
        let key = checked(key)?;
        self.database
            .read(move |db| {
                let mut statement =
                    db.prepare_cached("SELECT version, body FROM documents WHERE key = ?1")?;
                let row = statement.query_row([key], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)));
                Ok(row.optional()?.map(|(version, body)| Document { body: body.into(), tag: tag(version) }))
            })
            .await
    }

    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
        let (key, expected) = (checked(key)?, expected.cloned());
        let care = Care { bytes: body.len(), ..Care::default() };
        self.database
            .write(care, move |change: &Write<'_>| write(change.db, &key, &body, expected.as_ref()))
            .await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
        let (key, expected) = (checked(key)?, expected.clone());
        self.database
            .write(Care::default(), move |change: &Write<'_>| delete(change.db, &key, &expected))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
        let prefix = prefix.to_owned();
        self.database.read(move |db| list(db, &prefix)).await
    }
}
