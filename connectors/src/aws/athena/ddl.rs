//! The statements we give Athena, as text: names and values quoted, types by their Hive names, no longer than allowed.
//!
//! DDL follows Hive's rules (names in backticks, text in single quotes with backslashes), SELECT follows Trino's. Sources:
//! <https://docs.aws.amazon.com/athena/latest/ug/ddl-reference.html> and its pages for each statement.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::datatypes::{DataType, Field, SchemaRef};

use crate::hour::Hour;
use crate::schema::PARTITION;

/// The most bytes of one statement; cannot be raised.
/// <https://docs.aws.amazon.com/athena/latest/ug/service-limits.html#service-limits-query-string-length>
pub(super) const LONGEST: usize = 262_144;

/// A name in DDL.
pub(super) fn name(name: &str) -> String {
    format!("`{}`", name.to_lowercase().replace('`', "``"))
}

/// A text in DDL.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// `CREATE DATABASE`.
pub(super) fn create_database(database: &str) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {}", name(database))
}

/// What lies in the folders of a table's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folders {
    /// Parquet files.
    Files,
    /// Texts that name Parquet files, one a line: how Athena was taught to read Delta Lake.
    /// <https://docs.delta.io/2.2.0/presto-integration.html>
    Manifests,
}

impl Folders {
    /// How a table says so.
    fn clause(self) -> &'static str {
        match self {
            Folders::Files => "STORED AS PARQUET",
            Folders::Manifests => {
                "ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'\n\
                 STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat'\n\
                 OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'"
            }
        }
    }
}

/// `CREATE EXTERNAL TABLE`, partitioned by the hour, for Parquet files that lie in the partitions' folders or are named there.
pub(super) fn create_table(
    table: &str,
    columns: &SchemaRef,
    (folders, location): (Folders, &str),
) -> Result<String, String> {
    let columns = definitions(data(columns))?;
    let partitions: Vec<String> = PARTITION.iter().map(|key| format!("{} string", name(key))).collect();
    Ok(format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {} (\n  {}\n)\nPARTITIONED BY ({})\n{}\nLOCATION {}\n\
         TBLPROPERTIES ('classification' = 'parquet')",
        name(table),
        columns.join(",\n  "),
        partitions.join(", "),
        folders.clause(),
        text(location)
    ))
}

/// `ADD COLUMNS`.
pub(super) fn add_columns(table: &str, columns: &[&Field]) -> Result<String, String> {
    let columns = definitions(columns.iter().copied())?;
    Ok(format!("ALTER TABLE {} ADD COLUMNS ({})", name(table), columns.join(", ")))
}

/// The columns that lie in the files; the partition's values hide a column of the same name.
pub(super) fn data(columns: &SchemaRef) -> impl Iterator<Item = &Field> {
    let fields = columns.fields().iter().map(AsRef::as_ref);
    fields.filter(|field: &&Field| !PARTITION.contains(&field.name().to_lowercase().as_str()))
}

/// The first column that is narrower in Athena than wanted, with both types. Which changes of type its engine reads:
/// <https://docs.aws.amazon.com/athena/latest/ug/types-of-updates.html>; none from whole numbers to others or to strings.
pub(super) fn narrower(
    columns: &SchemaRef,
    there: &BTreeMap<String, String>,
) -> Option<(String, String, String)> {
    let wider = |is: &str, wanted: &str| match is {
        "bigint" => wanted == "double" || wanted == "string",
        "double" | "boolean" => wanted == "string",
        _ => false,
    };
    data(columns).find_map(|field| {
        let (name, wanted) = (field.name().to_lowercase(), hive_type(field.data_type())?);
        let is = there.get(&name).filter(|is| wider(is, &wanted))?;
        Some((name, is.clone(), wanted))
    })
}

fn definitions<'a>(columns: impl Iterator<Item = &'a Field>) -> Result<Vec<String>, String> {
    let definition = |field: &Field| {
        let kind = hive_type(field.data_type());
        let kind =
            kind.ok_or_else(|| format!("column {}: Athena has no {}", field.name(), field.data_type()))?;
        Ok(format!("{} {kind}", name(field.name())))
    };
    columns.map(definition).collect()
}

/// The partition of an hour: `(year='2026', …)`.
fn partition(hour: Hour) -> String {
    let pairs: Vec<String> = PARTITION
        .iter()
        .zip(hour.values())
        .map(|(key, value)| format!("{}={}", name(key), text(&value)))
        .collect();
    format!("PARTITION ({})", pairs.join(", "))
}

/// `ADD IF NOT EXISTS PARTITION`, with as many partitions in each statement as `longest` bytes allow. A partition that is
/// there keeps its location.
pub(super) fn add_partitions(table: &str, partitions: &[(Hour, String)], longest: usize) -> Vec<String> {
    let head = format!("ALTER TABLE {} ADD IF NOT EXISTS", name(table));
    let mut statements: Vec<String> = Vec::new();
    for (hour, location) in partitions {
        let mut clause = String::new();
        let _ = write!(clause, "\n  {} LOCATION {}", partition(*hour), text(location));
        match statements.last_mut() {
            Some(last) if last.len() + clause.len() <= longest => last.push_str(&clause),
            _ => statements.push(format!("{head}{clause}")),
        }
    }
    statements
}

