//! The tables of a stream: read from the configuration and the schemas that it names when a node starts, and followed while it runs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shardmill_actors::standardise::{ByName, Source, Table, Tables, TablesBook, Version};
use shardmill_connectors::Failure;
use shardmill_connectors::ports::Text;
use shardmill_connectors::schema::TableSchema;

use super::unread;
use crate::config::{self, Config, Problem, schema_file};

/// Finds the text of a schema by the name it has in a configuration.
pub(super) type Texts = Arc<dyn Fn(&str) -> Arc<dyn Text> + Send + Sync>;

/// The tables of the stream `name`, read for the first time: without a good version a node does not start.
pub(super) async fn book(config: &Config, name: &str, texts: Texts) -> Result<TablesBook, Vec<Problem>> {
    let settings = config.streams.get(name).ok_or_else(Vec::new)?;
    let found = read(settings, &texts).await?;
    let fingerprint = fingerprint((config, settings), &found);
    let tables = compile((config, settings), &found)?;
    let Some(file) = config.file.clone() else { return Ok(TablesBook::fixed(tables)) };
    let followed = Followed { file, stream: name.to_owned(), texts };
    Ok(TablesBook::followed(Arc::new(followed), tables, fingerprint))
}

/// The schema that a configuration names.
pub(super) async fn schema(name: &str, texts: &Texts) -> Result<Arc<TableSchema>, Vec<Problem>> {
    SchemaText::read(name, texts).await?.compile()
}

/// The text of a schema, and what it is called in problems.
struct SchemaText {
    shown: String,
    text: String,
}

impl SchemaText {
    async fn read(name: &str, texts: &Texts) -> Result<Self, Vec<Problem>> {
        let source = texts(name);
        let shown = source.name();
        let fix = "name a readable file, or an object that exists and may be read";
        let text = source.read().await.map_err(|failure| vec![unread(&shown, failure, fix)])?;
        Ok(SchemaText { shown, text })
    }

    fn compile(&self) -> Result<Arc<TableSchema>, Vec<Problem>> {
        schema_file::compile(&self.shown, &self.text).map(Arc::new)
    }
}

/// The texts of the schemas that a stream names, in the order of [`config::Stream::fed`]; `None`: the built-in one.
async fn read(settings: &config::Stream, texts: &Texts) -> Result<Vec<Option<SchemaText>>, Vec<Problem>> {
    let mut found = Vec::new();
    for (_, schema) in settings.fed() {
        found.push(match schema {
            Some(name) => Some(SchemaText::read(name, texts).await?),
            None => None,
        });
    }
    Ok(found)
}

