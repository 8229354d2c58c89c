//! The proof of the lake: every book balances, every file holds what is recorded of it, every object is accounted for.

use std::collections::BTreeMap;

use serde::Serialize;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet;
use shardmill_connectors::setsum::Tally;

use crate::dead_letters::edits::{self, EditIndex};
use crate::dead_letters::{letter, selection};
use crate::shared::Ports;
use crate::state::HourState;
use crate::sweeper::{Survey, survey};
use crate::world::World;

/// How often books are read again before a difference is believed: commits go on while they are read.
const READINGS: usize = 3;

/// What is verified.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only this table.
    pub table: Option<String>,
    /// Only this hour.
    pub hour: Option<Hour>,
    /// Decode every column of every file, not only the origins.
    pub deep: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The shard, hour or object.
    pub at: String,
    /// What is wrong.
    pub message: String,
}

/// The outcome of a verification.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Shards whose books were balanced.
    pub shards: u64,
    /// Hours whose books were balanced.
    pub hours: u64,
    /// Records the lake has read, over all shards.
    pub read: u64,
    /// Rows in present generations.
    pub rows: u64,
    /// Rows in segments that no hour has absorbed.
    pub fresh: u64,
    /// Events that became dead letters at the lake.
    pub invalid: u64,
    /// Late rows absorbed, those dropped as duplicates not counted.
    pub late: u64,
    /// Parquet files and dead-letter files read.
    pub files: u64,
    /// Objects that a document lists.
    pub listed: u64,
    /// Unlisted objects that nobody can list any more: the sweeper deletes them.
    pub abandoned: Vec<String>,
    /// Unlisted objects of a present epoch.
    pub in_flight: Vec<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Report {
    fn problem(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { at: at.into(), message: message.into() });
    }
}

/// Verifies the lake behind `ports`, while nodes run or not.
pub async fn verify(ports: &Ports, scope: &Scope) -> Result<Report, Failure> {
    let mut last = None;
    for _ in 0..READINGS {
        let survey = survey(ports).await?;
        let mut report = Report::default();
        balance_shards(&survey.world, &mut report);
        balance_hours(&survey.world, scope, &mut report);
        let balanced = report.problems.is_empty();
        last = Some((survey, report));
        if balanced {
            break;
        }
    }
    let Some((survey, mut report)) = last else { return Ok(Report::default()) };
    read_files(ports, scope, &survey.world, &mut report).await;
    read_dead_letters(ports, &mut report).await?;
    read_edits(ports, &mut report).await?;
    ask_catalog(ports, scope, &survey.world, &mut report).await?;
    account(survey, &mut report);
    report.ok = report.problems.is_empty();
    Ok(report)
}

fn in_scope(scope: &Scope, hour: &HourState) -> bool {
    scope.table.as_ref().is_none_or(|table| *table == hour.table)
        && scope.hour.is_none_or(|wanted| wanted == hour.hour)
}

/// Per shard: read = dead letters + absorbed by all hours + listed and not absorbed.
fn balance_shards(world: &World, report: &mut Report) {
    let mut absorbed: BTreeMap<&str, Tally> = BTreeMap::new();
    for hour in world.hours.values() {
        for (shard, part) in &hour.absorbed {
            *absorbed.entry(shard).or_default() += part.tally;
        }
    }
    let mut fresh: BTreeMap<String, Tally> = BTreeMap::new();
    for (table, hour) in world.all_hours() {
        let new = HourState::new(&table, hour);
        let state = world.hours.get(&(table, hour)).map_or(&new, |state| state.as_ref());
        for (shard, segment) in world.inputs(state).segments {
            *fresh.entry(shard).or_default() += segment.tally;
        }
    }
    for (name, shard) in &world.shards {
        let in_hours = absorbed.get(name.as_str()).copied().unwrap_or_default();
        let listed = fresh.get(name).copied().unwrap_or_default();
        report.shards += 1;
        report.read += shard.read.rows;
        report.invalid += shard.invalid.rows;
        report.fresh += listed.rows;
        if shard.read != shard.invalid + in_hours + listed {
            report.problem(
                name,
                format!(
                    "the books do not balance: read {}; absorbed {in_hours}; not absorbed {listed}; dead letters {}",
                    shard.read, shard.invalid
                ),
            );
        }
    }
}