/// `SET LOCATION` of a partition that is there.
pub(super) fn set_location(table: &str, hour: Hour, location: &str) -> String {
    format!("ALTER TABLE {} {} SET LOCATION {}", name(table), partition(hour), text(location))
}

/// `DROP IF EXISTS PARTITION`: of an external table, so its files stay.
pub(super) fn drop_partition(table: &str, hour: Hour) -> String {
    format!("ALTER TABLE {} DROP IF EXISTS {}", name(table), partition(hour))
}

/// The statement whose answer names a partition's location, see [`location_in`].
pub(super) fn describe_partition(table: &str, hour: Hour) -> String {
    format!("DESCRIBE FORMATTED {} {}", name(table), partition(hour))
}

/// The statement that lists the values of all partitions, see [`hour_in`].
pub(super) fn show_partitions(table: &str) -> String {
    format!("SHOW PARTITIONS {}", name(table))
}

/// The location in the lines of `DESCRIBE FORMATTED`: cells are separated by tabs and filled up with spaces, the columns come
/// first, and what we look for stands behind the headline of the details.
pub(super) fn location_in(lines: &[String]) -> Option<String> {
    let details = lines.iter().skip_while(|line| !line.trim_start().starts_with("# Detailed"));
    let mut cells = details.map(|line| line.splitn(2, '\t'));
    cells.find_map(|mut cells| {
        let found = cells.next()?.trim() == "Location:";
        cells.next().map(str::trim).filter(|value| found && !value.is_empty()).map(str::to_owned)
    })
}

/// The hour that a line of `SHOW PARTITIONS` names: `year=2026/month=11/day=21/hour=07`. `None` when it is no hour of ours.
pub(super) fn hour_in(line: &str) -> Option<Hour> {
    let mut parts = line.trim().split('/');
    let mut value = |key: &str| parts.next()?.strip_prefix(key)?.strip_prefix('=');
    let [year, month, day, hour] = PARTITION;
    let text = format!("{}-{}-{}T{}", value(year)?, value(month)?, value(day)?, value(hour)?);
    text.parse().ok().filter(|hour: &Hour| hour.to_string() == text)
}

/// The type in DDL. <https://docs.aws.amazon.com/athena/latest/ug/data-types.html>
pub(super) fn hive_type(kind: &DataType) -> Option<String> {
    Some(match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "binary".to_owned()
        }
        DataType::Decimal128(precision, scale) if *scale >= 0 => format!("decimal({precision},{scale})"),
        DataType::List(item) => format!("array<{}>", hive_type(item.data_type())?),
        _ => return None,
    })
}

