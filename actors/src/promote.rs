//! Promoting hours of before to the schema of today: what they keep in `extra` and the schema names now goes into its column, and columns
//! that have become wider are written so. Columns that are to have Bloom filters, and have none there, get them.
//!
//! Each hour is one generation, committed as a take and a release in one write, and only while nobody who lives owns the hour: nodes may
//! run, an hour they work on is left for another time. So it may be stopped and repeated at will; an hour that is done has nothing to move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use shardmill_cluster::Cell;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::parquet::{self, Input, PromoteRequest, Prospect, WriteOptions};
use shardmill_connectors::schema::{TableSchema, registry};
use shardmill_connectors::standardise::promote::Promotion;
use uuid::Uuid;

use crate::shared::Ports;
use crate::state::HourState;
use crate::verify::repair::{passed_on, rebuild};
use crate::verify::{Scope, Tools};
use crate::world::Reader;

/// What became of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is nothing to move.
    Nothing,
    /// It would be promoted.
    Planned,
    /// It was promoted.
    Done,
    /// It could not be promoted now.
    Failed,
}

/// One hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promoted {
    /// Its table.
    pub table: String,
    /// The hour.
    pub hour: Hour,
    /// What became of it.
    pub outcome: Outcome,
    /// Its rows.
    pub rows: u64,
    /// Values moved out of `extra`, by column.
    pub moved: BTreeMap<String, u64>,
    /// Values that the schema names and does not take, by column: they stay in `extra`.
    pub kept: BTreeMap<String, u64>,
    /// Columns that were narrower than the schema's.
    pub widened: Vec<String>,
    /// Columns that got Bloom filters that they lacked.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub filtered: BTreeSet<String>,
    /// Files that the hour has not absorbed yet: they are not promoted before that.
    pub fresh: u64,
    /// Why it could not be promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Promotes every hour in scope, one after the other; hours that cannot be are told and keep no other from being tried. `schemas` are
/// today's; a table without one is promoted to its newest registered version.
///
/// # Errors
/// What the stores raise when documents or the registry cannot be read.
pub async fn promote(
    ports: &Ports,
    tools: &Tools,
    scope: &Scope,
    schemas: &BTreeMap<String, Arc<TableSchema>>,
    dry_run: bool,
) -> Result<Vec<Promoted>, Failure> {
    let world = Reader::default().read(ports.documents.as_ref()).await?;
    let mut promotions: BTreeMap<String, Option<Promotion>> = BTreeMap::new();
    let mut all = Vec::new();
    for ((table, hour), state) in world.hours.iter().filter(|((table, hour), _)| scope.takes(table, *hour)) {
        if !promotions.contains_key(table) {
            promotions.insert(table.clone(), promotion(ports, table, schemas.get(table)).await?);
        }
        let Some(Some(promotion)) = promotions.get(table) else { continue };
        let inputs = world.inputs(state);
        let work = Work { ports, tools, promotion, dry_run };
        let promoted = Promoted {
            fresh: (inputs.segments.len() + inputs.late.len()) as u64,
            ..work.hour(table, *hour).await
        };
        tracing::debug!(%table, %hour, outcome = ?promoted.outcome, "hour promoted");
        all.push(promoted);
    }
    Ok(all)
}

/// To what a table is promoted.
async fn promotion(
    ports: &Ports,
    table: &str,
    today: Option<&Arc<TableSchema>>,
) -> Result<Option<Promotion>, Failure> {
    if let Some(schema) = today {
        return Ok(Some(Promotion::new(schema.clone())));
    }
    let lineage = registry::read(ports.objects.as_ref(), table).await?;
    let latest = lineage.latest().map(|entry| entry.compile()).transpose()?;
    Ok(latest.map(|schema| Promotion::new(Arc::new(schema))))
}

/// What one hour's promotion works with.
struct Work<'a> {
    ports: &'a Ports,
    tools: &'a Tools,
    promotion: &'a Promotion,
    dry_run: bool,
}

