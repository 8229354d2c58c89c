//! Names of objects and documents: where everything in the lake lies.

use crate::hour::Hour;
use crate::schema::evolution::Number;

/// The folder of one generation of one hour: `tables/<table>/year=…/month=…/day=…/hour=…/g<generation>-<epoch>-<random>`.
/// Every attempt has its own `random`, so that no attempt can touch what another wrote.
pub fn generation(table: &str, hour: Hour, generation: u64, epoch: u64, random: &str) -> String {
    format!("tables/{table}/{}/g{generation}-{epoch}-{random}", hour.path())
}

/// A file of a generation: `<folder>/part-NNNN.parquet`, counted from zero.
pub fn part(folder: &str, number: usize) -> String {
    format!("{folder}/part-{number:04}.parquet")
}

/// The folder of what one attempt to make a generation has to say of duplicates:
/// `duplicates/<table>/<hour>/g<generation>-<epoch>-<random>`. Not beside the generation's own files: an engine that reads a
/// partition's whole folder would take the list for rows.
pub fn duplicates(table: &str, hour: Hour, generation: u64, epoch: u64, random: &str) -> String {
    format!("{DUPLICATES}{table}/{hour}/g{generation}-{epoch}-{random}")
}

/// What names of such objects begin with.
pub const DUPLICATES: &str = "duplicates/";

/// The list of rows that were dropped as duplicates: `<folder>/list.parquet`.
pub fn duplicates_list(folder: &str) -> String {
    format!("{folder}/list.parquet")
}

/// What names of manifests begin with.
pub const LIVE: &str = "live/";

/// The catalog's table that shows what is committed and not compacted yet, too.
pub fn live_table(table: &str) -> String {
    format!("{table}_live")
}

/// The folder of all manifests of a table: `live/<table>`.
pub fn live_folder(table: &str) -> String {
    format!("{LIVE}{table}")
}

/// The folder of the manifest of an hour, and of nothing else: `live/<table>/year=…/month=…/day=…/hour=…`. An engine takes whatever
/// lies in it for a list of files.
pub fn live(table: &str, hour: Hour) -> String {
    format!("{}/{}", live_folder(table), hour.path())
}

/// The list of the files that hold the rows of an hour: `<folder>/manifest`. Of all objects beside the documents the only one that is
/// written again and again under one name, by compare-and-set, while the hour gets rows.
pub fn manifest(table: &str, hour: Hour) -> String {
    format!("{}/manifest", live(table, hour))
}

/// The table and the hour of a manifest, if it is the name of one.
pub fn manifest_of(key: &str) -> Option<(&str, Hour)> {
    let (table, rest) = key.strip_prefix(LIVE)?.split_once('/')?;
    let mut values = rest.split('/').map(|part| part.split_once('=').map_or(part, |(_, value)| value));
    let mut next = || values.next();
    let hour: Hour = format!("{}-{}-{}T{}", next()?, next()?, next()?, next()?).parse().ok()?;
    (manifest(table, hour) == key).then_some((table, hour))
}

/// A segment: `segments/<stream>/<shard>/<epoch>-<random>-<table>-<hour>.parquet`. Epoch and random part make the name one
/// that nobody else can write.
pub fn segment(stream: &str, shard: &str, epoch: u64, random: &str, of: (&str, Hour)) -> String {
    format!("segments/{stream}/{shard}/{epoch}-{random}-{}-{}.parquet", of.0, of.1)
}

/// The table whose rows an object holds, by its name: of a generation, a segment, or late inputs
/// (`late/<source>/<random>/<table>-<hour>-<part>.parquet`).
pub fn table_of(key: &str) -> Option<&str> {
    if let Some(rest) = key.strip_prefix("tables/") {
        return rest.split_once('/').map(|(table, _)| table);
    }
    let mut parts = key.strip_suffix(".parquet")?.rsplit_once('/')?.1.split('-');
    match key.split_once('/')?.0 {
        "segments" => parts.nth(2),
        "late" => parts.next(),
        _ => None,
    }
}

/// A file of dead letters of one shard: `dead/<stream>/<shard>/<epoch>-<random>.ndjson`.
pub fn dead_letters(stream: &str, shard: &str, epoch: u64, random: &str) -> String {
    format!("dead/{stream}/{shard}/{epoch}-{random}.ndjson")
}

/// The keys that a lane holds apart: `parked/<stream>/<shard>/<epoch>-<random>-<destination>.ndjson`.
pub fn parked(stream: &str, shard: &str, epoch: u64, random: &str, destination: &str) -> String {
    format!("parked/{stream}/{shard}/{epoch}-{random}-{destination}.ndjson")
}

/// Events that one range letter of a lane stands for: `ranges/<stream>/<shard>/<epoch>-<random>.ndjson`.
pub fn range(stream: &str, shard: &str, epoch: u64, random: &str) -> String {
    format!("ranges/{stream}/{shard}/{epoch}-{random}.ndjson")
}

/// A file of letters that came back from a redelivery: `dead/redriven/<random>.ndjson`.
pub fn redriven_letters(random: &str) -> String {
    format!("dead/redriven/{random}.ndjson")
}

/// A file of letters that was written anew without some of them: `dead/erased/<name>.ndjson`.
pub fn sifted_letters(name: &str) -> String {
    format!("dead/erased/{name}.ndjson")
}

/// A file of letters of a schedule: `dead/scheduled/<random>.ndjson`.
pub fn scheduled_letters(random: &str) -> String {
    format!("dead/scheduled/{random}.ndjson")
}

/// A file of edited payloads of dead letters: `edits/<random>.ndjson`.
pub fn edits(random: &str) -> String {
    format!("edits/{random}.ndjson")
}

