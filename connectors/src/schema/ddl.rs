//! The table definition for Athena.

use std::fmt::Write;

use arrow::datatypes::DataType;

use super::TableSchema;

/// `CREATE EXTERNAL TABLE` for a table of this schema at `location`, partitioned by the string columns `partitions`
/// (usually [`super::PARTITION`]).
pub fn ddl(table: &str, schema: &TableSchema, location: &str, partitions: &[&str]) -> String {
    let columns: Vec<String> = schema
        .arrow()
        .fields()
        .iter()
        .map(|field| format!("  {} {}", quoted(&field.name().to_lowercase()), athena(field.data_type())))
        .collect();
    let mut sql =
        format!("CREATE EXTERNAL TABLE IF NOT EXISTS {} (\n{}\n)", quoted(table), columns.join(",\n"));
    if !partitions.is_empty() {
        let partitions: Vec<String> =
            partitions.iter().map(|name| format!("{} string", quoted(name))).collect();
        let _ = write!(sql, "\nPARTITIONED BY ({})", partitions.join(", "));
    }
    let location = location.replace('\\', "\\\\").replace('\'', "\\'");
    let _ = write!(sql, "\nSTORED AS PARQUET\nLOCATION '{location}'");
    sql
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn athena(kind: &DataType) -> &'static str {
    match kind {
        DataType::Int64 => "bigint",
        DataType::Float64 => "double",
        DataType::Boolean => "boolean",
        DataType::Timestamp(..) => "timestamp",
        DataType::Date32 => "date",
        DataType::FixedSizeBinary(_) => "binary",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_name_in_athena() {
        let schema = TableSchema::load(
            r#"{"type":"object","properties":{
                "userName":{"type":"string"},"n":{"type":"integer"},"x":{"type":"number"},"b":{"type":"boolean"},
                "t":{"type":"string","format":"date-time"},"d":{"type":"string","format":"date"},"o":{},
                "u":{"type":"string","format":"uuid","x-storage":"bytes"},"v":{"type":"string","format":"uuid"}}}"#,
        )
        .unwrap();
        let wanted = "CREATE EXTERNAL TABLE IF NOT EXISTS `web` (\n  `username` string,\n  `n` bigint,\n  `x` double,\n  \
                      `b` boolean,\n  `t` timestamp,\n  `d` date,\n  `o` string,\n  `u` binary,\n  `v` string,\n  `extra` string,\n  `_stream` string,\n  \
                      `_shard` string,\n  `_sequence` string,\n  `_subsequence` bigint,\n  `_arrived_at` timestamp\n)\n\
                      PARTITIONED BY (`year` string, `month` string, `day` string, `hour` string)\n\
                      STORED AS PARQUET\nLOCATION 's3://b/o\\'s/'";
        assert_eq!(ddl("web", &schema, "s3://b/o's/", &super::super::PARTITION), wanted);
    }
}