impl Work<'_> {
    async fn hour(&self, table: &str, hour: Hour) -> Promoted {
        let mut told = Promoted {
            table: table.to_owned(),
            hour,
            outcome: Outcome::Nothing,
            rows: 0,
            moved: BTreeMap::new(),
            kept: BTreeMap::new(),
            widened: Vec::new(),
            filtered: BTreeSet::new(),
            fresh: 0,
            reason: None,
        };
        if let Err(failure) = self.run(&mut told).await {
            (told.outcome, told.reason) = (Outcome::Failed, Some(failure.detail));
        }
        told
    }

    async fn run(&self, told: &mut Promoted) -> Result<(), Failure> {
        let key = layout::documents::hour(&told.table, told.hour);
        let mut cell: Cell<HourState> = Cell::load(self.ports.documents.clone(), key).await?;
        let Some(state) = cell.state().cloned().filter(|state| !state.files.is_empty()) else {
            return Ok(());
        };
        told.rows = state.tally.rows;
        let files: Vec<Input> =
            state.files.iter().map(|file| Input { key: file.key.clone(), tally: file.tally }).collect();
        let bloom = self.tools.write_of(&told.table).bloom;
        let prospect = parquet::prospect(&self.ports.objects, &files, self.promotion, &bloom).await?;
        let is_needed = !prospect.is_empty();
        let Prospect { moves, widened, filtered } = prospect;
        (told.moved, told.kept, told.widened, told.filtered) = (moves.moved, moves.kept, widened, filtered);
        if !is_needed {
            return Ok(());
        }
        told.outcome = Outcome::Planned;
        if !self.dry_run {
            self.rewrite(&mut cell, state, files).await?;
            told.outcome = Outcome::Done;
        }
        Ok(())
    }

    /// Makes the next generation and commits it.
    async fn rewrite(
        &self,
        cell: &mut Cell<HourState>,
        state: HourState,
        files: Vec<Input>,
    ) -> Result<(), Failure> {
        let busy = |failure: Failure| match failure.class {
            Class::Rejected | Class::Fenced => Failure::rejected(format!(
                "a node works on {}/{}: promote it again later, or with the nodes stopped",
                state.table, state.hour
            )),
            _ => failure,
        };
        let ownership = passed_on(self.tools, &state.ownership).await.map_err(busy)?;
        let random = &Uuid::new_v4().simple().to_string()[..12];
        let (generation, epoch) = (state.generation + 1, ownership.epoch);
        let request = PromoteRequest {
            objects: self.ports.objects.clone(),
            folder: layout::generation(&state.table, state.hour, generation, epoch, random),
            files,
            options: WriteOptions { ids: state.dedupe.clone(), ..self.tools.write_of(&state.table) },
            meta: vec![
                ("shardmill.table".to_owned(), state.table.clone()),
                ("shardmill.hour".to_owned(), state.hour.to_string()),
            ],
            promotion: self.promotion,
        };
        let (files, moves) = parquet::promote(request).await?;
        let files = files.into_iter().map(rebuild::written).collect();
        // Ids that stood in `extra` were not looked at: the next merge does it.
        let dedupe = state.dedupe.clone().filter(|column| !moves.moved.contains_key(column));
        let next = rebuild::succeed(HourState { ownership, dedupe, ..state.clone() }, files);
        rebuild::commit(self.ports, cell, next).await.map_err(|failure| match failure.class {
            Class::Fenced => busy(failure),
            _ => failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use serde_json::json;
    use shardmill_cluster::{Liveness, NodeId};
    use shardmill_connectors::clock::Millis;
    use shardmill_connectors::json::Object;
    use shardmill_connectors::parquet::FileWriter;
    use shardmill_connectors::record::Origin;
    use shardmill_connectors::standardise::Rows;

    use super::*;
    use crate::state::Absorbed;
    use crate::state::hour::{CatalogState, GenerationFile};
    use crate::testing::stores;

    #[derive(Debug)]
    struct Everybody;

    #[async_trait]
    impl Liveness for Everybody {
        async fn is_dead(&self, _: &NodeId) -> Result<bool, Failure> {
            Ok(false)
        }
    }

    fn schema(text: &str) -> Arc<TableSchema> {
        let text = format!(r#"{{"type": "object", "properties": {{{text}}}}}"#);
        Arc::new(TableSchema::load(&text).unwrap())
    }

    fn hour(number: u32) -> Hour {
        format!("2026-11-21T{number:02}").parse().unwrap()
    }

    /// An hour of ten rows, made with `schema`, that knows a coupon.
    async fn fill(ports: &Ports, hour: Hour, schema: &Arc<TableSchema>, owner: Option<NodeId>) {
        let mut rows = Rows::new(schema.clone());
        for n in 0..10u64 {
            let coupon = if n == 0 { json!(7) } else { json!(format!("C{n}")) };
            let event = json!({"a": n, "coupon": coupon}).to_string();
            let (shard, sequence) = ("0".into(), n.into());
            let arrived_at = hour.start();
            let origin = Origin { stream: "web".into(), shard, sequence, subsequence: 0, arrived_at };
            rows.append(&Object::parse(event.as_bytes()).unwrap(), &origin).unwrap();
        }
        let (batch, options) = (rows.finish(), WriteOptions::default());
        let key = layout::part(&layout::generation("t", hour, 1, 1, "abc"), 0);
        let objects = ports.objects.as_ref();
        let mut file = FileWriter::create(objects, &key, batch.schema(), &options, &[]).await.unwrap();
        file.write(&batch).await.unwrap();
        let summary = file.finish().await.unwrap();
        let mut state = HourState::new("t", hour);
        (state.ownership.epoch, state.ownership.owner) = (1, owner);
        (state.generation, state.tally, state.complete) = (1, summary.tally, true);
        state.files = vec![GenerationFile { key, bytes: summary.bytes, tally: summary.tally }];
        state.dedupe = Some(if hour == self::hour(1) { "coupon" } else { "a" }.to_owned());
        state.absorbed.insert("web/0".into(), Absorbed { through: 1, tally: summary.tally });
        state.catalog = CatalogState { location: state.location(), switched_at: Some(Millis::now()) };
        let key = layout::documents::hour("t", hour);
        let mut cell: Cell<HourState> = Cell::load(ports.documents.clone(), key).await.unwrap();
        cell.replace(state).await.unwrap();
    }

    async fn state(ports: &Ports, hour: Hour) -> HourState {
        let key = layout::documents::hour("t", hour);
        let cell: Cell<HourState> = Cell::load(ports.documents.clone(), key).await.unwrap();
        cell.state().cloned().unwrap()
    }

    #[tokio::test]
    async fn hours_are_promoted_one_by_one_and_what_a_node_holds_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        let old = schema(r#""a": {"type": "integer"}"#);
        let new = schema(r#""a": {"type": "number"}, "coupon": {"type": "string"}"#);
        for (number, owner) in [(1, None), (2, Some(NodeId::boot("busy"))), (3, None)] {
            fill(&ports, hour(number), &old, owner).await;
        }
        let (write, bloom) = (WriteOptions::default(), BTreeMap::new());
        let tools = Tools { write, bloom, liveness: Arc::new(Everybody) };
        let schemas = BTreeMap::from([("t".to_owned(), new)]);
        let until = Scope { until: Some(hour(3)), ..Scope::default() };
        let run = async |scope: &Scope, dry_run: bool| {
            let all = promote(&ports, &tools, scope, &schemas, dry_run).await.unwrap();
            all.into_iter()
                .map(|one| (one.outcome, one.moved.get("coupon").copied(), one.kept.get("coupon").copied()))
                .collect::<Vec<_>>()
        };
        let (moved, kept) = (Some(9), Some(1));
        assert_eq!(run(&until, true).await, [(Outcome::Planned, moved, kept); 2]);
        assert_eq!(state(&ports, hour(1)).await.generation, 1, "nothing is changed by asking");
        assert_eq!(run(&until, false).await, [(Outcome::Done, moved, kept), (Outcome::Failed, moved, kept)]);

        let (was, is) = (state(&ports, hour(3)).await, state(&ports, hour(1)).await);
        assert_eq!((is.generation, is.tally, is.balances()), (2, was.tally, true));
        assert_eq!(ports.catalog.location("t", hour(1)).await.unwrap(), is.location());
        assert!(is.catalog.switched_at.is_some() && is.garbage.len() == 1 && is.ownership.owner.is_none());
        let found = parquet::deep(ports.objects.clone(), &is.files[0].key).await.unwrap();
        assert_eq!(found, was.tally, "the rows are the ones they were");

        assert_eq!(is.dedupe, None, "nobody has compared the ids that were moved");

        // Again, for all: what is done is done.
        let again = run(&Scope::default(), false).await;
        assert_eq!(
            again,
            [(Outcome::Nothing, None, kept), (Outcome::Failed, moved, kept), (Outcome::Done, moved, kept)]
        );
        assert_eq!(state(&ports, hour(2)).await.generation, 1, "its node works on it");
        assert_eq!(state(&ports, hour(3)).await.dedupe.as_deref(), Some("a"), "ids only became wider");
    }

    #[tokio::test]
    async fn filters_that_are_asked_for_since_are_added_once() {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        let same = schema(r#""a": {"type": "integer"}"#);
        fill(&ports, hour(3), &same, None).await;
        let schemas = BTreeMap::from([("t".to_owned(), same)]);
        for (bloom, outcome) in
            [(None, Outcome::Nothing), (Some("a"), Outcome::Done), (Some("a"), Outcome::Nothing)]
        {
            let bloom: BTreeSet<String> = bloom.map(str::to_owned).into_iter().collect();
            let filtered = if outcome == Outcome::Done { bloom.clone() } else { BTreeSet::new() };
            let (write, bloom) = (WriteOptions::default(), [("t".to_owned(), bloom)].into());
            let tools = Tools { write, bloom, liveness: Arc::new(Everybody) };
            let all = promote(&ports, &tools, &Scope::default(), &schemas, false).await.unwrap();
            assert_eq!((all[0].outcome, &all[0].filtered), (outcome, &filtered), "{all:?}");
        }
        let is = state(&ports, hour(3)).await;
        assert_eq!((is.generation, is.dedupe.as_deref(), is.balances()), (2, Some("a"), true));
    }
}
