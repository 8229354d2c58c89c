//! The embedded catalog's storage: `<data-dir>/catalog.db` knows tables, their columns and where each partition is.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as Columns, SchemaRef};
use rusqlite::{OptionalExtension, params};

use super::sqlite::{Care, Database, Schema, Write};
use crate::clock::Millis;
use crate::failure::Failure;
use crate::hour::Hour;
use crate::parquet::unify;

const SCHEMA: Schema = Schema {
    page_size: 4096,
    steps: &["
        CREATE TABLE tables (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
        CREATE TABLE columns (
            table_name TEXT NOT NULL REFERENCES tables,
            place INTEGER NOT NULL,
            name TEXT NOT NULL,
            type TEXT NOT NULL,
            nullable INTEGER NOT NULL,
            PRIMARY KEY (table_name, place),
            UNIQUE (table_name, name)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE partitions (
            table_name TEXT NOT NULL,
            hour INTEGER NOT NULL,
            location TEXT NOT NULL,
            PRIMARY KEY (table_name, hour)
        ) STRICT, WITHOUT ROWID;
    "],
};

/// Tables and partitions of a data directory; SQL is put on top of it elsewhere.
#[derive(Debug, Clone)]
pub struct CatalogStore {
    database: Database,
}

impl CatalogStore {
    /// Opens the catalog of the data directory `dir`, which is created if needed.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        Ok(CatalogStore { database: Database::open(dir.join("catalog.db"), &SCHEMA, |_| Ok(()))? })
    }

    /// Creates the table, or adds the columns it lacks. A column that is there becomes wider where it must.
    pub async fn ensure_table(&self, table: &str, columns: &SchemaRef) -> Result<(), Failure> {
        let (table, columns) = (table.to_owned(), columns.clone());
        let ensure = move |write: &Write<'_>| {
            write.db.execute("INSERT OR IGNORE INTO tables VALUES (?1)", [&table])?;
            let mut add = write.db.prepare_cached(
                "INSERT INTO columns SELECT ?1, (SELECT count(*) FROM columns WHERE table_name = ?1), ?2, ?3, ?4
                 WHERE NOT EXISTS (SELECT 1 FROM columns WHERE table_name = ?1 AND name = ?2)",
            )?;
            for field in columns.fields() {
                add.execute(params![
                    table,
                    field.name(),
                    field.data_type().to_string(),
                    field.is_nullable()
                ])?;
                widen(write, &table, field)?;
            }
            Ok(())
        };
        self.database.write(Care::default(), ensure).await
    }

    /// Every table, ascending.
    pub async fn tables(&self) -> Result<Vec<String>, Failure> {
        self.database
            .read(|db| {
                let mut statement = db.prepare_cached("SELECT name FROM tables ORDER BY name")?;
                Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The table's columns in the order in which they were added, or `None` when there is no such table.
    pub async fn columns(&self, table: &str) -> Result<Option<SchemaRef>, Failure> {
        let table = table.to_owned();
        self.database
            .read(move |db| {
                let snapshot = db.unchecked_transaction()?;
                let sql = "SELECT 1 FROM tables WHERE name = ?1";
                if !snapshot.prepare_cached(sql)?.exists([&table])? {
                    return Ok(None);
                }
                let sql = "SELECT name, type, nullable FROM columns WHERE table_name = ?1 ORDER BY place";
                let mut statement = snapshot.prepare_cached(sql)?;
                let mut rows = statement.query([&table])?;
                let mut fields = Vec::new();
                while let Some(row) = rows.next()? {
                    let (name, text): (String, String) = (row.get(0)?, row.get(1)?);
                    let unknown = |error| {
                        Failure::crashed(format!(
                            "column {name} of {table}: `{text}` is no Arrow type: {error}"
                        ))
                    };
                    let data_type: DataType = text.parse().map_err(unknown)?;
                    fields.push(Field::new(name, data_type, row.get(2)?));
                }
                Ok(Some(Arc::new(Columns::new(fields))))
            })
            .await
    }

    /// Points the partition at the folder `location`, creating it if needed.
    pub async fn set_location(&self, table: &str, hour: Hour, location: &str) -> Result<(), Failure> {
        let (table, hour, location) = (table.to_owned(), hour.start().0, location.to_owned());
        let set = move |write: &Write<'_>| {
            let sql = "INSERT OR REPLACE INTO partitions VALUES (?1, ?2, ?3)";
            write.db.prepare_cached(sql)?.execute(params![table, hour, location])?;
            Ok(())
        };
        self.database.write(Care::default(), set).await
    }

    /// Takes the partition out, if it is there.
    pub async fn drop_partition(&self, table: &str, hour: Hour) -> Result<(), Failure> {
        let (table, hour) = (table.to_owned(), hour.start().0);
        let remove = move |write: &Write<'_>| {
            let sql = "DELETE FROM partitions WHERE table_name = ?1 AND hour = ?2";
            write.db.prepare_cached(sql)?.execute(params![table, hour])?;
            Ok(())
        };
        self.database.write(Care::default(), remove).await
    }

    /// Where the partition points, or `None` when it is not registered.
    pub async fn location(&self, table: &str, hour: Hour) -> Result<Option<String>, Failure> {
        let (table, hour) = (table.to_owned(), hour.start().0);
        self.database
            .read(move |db| {
                let sql = "SELECT location FROM partitions WHERE table_name = ?1 AND hour = ?2";
                Ok(db.prepare_cached(sql)?.query_row(params![table, hour], |row| row.get(0)).optional()?)
            })
            .await
    }

    /// Every registered partition of the table with its location, ascending.
    pub async fn partitions(&self, table: &str) -> Result<Vec<(Hour, String)>, Failure> {
        let table = table.to_owned();
        self.database
            .read(move |db| {
                let sql = "SELECT hour, location FROM partitions WHERE table_name = ?1 ORDER BY hour";
                let mut statement = db.prepare_cached(sql)?;
                let rows =
                    statement.query_map([table], |row| Ok((Hour::of(Millis(row.get(0)?)), row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

/// Gives a column that is there the type that holds what it has and what `field` brings.
fn widen(write: &Write<'_>, table: &str, field: &Field) -> rusqlite::Result<()> {
    let sql = "SELECT type FROM columns WHERE table_name = ?1 AND name = ?2";
    let is: String =
        write.db.prepare_cached(sql)?.query_row(params![table, field.name()], |row| row.get(0))?;
    let wider = is.parse().ok().and_then(|is: DataType| unify::wider(&is, field.data_type()).ok());
    if let Some(wider) = wider.map(|wider| wider.to_string()).filter(|wider| *wider != is) {
        let sql = "UPDATE columns SET type = ?3 WHERE table_name = ?1 AND name = ?2";
        write.db.prepare_cached(sql)?.execute(params![table, field.name(), wider])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[tokio::test]
    async fn columns_become_wider_and_never_narrower() {
        let dir = tempfile::tempdir().unwrap();
        let store = CatalogStore::open(dir.path()).unwrap();
        for (kind, wanted) in [
            (DataType::Int64, DataType::Int64),
            (DataType::Float64, DataType::Float64),
            (DataType::Int64, DataType::Float64),
            (DataType::Utf8, DataType::Utf8),
        ] {
            let columns: SchemaRef = Arc::new(Columns::new(vec![Field::new("n", kind, true)]));
            store.ensure_table("t", &columns).await.unwrap();
            assert_eq!(*store.columns("t").await.unwrap().unwrap().field(0).data_type(), wanted);
        }
    }

    #[tokio::test]
    async fn columns_come_back_with_their_types_and_new_ones_are_added_behind() {
        let dir = tempfile::tempdir().unwrap();
        let store = CatalogStore::open(dir.path()).unwrap();
        let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let first: SchemaRef = Arc::new(Columns::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("at", utc, true),
            Field::new("tags", list, true),
            Field::new("price", DataType::Decimal128(18, 2), true),
            Field::new("order_id", crate::uuids::COLUMN, true),
        ]));
        store.ensure_table("t", &first).await.unwrap();
        assert_eq!(store.columns("t").await.unwrap(), Some(first.clone()));
        let other: SchemaRef = Arc::new(Columns::new(vec![
            Field::new("new", DataType::Int64, true),
            Field::new("id", DataType::Int64, true),
        ]));
        store.ensure_table("t", &other).await.unwrap();
        let columns = store.columns("t").await.unwrap().unwrap();
        assert_eq!(columns.fields().len(), 6);
        assert_eq!((columns.field(0), columns.field(5)), (first.field(0), other.field(0)));
        assert_eq!(store.tables().await.unwrap(), ["t"]);
        assert_eq!(store.columns("unknown").await.unwrap(), None);
    }
}
