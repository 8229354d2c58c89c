//! Registered schemas: each must be what its name and its hash say, since segments are explained by it.

use std::collections::BTreeSet;

use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::schema::registry::Entry;

use super::Report;
use super::finding::{Finding, Kind};
use crate::shared::Ports;

/// Reads every version of every table.
pub(super) async fn check(
    ports: &Ports,
    listed: &BTreeSet<String>,
    report: &mut Report,
) -> Result<(), Failure> {
    for key in listed.iter().filter(|key| layout::schema_number(key).is_some()) {
        let read = async { Entry::decode(key, &ports.objects.get(key).await?) };
        match read.await {
            Ok(_) => {}
            Err(failure) if failure.class == Class::Rejected => {
                let remedy =
                    "put the object back from a backup; nodes do not start while a version cannot be read";
                report.findings.push(Finding::by_hand(Kind::Corrupt, key.as_str(), failure.detail, remedy));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shardmill_connectors::schema::TableSchema;

    use crate::schemas::register;
    use crate::testing::stores;
    use crate::verify::{Kind, Scope, verify};

    #[tokio::test]
    async fn versions_are_known_objects_and_damaged_ones_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        let schema = TableSchema::load(r#"{"type": "object", "properties": {"a": {"type": "string"}}}"#);
        register(&ports, "t", &Arc::new(schema.unwrap())).await.unwrap();
        let report = verify(&ports, &Scope::default()).await.unwrap();
        assert!(report.ok && report.findings.is_empty() && report.listed == 1, "{report:?}");

        let object = folder.path().join("objects/schemas/t/1-0-0.json");
        let text = std::fs::read_to_string(&object).unwrap();
        std::fs::remove_file(&object).unwrap();
        std::fs::write(&object, text.replace("string", "number")).unwrap();
        std::fs::write(object.with_file_name("notes.txt"), "x").unwrap();
        let report = verify(&ports, &Scope::default()).await.unwrap();
        let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
        assert!(
            kinds.contains(&Kind::Corrupt) && kinds.contains(&Kind::Unknown) && kinds.len() == 2,
            "{report:?}"
        );
    }
}
