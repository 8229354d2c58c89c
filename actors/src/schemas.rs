//! Registering the schemas that rows are about to be made with: the catalog has their columns first, then the registry names them, and
//! only then may a segment be committed.

use std::sync::Arc;

use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::ports::Put;
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::schema::evolution::Number;
use shardmill_connectors::schema::registry::{self, Entry, Judged, Lineage, Refusal};

use crate::shared::Ports;
use crate::standardise::Tables;

/// How often another node may be first before something must be wrong.
const RACES: usize = 20;

/// What became of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// It is registered under this number.
    As(Number),
    /// It breaks the table.
    Refused(Vec<Refusal>),
}

/// Registers `schema` for `table` unless it is registered already. Of nodes that do so at once one creates the version, and the
/// others find it.
///
/// # Errors
/// What the stores raise; `Rejected` when a registered version is damaged, or the catalog cannot have the columns.
pub async fn register(ports: &Ports, table: &str, schema: &Arc<TableSchema>) -> Result<Registered, Failure> {
    for _ in 0..RACES {
        let lineage = registry::read(ports.objects.as_ref(), table).await?;
        let judged = lineage.judge(schema)?;
        let refusals = judged.refusals(&lineage);
        if !refusals.is_empty() {
            return Ok(Registered::Refused(refusals));
        }
        let (number, changes) = match judged {
            Judged::Known(number) => return Ok(Registered::As(number)),
            Judged::New { number, changes } => (number, changes),
        };
        prepare(ports, table, (&lineage, schema.as_ref())).await?;
        let entry = Entry::new(table, (number, changes), schema);
        if registry::create(ports.objects.as_ref(), &entry).await? == Put::Created {
            tracing::info!(table, version = %number, schema = schema.version(), "schema registered");
            return Ok(Registered::As(number));
        }
    }
    Err(Failure::transient(format!("table {table}: other nodes register schemas all the time")))
}

/// Registers the schemas of all `tables`, which are not in force yet.
///
/// # Errors
/// As [`register`]; `Rejected` when one breaks its table.
pub async fn admit(ports: &Ports, tables: &Tables) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for table in tables.all() {
        if let Registered::Refused(refusals) = register(ports, &table.name, &table.schema).await? {
            refused.extend(refusals.iter().map(Refusal::to_string));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::rejected(refused.join("\n"))) }
}

/// Gives the catalog's table, and the live one if there is one, the columns of all versions. A catalog that is out of reach keeps no node from starting: every hour asks
/// for its columns again before anybody sees its files.
async fn prepare(
    ports: &Ports,
    table: &str,
    (lineage, schema): (&Lineage, &TableSchema),
) -> Result<(), Failure> {
    let Some(columns) = lineage.columns(Some(schema))? else { return Ok(()) };
    let live = ports.live.as_ref().filter(|live| live.shows(table));
    let live_table = live.map(|_| layout::live_table(table));
    let outcome = async {
        for table in std::iter::once(table).chain(live_table.as_deref()) {
            if let Some(why) = ports.catalog.unfit(table, &columns).await? {
                return Err(Failure::rejected(why));
            }
        }
        ports.catalog.ensure_table(table, &columns).await?;
        match live {
            Some(live) => live.fit(ports.catalog.as_ref(), table, &columns).await,
            None => Ok(()),
        }
    };
    match outcome.await {
        Err(failure) if failure.class != Class::Rejected => {
            tracing::warn!(table, %failure, "the catalog has not got the columns of the new schema yet");
            Ok(())
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use shardmill_connectors::embedded::CatalogStore;

    use super::*;
    use crate::live::Live;
    use crate::live::testing::live;
    use crate::testing::stores;

    fn schema(text: &str) -> Arc<TableSchema> {
        let text = format!(r#"{{"type": "object", "properties": {{{text}}}}}"#);
        Arc::new(TableSchema::load(&text).unwrap())
    }

    #[tokio::test]
    async fn nodes_that_register_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        let (one, two) = (schema(r#""a": {"type": "integer"}"#), schema(r#""b": {"type": "integer"}"#));
        let nodes = (0..8).map(|n| register(&ports, "t", if n % 2 == 0 { &one } else { &two }));
        let outcomes: Vec<Registered> = join_all(nodes).await.into_iter().collect::<Result<_, _>>().unwrap();
        let lineage = registry::read(ports.objects.as_ref(), "t").await.unwrap();
        assert_eq!(lineage.entries().len(), 2, "{:?}", lineage.entries());
        for (n, outcome) in outcomes.iter().enumerate() {
            let schema = if n % 2 == 0 { &one } else { &two };
            assert_eq!(*outcome, Registered::As(lineage.number(schema.version()).unwrap()));
        }
    }

    #[tokio::test]
    async fn the_catalog_has_the_columns_of_all_versions_before_any_row() {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        for text in [r#""a": {"type": "integer"}"#, r#""b": {"type": "string"}"#] {
            assert!(matches!(register(&ports, "t", &schema(text)).await.unwrap(), Registered::As(_)));
        }
        let columns = CatalogStore::open(folder.path()).unwrap().columns("t").await.unwrap().unwrap();
        assert!(columns.index_of("a").is_ok() && columns.index_of("b").is_ok(), "{columns:?}");
    }

    #[tokio::test]
    async fn a_live_table_has_them_too() {
        let folder = tempfile::tempdir().unwrap();
        let by_table = [("shown".to_owned(), true)].into();
        let live = Live { by_default: false, by_table, ..live(folder.path()) };
        let ports = Ports { live: Some(live), ..stores(folder.path()) };
        for table in ["shown", "other"] {
            register(&ports, table, &schema(r#""a": {"type": "integer"}"#)).await.unwrap();
        }
        let tables = CatalogStore::open(folder.path()).unwrap().tables().await.unwrap();
        assert_eq!(tables, ["other", "shown", "shown_live"]);
    }

    #[tokio::test]
    async fn what_breaks_is_not_registered() {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        register(&ports, "t", &schema(r#""a": {"type": "integer"}"#)).await.unwrap();
        let outcome = register(&ports, "t", &schema(r#""a": {"type": "boolean"}"#)).await.unwrap();
        let Registered::Refused(refusals) = outcome else { panic!("{outcome:?}") };
        assert_eq!((refusals.len(), refusals[0].next.to_string()), (1, "2-0-0".to_owned()));
        assert_eq!(registry::read(ports.objects.as_ref(), "t").await.unwrap().entries().len(), 1);
    }
}