/// The folder of one attempt to write the late inputs of a source: `late/<source>/<random>`.
pub fn late(source: &str, random: &str) -> String {
    format!("late/{source}/{random}")
}

/// What the registered schemas of all tables begin with.
pub const SCHEMAS: &str = "schemas/";

/// What the registered schemas of a table begin with.
pub fn schemas(table: &str) -> String {
    format!("{SCHEMAS}{table}/")
}

/// A registered schema: `schemas/<table>/<model>-<revision>-<addition>.json`.
pub fn schema(table: &str, number: Number) -> String {
    format!("{}{number}.json", schemas(table))
}

/// The table and the number in the name of a registered schema, if it is one.
pub fn schema_number(key: &str) -> Option<(&str, Number)> {
    let (table, file) = key.strip_prefix(SCHEMAS)?.split_once('/')?;
    Some((table, file.strip_suffix(".json")?.parse().ok()?))
}

/// What the names of raw backups begin with.
pub const RAW: &str = "raw/";

/// Records as they were received, of one shard and one hour of arrival:
/// `raw/<stream>/<hour>/<shard>/<epoch>-<random>.ndjson.zst`.
pub fn raw(stream: &str, hour: Hour, shard: &str, epoch: u64, random: &str) -> String {
    format!("{}{shard}/{epoch}-{random}.ndjson.zst", raw_hour(stream, hour))
}

/// What the raw backups of a stream of one hour of arrival begin with.
pub fn raw_hour(stream: &str, hour: Hour) -> String {
    format!("{RAW}{stream}/{hour}/")
}

/// The epoch in the name of a segment or dead-letter file, if it has one.
pub fn epoch_of(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.split('-').next()?.parse().ok()
}

/// The number and the epoch in the name of a generation's folder (`g<generation>-<epoch>-<random>`), if it is one.
pub fn generation_of(folder: &str) -> Option<(u64, u64)> {
    let mut parts = folder.strip_prefix('g')?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Names of documents.
pub mod documents {
    use crate::hour::Hour;

    /// The document of a shard.
    pub fn shard(stream: &str, shard: &str) -> String {
        format!("shards/{stream}/{shard}")
    }

    /// The document of an hour of a table.
    pub fn hour(table: &str, hour: Hour) -> String {
        format!("hours/{table}/{hour}")
    }

    /// What the documents of intakes begin with.
    pub const INTAKES: &str = "intakes/";

    /// The document of an intake.
    pub fn intake(name: &str) -> String {
        format!("{INTAKES}{name}")
    }

    /// The document of a schedule.
    pub fn schedule(name: &str) -> String {
        format!("schedules/{name}")
    }

    /// One of the documents with the files of a schedule.
    pub fn scheduled(name: &str, page: usize) -> String {
        format!("scheduled/{name}/{page:02}")
    }

    /// The manifest of a late source.
    pub fn late(source: &str) -> String {
        format!("late/{source}")
    }

    /// What the documents of edited payloads begin with.
    pub const EDITS: &str = "edits/";

    /// The document that names a file of edited payloads.
    pub fn edits(random: &str) -> String {
        format!("{EDITS}{random}")
    }

    /// What the documents of erasures begin with.
    pub const ERASURES: &str = "erasures/";

    /// What the documents of what erasures are replacing begin with.
    pub const ERASING: &str = "erasing/";

    /// What an erasure is replacing.
    pub fn erasing(id: &str) -> String {
        format!("{ERASING}{id}")
    }

    /// What is remembered of an erasure.
    pub fn erasure(id: &str) -> String {
        format!("{ERASURES}{id}")
    }

    /// The index entry of a dead-letter file, named after the file's object.
    pub fn dead_letters(object: &str) -> String {
        format!("dead/{}", object.trim_start_matches("dead/"))
    }

    /// What the names of pages of raw backups begin with.
    pub const RAW: &str = "raw/";

    /// A page of the list of a shard's raw backups: those of one hour of arrival, named after the number of the first.
    pub fn raw_page(stream: &str, shard: &str, hour: Hour, first: u64) -> String {
        format!("{RAW}{stream}/{shard}/{hour}/{first:012}")
    }

    /// That a part of a replay has been delivered.
    pub fn replay(source: &str) -> String {
        format!("replays/{source}")
    }

    /// What was said about a destination.
    pub fn destination(name: &str) -> String {
        format!("destinations/{name}")
    }

    /// What was sent today of a destination's quota; `name` is the destination and the quota's place there.
    pub fn quota(name: &str) -> String {
        format!("quotas/{name}")
    }

    /// What has been settled of a dead-letter file.
    pub fn settled(object: &str) -> String {
        format!("settled/{}", object.trim_start_matches("dead/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_rows_is_known_by_their_objects_name() {
        let hour: Hour = "2026-11-21T07".parse().unwrap();
        let part = part(&generation("web_events", hour, 3, 1, "abc"), 0);
        let segment = segment("web-1", "shard-0", 7, "r", ("web_events", hour));
        let late = format!("{}/web_events-{hour}-12.parquet", late("redrive-x", "r"));
        for key in [&part, &segment, &late] {
            assert_eq!(table_of(key), Some("web_events"), "{key}");
        }
        for other in ["late/s/r/dead.ndjson", "elsewhere/x.parquet", "x", "segments/x.parquet"] {
            assert_eq!(table_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_manifest_is_known_by_its_name() {
        let hour = "2026-11-21T07".parse().unwrap();
        let name = manifest("web", hour);
        assert_eq!(name, "live/web/year=2026/month=11/day=21/hour=07/manifest");
        assert_eq!(manifest_of(&name), Some(("web", hour)));
        for other in ["live/web/manifest", "live/web/2026/11/21/07/manifest", "x/y", &format!("{name}/x")] {
            assert_eq!(manifest_of(other), None, "{other}");
        }
    }
}