/// Per hour: rows = absorbed + late − dropped − quarantined.
fn balance_hours(world: &World, scope: &Scope, report: &mut Report) {
    for hour in world.hours.values().filter(|hour| in_scope(scope, hour)) {
        let at = format!("{}/{}", hour.table, hour.hour);
        report.hours += 1;
        report.rows += hour.tally.rows;
        report.late += hour.late.values().copied().sum::<Tally>().rows.saturating_sub(hour.dropped.rows);
        if !hour.balances() {
            report.problem(&at, "the books of the hour do not balance");
        }
        for file in &hour.quarantined {
            report.problem(
                &at,
                format!("{} is quarantined, {} rows are missing: {}", file.key, file.tally.rows, file.reason),
            );
        }
    }
}

/// Reads every generation and every fresh segment back.
async fn read_files(ports: &Ports, scope: &Scope, world: &World, report: &mut Report) {
    for (table, hour) in world.all_hours() {
        let new = HourState::new(&table, hour);
        let state = world.hours.get(&(table, hour)).map_or(&new, |state| state.as_ref());
        if !in_scope(scope, state) {
            continue;
        }
        let files = state.files.iter().map(|file| (file.key.clone(), file.tally));
        let segments = world.inputs(state).segments.into_iter().map(|(_, s)| (s.key, s.tally));
        for (key, expected) in files.chain(segments) {
            report.files += 1;
            let objects = ports.objects.clone();
            let found = match scope.deep {
                true => parquet::deep(objects, &key).await,
                false => parquet::tally(objects, &key).await,
            };
            match found {
                Ok(found) if found == expected => {}
                Ok(found) => report.problem(&key, format!("holds {found}; recorded are {expected}")),
                Err(failure) => report.problem(&key, failure.to_string()),
            }
        }
    }
}

/// Reads every dead-letter file back.
async fn read_dead_letters(ports: &Ports, report: &mut Report) -> Result<(), Failure> {
    for file in selection::files(ports).await? {
        report.files += 1;
        let letters = match ports.objects.get(&file.key).await {
            Ok(bytes) => letter::from_ndjson(&bytes).map_err(|error| error.to_string()),
            Err(failure) => Err(failure.to_string()),
        };
        match letters {
            Ok(letters) => {
                let mut found = Tally::default();
                letters.iter().for_each(|letter| found.insert(letter.origin.identity()));
                if found != file.tally {
                    report.problem(&file.key, format!("holds {found}; recorded are {}", file.tally));
                }
            }
            Err(reason) => report.problem(&file.key, format!("cannot be read: {reason}")),
        }
    }
    Ok(())
}

/// Reads every file of edited payloads back.
async fn read_edits(ports: &Ports, report: &mut Report) -> Result<(), Failure> {
    for index in EditIndex::all(ports.documents.as_ref()).await? {
        report.files += 1;
        let found = match ports.objects.get(&index.object).await {
            Ok(bytes) => edits::count(&bytes).map_err(|error| error.to_string()),
            Err(failure) => Err(failure.to_string()),
        };
        match found {
            Ok(found) if found == index.edits => {}
            Ok(found) => {
                report.problem(&index.object, format!("holds {found} edits; recorded are {}", index.edits))
            }
            Err(reason) => report.problem(&index.object, format!("cannot be read: {reason}")),
        }
    }
    Ok(())
}

/// The catalog looks where the documents say it was told to.
async fn ask_catalog(
    ports: &Ports,
    scope: &Scope,
    world: &World,
    report: &mut Report,
) -> Result<(), Failure> {
    for hour in world.hours.values().filter(|hour| in_scope(scope, hour)) {
        if hour.catalog.switched_at.is_none() {
            continue; // the switch is under way
        }
        let location = ports.catalog.location(&hour.table, hour.hour).await?;
        if location != hour.location() {
            let shows = location.unwrap_or_else(|| "nothing".into());
            let wanted = hour.location().unwrap_or_default();
            report.problem(
                format!("{}/{}", hour.table, hour.hour),
                format!("the catalog shows {shows}; the document says {wanted}"),
            );
        }
    }
    Ok(())
}

fn account(survey: Survey, report: &mut Report) {
    report.listed = survey.listed.len() as u64;
    report.abandoned = survey.abandoned;
    report.in_flight = survey.in_flight;
    for key in survey.unknown {
        report.problem(key, "no document lists this object and its name explains nothing");
    }
}
