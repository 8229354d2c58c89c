//! Parquet files against what is recorded of them: present generations, and what no hour has absorbed.

use std::collections::BTreeMap;

use futures::StreamExt;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet;
use shardmill_connectors::setsum::Tally;

use super::finding::{Action, Finding, Kind};
use super::{Report, Scope, repair};
use crate::shared::Ports;
use crate::state::HourState;
use crate::world::{Reader, World};

/// Files read at once.
const TOGETHER: usize = 4;

/// A file that readers of the lake see, or that is still to be absorbed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Live {
    tally: Tally,
    table: String,
    hour: Hour,
    /// Whether it is of the present generation.
    generation: bool,
}

/// Every such file of the hours in scope, by its object.
fn live(scope: &Scope, world: &World) -> BTreeMap<String, Live> {
    let mut all = BTreeMap::new();
    for (table, hour) in world.all_hours() {
        if !scope.takes(&table, hour) {
            continue;
        }
        let new = HourState::new(&table, hour);
        let state = world.hours.get(&(table.clone(), hour)).map_or(&new, |state| state.as_ref());
        let of = |tally, generation| Live { tally, table: table.clone(), hour, generation };
        let inputs = world.inputs(state);
        all.extend(inputs.segments.into_iter().map(|(_, segment)| (segment.key, of(segment.tally, false))));
        all.extend(inputs.late.into_iter().map(|(_, entry)| (entry.key, of(entry.tally, false))));
        all.extend(state.files.iter().map(|file| (file.key.clone(), of(file.tally, true))));
    }
    all
}

/// Reads every file. What looks wrong is believed when the documents, read again, still name it: what is absorbed or replaced
/// may be deleted meanwhile.
pub(super) async fn check(
    ports: &Ports,
    scope: &Scope,
    (world, reader): (&World, &mut Reader),
    report: &mut Report,
) -> Result<(), Failure> {
    let files = live(scope, world);
    report.files += files.len() as u64;
    let reading = files.into_iter().map(|(key, file)| async move {
        let wrong = judge(ports, scope.deep, &key, file.tally).await;
        wrong.map(|wrong| (key, wrong))
    });
    let wrong: Vec<_> = futures::stream::iter(reading).buffered(TOGETHER).collect().await;
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let now = reader.read(ports.documents.as_ref()).await?;
    let still = live(scope, &now);
    for (key, (kind, message)) in wrong {
        if let Some(file) = still.get(&key) {
            report.findings.push(tell(ports, &now, (&key, file), (kind, message)).await?);
        }
    }
    Ok(())
}

/// What is wrong with a file, if anything is.
pub(super) async fn judge(ports: &Ports, deep: bool, key: &str, recorded: Tally) -> Option<(Kind, String)> {
    let objects = ports.objects.clone();
    let found = match deep {
        true => parquet::deep(objects, key).await,
        false => parquet::tally(objects, key).await,
    };
    let failure = match found {
        Ok(found) if found == recorded => return None,
        Ok(found) => return Some((Kind::Corrupt, format!("it holds {found}; {recorded} were recorded"))),
        Err(failure) => failure,
    };
    if failure.class != Class::Rejected {
        return Some((Kind::Unread, failure.to_string()));
    }
    match ports.objects.head(key).await {
        Ok(None) => {
            Some((Kind::Missing, format!("the object does not exist; {} rows were in it", recorded.rows)))
        }
        Ok(Some(_)) => Some((Kind::Corrupt, failure.detail)),
        Err(failure) => Some((Kind::Unread, failure.to_string())),
    }
}

/// The finding about a file, with what can be done.
async fn tell(
    ports: &Ports,
    world: &World,
    (key, file): (&str, &Live),
    (kind, message): (Kind, String),
) -> Result<Finding, Failure> {
    if kind == Kind::Unread {
        return Ok(Finding::by_hand(kind, key, message, "verify again"));
    }
    let Live { tally, table, hour, generation } = file;
    let state = world.hours.get(&(table.clone(), *hour)).filter(|_| *generation);
    let Some(state) = state else {
        let remedy = format!(
            "put the object back from a backup (on S3: its version before) while the hour has not absorbed it; its next \
             generation sets it aside by name otherwise, without its {} rows",
            tally.rows
        );
        return Ok(Finding::by_hand(kind, key, message, remedy));
    };
    let left = repair::rebuild::left(ports, state, key).await?;
    if left.tally == state.tally {
        let action = Action::Rebuild { table: table.clone(), hour: *hour, damaged: key.to_owned() };
        return Ok(Finding::mended_by(kind, key, message, action));
    }
    let remedy = format!(
        "put the object back from a backup (on S3: its version before): of the hour's {} rows the files it came from that are still \
         there hold {}",
        state.tally.rows, left.tally.rows
    );
    Ok(Finding::by_hand(kind, key, message, remedy))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::hour::GenerationFile;
    use crate::state::{Absorbed, Segment, ShardState};

    #[test]
    fn what_is_absorbed_or_out_of_scope_is_not_read() {
        let hour: Hour = "2026-11-21T07".parse().unwrap();
        let segment = |number: u64| Segment {
            number,
            table: "events".into(),
            hour,
            key: format!("s{number}"),
            bytes: 1,
            tally: Tally::default(),
            schema: "events@1".into(),
        };
        let mut shard = ShardState::new("web", "0", vec![], None);
        shard.segments = vec![segment(1), segment(2)];
        let mut state = HourState::new("events", hour);
        state.files = vec![GenerationFile { key: "g".into(), bytes: 1, tally: Tally::default() }];
        state.absorbed.insert("web/0".into(), Absorbed { through: 1, tally: Tally::default() });
        state.garbage = vec!["old".into()];
        let world = World {
            shards: [(shard.name(), Arc::new(shard))].into(),
            hours: [(("events".into(), hour), Arc::new(state))].into(),
            ..World::default()
        };
        let files = live(&Scope::default(), &world);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["g", "s2"]);
        assert!(files["g"].generation && !files["s2"].generation);
        let later = Scope { since: Some("2026-11-21T08".parse().unwrap()), ..Scope::default() };
        assert!(live(&later, &world).is_empty());
    }
}
