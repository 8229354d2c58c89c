//! Stand-ins with the signatures the boundary crate will be wrapped in; replaced when it has schemas.

use shardmill_connectors::Failure;
use shardmill_connectors::json::Object;

use crate::config::Problem;

/// Problems of a table schema. To be replaced by `TableSchema::load`; until then only the JSON itself is judged.
pub fn schema_problems(file: &str, text: &str) -> Vec<Problem> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => Vec::new(),
        Err(error) => vec![Problem {
            file: file.to_owned(),
            line: error.line(),
            key: String::new(),
            message: format!("not JSON: {error}"),
            fix: "mend the JSON".into(),
        }],
    }
}

/// A schema being inferred. To be replaced by the boundary crate's own.
#[derive(Debug, Default)]
pub struct Inference {
    events: u64,
}

impl Inference {
    /// Learns from one event.
    pub fn observe(&mut self, _event: &Object<'_>) {
        self.events += 1;
    }

    /// The JSON Schema that holds for every event seen. `from_strings`: the events come from CSV, types are told from
    /// what the strings show.
    pub fn finish(self, _title: Option<String>, _from_strings: bool) -> Result<serde_json::Value, Failure> {
        Err(Failure::rejected(format!("not wired yet: schema infer (of {} events)", self.events)))
    }
}

/// The table definition of a schema's text (`None`: of the built-in columns), which `file` names in problems.
pub fn ddl(
    _file: &str,
    _schema: Option<&str>,
    _table: &str,
    _location: &str,
) -> Result<String, Vec<Problem>> {
    Err(vec![Problem::of_file("", "not wired yet: schema ddl", "")])
}