/// Whether the text is one statement that only reads.
pub(super) fn only_reads(sql: &str) -> bool {
    let mut rest = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    while let Some(comment) =
        rest.strip_prefix("--").map(|tail| ("\n", tail)).or(rest.strip_prefix("/*").map(|tail| ("*/", tail)))
    {
        let (end, tail) = comment;
        let Some((_, behind)) = tail.split_once(end) else { return false };
        rest = behind.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    ["SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "SHOW", "DESCRIBE", "DESC"]
        .contains(&word.to_ascii_uppercase().as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Schema, TimeUnit};

    use super::*;

    fn hour() -> Hour {
        "2026-11-21T07".parse().unwrap()
    }

    #[test]
    fn types_have_their_names_in_hive() {
        let list = |kind| DataType::List(Arc::new(Field::new("item", kind, true)));
        let cases = [
            (DataType::Utf8, Some("string")),
            (DataType::Int64, Some("bigint")),
            (DataType::Int32, Some("int")),
            (DataType::Int16, Some("smallint")),
            (DataType::Int8, Some("tinyint")),
            (DataType::Float64, Some("double")),
            (DataType::Float32, Some("float")),
            (DataType::Boolean, Some("boolean")),
            (DataType::Date32, Some("date")),
            (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), Some("timestamp")),
            (DataType::Decimal128(18, 2), Some("decimal(18,2)")),
            (DataType::Decimal128(18, -2), None),
            (DataType::Binary, Some("binary")),
            (DataType::FixedSizeBinary(16), Some("binary")),
            (list(DataType::Int64), Some("array<bigint>")),
            (list(DataType::Null), None),
            (DataType::UInt64, None),
        ];
        for (kind, wanted) in cases {
            assert_eq!(hive_type(&kind).as_deref(), wanted, "{kind}");
        }
    }

    #[test]
    fn a_table_is_made_as_the_lake_lies() {
        let columns: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("userName", DataType::Utf8, true),
            Field::new("_subsequence", DataType::Int64, true),
            Field::new("Hour", DataType::Int64, true),
        ]));
        let wanted = "CREATE EXTERNAL TABLE IF NOT EXISTS `web` (\n  `username` string,\n  `_subsequence` bigint\n)\n\
                      PARTITIONED BY (`year` string, `month` string, `day` string, `hour` string)\nSTORED AS PARQUET\n\
                      LOCATION 's3://b/o\\'s/'\nTBLPROPERTIES ('classification' = 'parquet')";
        assert_eq!(create_table("web", &columns, (Folders::Files, "s3://b/o's/")).unwrap(), wanted);
        let odd: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Null, true)]));
        let refused = create_table("web", &odd, (Folders::Files, "s3://b/")).unwrap_err();
        assert_eq!(refused, "column n: Athena has no Null");
    }

    #[test]
    fn a_table_of_manifests_reads_the_files_they_name_as_parquet() {
        let columns: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)]));
        let wanted = "CREATE EXTERNAL TABLE IF NOT EXISTS `web_live` (\n  `a` string\n)\n\
                      PARTITIONED BY (`year` string, `month` string, `day` string, `hour` string)\n\
                      ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'\n\
                      STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat'\n\
                      OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'\n\
                      LOCATION 's3://b/live/web/'\nTBLPROPERTIES ('classification' = 'parquet')";
        let told = create_table("web_live", &columns, (Folders::Manifests, "s3://b/live/web/"));
        assert_eq!(told.unwrap(), wanted);
    }

    #[test]
    fn columns_that_are_narrower_in_athena_are_found() {
        let columns: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("Same", DataType::Int64, true),
            Field::new("wider", DataType::Int64, true),
            Field::new("new", DataType::Float64, true),
            Field::new("amount", DataType::Float64, true),
        ]));
        let there = |amount: &str| {
            let types = [("same", "bigint"), ("wider", "double"), ("amount", amount)];
            types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into()
        };
        let found = ("amount".to_owned(), "bigint".to_owned(), "double".to_owned());
        assert_eq!(narrower(&columns, &there("bigint")), Some(found));
        assert_eq!(narrower(&columns, &there("double")), None);
    }

    #[test]
    fn names_and_texts_cannot_break_out() {
        assert_eq!(create_database("a`b"), "CREATE DATABASE IF NOT EXISTS `a``b`");
        assert_eq!(text(r"it's \ here"), r"'it\'s \\ here'");
        let wanted = "ALTER TABLE `t` PARTITION (`year`='2026', `month`='11', `day`='21', `hour`='07') \
                      SET LOCATION 's3://b/x\\'/'";
        assert_eq!(set_location("t", hour(), "s3://b/x'/"), wanted);
    }

    #[test]
    fn partitions_are_added_in_statements_that_are_short_enough() {
        let many: Vec<(Hour, String)> =
            (0..3000).map(|i| (Hour::of(crate::Millis(i * 3_600_000)), format!("s3://b/p/{i}/"))).collect();
        let statements = add_partitions("t", &many, LONGEST);
        assert!(statements.len() > 1 && statements.iter().all(|sql| sql.len() <= LONGEST));
        assert!(statements[0].len() > LONGEST - 200, "as many as fit");
        let clauses: usize = statements.iter().map(|sql| sql.matches("PARTITION (").count()).sum();
        assert_eq!(clauses, many.len());
        assert!(
            statements
                .iter()
                .all(|sql| sql.starts_with("ALTER TABLE `t` ADD IF NOT EXISTS\n  PARTITION (`year`='1970'"))
        );
        assert_eq!(add_partitions("t", &many[..3], 1).len(), 3, "one at least in each");
        assert!(add_partitions("t", &[], LONGEST).is_empty());
    }

    #[test]
    fn a_location_is_found_behind_the_columns() {
        let lines = [
            "# col_name            \tdata_type           \tcomment             ",
            "location:           \tstring              \t                    ",
            "Location:           \tstring              \t                    ",
            "\t \t ",
            "# Detailed Partition Information\t \t ",
            "Partition Value:    \t[2026, 11, 21, 07]  \t ",
            "Location:           \ts3://b/a b/g1-1-x/\t ",
            "Partition Parameters:\t \t ",
        ];
        let lines: Vec<String> = lines.map(str::to_owned).to_vec();
        assert_eq!(location_in(&lines).as_deref(), Some("s3://b/a b/g1-1-x/"));
        assert_eq!(location_in(&lines[..6]), None);
        assert_eq!(location_in(&[]), None);
    }

    #[test]
    fn hours_are_read_from_the_names_of_partitions() {
        assert_eq!(hour_in("year=2026/month=11/day=21/hour=07"), Some(hour()));
        for other in ["year=2026/month=11/day=21", "dt=2026-11-21", "year=2026/month=11/day=21/hour=7", ""] {
            assert_eq!(hour_in(other), None, "{other}");
        }
    }

    #[test]
    fn statements_that_change_something_are_told_from_those_that_read() {
        for sql in
            ["SELECT 1", " (select 1)", "-- why\nWITH a AS (SELECT 1) SELECT * FROM a", "/* x */ show tables"]
        {
            assert!(only_reads(sql), "{sql}");
        }
        for sql in [
            "DROP TABLE t",
            "-- SELECT",
            "/* SELECT",
            "INSERT INTO t SELECT 1",
            "SELECTED",
            "",
            "UNLOAD (SELECT 1)",
        ] {
            assert!(!only_reads(sql), "{sql}");
        }
    }
}