/// Everything that tables are made from, as a number.
fn fingerprint((config, settings): (&Config, &config::Stream), found: &[Option<SchemaText>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    settings.fed().for_each(|fed| fed.hash(&mut hasher));
    settings.fed().for_each(|(table, _)| config.dedupe_of(table).hash(&mut hasher));
    settings
        .fed()
        .for_each(|(table, _)| config.tables.get(table).map(|table| &table.bloom).hash(&mut hasher));
    settings.fields.id.hash(&mut hasher); // where ids are that tables are de-duplicated by
    settings.tables.iter().for_each(|table| table.events.hash(&mut hasher));
    Value::Object(settings.mapping.values().clone()).to_string().hash(&mut hasher);
    found.iter().for_each(|schema| schema.as_ref().map(|schema| &schema.text).hash(&mut hasher));
    hasher.finish()
}

fn compile(
    (config, settings): (&Config, &config::Stream),
    found: &[Option<SchemaText>],
) -> Result<Tables, Vec<Problem>> {
    let (mut tables, mut problems) = (Vec::new(), Vec::new());
    for ((name, _), schema) in settings.fed().zip(found) {
        match schema.as_ref().map_or_else(|| Ok(TableSchema::builtin()), SchemaText::compile) {
            Ok(schema) => {
                let ids = config.id_column((settings, name), &schema).map_err(|problem| vec![problem]);
                match (ids, config.bloom_columns(name, &schema)) {
                    (Ok(ids), Ok(bloom)) => tables.push(Table { ids, bloom, ..Table::new(name, schema) }),
                    (ids, bloom) => problems.extend(ids.err().into_iter().chain(bloom.err()).flatten()),
                }
            }
            Err(wrong) => problems.extend(wrong),
        }
    }
    let mapping = settings.mapping().unwrap_or_else(|wrong| {
        let of_file = |(_, message, fix)| Problem::of_file("mapping", message, fix);
        problems.extend(wrong.into_iter().map(of_file));
        None
    });
    let mut tables = tables.into_iter();
    let Some(rest) = tables.next().filter(|_| problems.is_empty()) else { return Err(problems) };
    let by_name = settings.tables.iter().zip(tables);
    let by_name = by_name.map(|(entry, table)| ByName { events: entry.events.clone(), table });
    let tables = Tables::new(rest, by_name);
    Ok(match mapping {
        Some(mapping) => tables.mapped(mapping),
        None => tables,
    })
}

/// A stream of a configuration file.
struct Followed {
    file: PathBuf,
    stream: String,
    texts: Texts,
}

#[async_trait]
impl Source for Followed {
    async fn read(&self, known: Option<u64>) -> Result<Option<Version>, Failure> {
        let file = self.file.clone();
        let config = tokio::task::spawn_blocking(move || Config::load(&file)).await;
        let config = config.map_err(|error| Failure::transient(format!("reading was ended: {error}")))?;
        let (fingerprint, tables) = match config {
            Err(problems) => broken(&lines(&problems)),
            Ok(config) => match config.streams.get(&self.stream) {
                Some(settings) => {
                    let found = read(settings, &self.texts).await;
                    let found = found.map_err(|problems| Failure::rejected(lines(&problems)))?;
                    let fingerprint = fingerprint((&config, settings), &found);
                    if known == Some(fingerprint) {
                        return Ok(None);
                    }
                    let tables = compile((&config, settings), &found);
                    (fingerprint, tables.map_err(|problems| lines(&problems)))
                }
                None => broken(&format!(
                    "{}: the stream `{}` is not there any more; restart the node without it, or put it back",
                    self.file.display(),
                    self.stream
                )),
            },
        };
        Ok((known != Some(fingerprint)).then_some(Version { fingerprint, tables }))
    }
}

fn broken(problem: &str) -> (u64, Result<Tables, String>) {
    let mut hasher = DefaultHasher::new();
    problem.hash(&mut hasher);
    (hasher.finish(), Err(problem.to_owned()))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shardmill_connectors::ports::TextFile;

    use super::*;

    const TABLES: &str =
        "[[streams.web.tables]]\ntable = \"orders\"\nevents = [\"Order *\"]\nschema = \"o.json\"\n";

    async fn open(file: &Path) -> Result<TablesBook, Vec<Problem>> {
        let config = Config::load(file)?;
        let folder = file.parent().unwrap().to_owned();
        let texts: Texts = Arc::new(move |name| Arc::new(TextFile(folder.join(name))));
        book(&config, "web", texts).await
    }

    fn named(book: &TablesBook) -> Vec<String> {
        let versions = |table: &Arc<Table>| format!("{} {}", table.name, table.schema.version());
        book.current().all().iter().map(versions).collect()
    }

    async fn refresh(book: &TablesBook) {
        if let Some(found) = book.look().await {
            book.settle(found, Ok(()));
        }
    }

    #[tokio::test]
    async fn tables_mapping_and_schemas_are_followed_and_the_last_good_ones_stay() {
        let folder = std::env::temp_dir().join(format!("shardmill-tables-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("c.toml");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("c.toml", &format!("[streams.web]\n{TABLES}"));
        let problems = open(&file).await.unwrap_err();
        assert!(problems.len() == 1 && problems[0].file.ends_with("o.json"), "{problems:?}");
        write("o.json", "{\"$id\":\"a\",\"type\":\"object\"}");
        let book = open(&file).await.unwrap();
        let before = book.current();
        let look = async || {
            refresh(&book).await;
            refresh(&book).await;
        };
        look().await;
        assert!(Arc::ptr_eq(&before, &book.current()), "nothing has changed");
        assert!(named(&book)[0] == "web events@1" && named(&book)[1].starts_with("orders a@"));

        write("o.json", "{\"$id\":\"b\",\"type\":\"object\"}");
        look().await;
        assert!(named(&book)[1].starts_with("orders b@"), "{:?}", named(&book));
        write("o.json", "{\"typ\":\"object\"}");
        look().await;
        assert!(named(&book)[1].starts_with("orders b@") && book.problem().unwrap().contains("o.json"));
        write("o.json", "{\"$id\":\"b\",\"type\":\"object\"}");
        write("c.toml", "[streams.web]\ntable = \"\"\n");
        look().await;
        assert!(named(&book).len() == 2 && book.problem().unwrap().contains("streams.web.table"));
        write("c.toml", "[streams.other]\n");
        look().await;
        assert!(book.problem().unwrap().contains("not there any more"));

        write("c.toml", "[streams.web]\nmapping = { drop = [\"/a\"] }\n");
        look().await;
        assert_eq!((named(&book), book.problem()), (vec!["web events@1".to_owned()], None));
        let mapped = book.current();
        write("c.toml", "[streams.web]\nmapping = { drop = [\"/b\"] }\n");
        look().await;
        assert!(!Arc::ptr_eq(&mapped, &book.current()), "another mapping is another version");
        write("c.toml", "[streams.web]\nmapping = { drop = [\"/b\"] }\n[lake]\ndedupe = \"message_id\"\n");
        look().await;
        assert_eq!(book.current().rest().ids.as_deref(), Some("message_id"));
        write(
            "c.toml",
            "[streams.web]\n[lake]\ndedupe = \"message_id\"\n[tables.web]\nbloom = [\"user_id\"]\n",
        );
        look().await;
        assert!(book.current().rest().bloom.contains("user_id"), "{:?}", book.problem());
        write("c.toml", "[streams.web]\nfields = { id = [\"/no\"] }\n[lake]\ndedupe = \"message_id\"\n");
        look().await;
        assert!(book.current().rest().ids.is_some() && book.problem().unwrap().contains("message ids"));
        assert!(book.feeds("orders"), "rows for it may still be on their way");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
