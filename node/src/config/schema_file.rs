//! Table schemas as files: read and compiled, with problems that name the file.

use std::path::Path;
use std::sync::Arc;

use shardmill_connectors::schema::TableSchema;

use super::{Config, Problem};

/// Compiles a schema's text; `file` names it in problems.
pub fn compile(file: &str, text: &str) -> Result<TableSchema, Vec<Problem>> {
    TableSchema::load(text).map_err(|problems| {
        let of_file = |problem: shardmill_connectors::schema::Problem| Problem {
            file: file.to_owned(),
            line: problem.line,
            key: problem.key,
            message: problem.message,
            fix: problem.fix,
        };
        problems.into_iter().map(of_file).collect()
    })
}

/// The text of a file somebody wrote.
pub fn read(path: &Path) -> Result<String, Vec<Problem>> {
    std::fs::read_to_string(path).map_err(|error| {
        let file = path.display().to_string();
        vec![Problem::of_file(file, format!("cannot be read: {error}"), "name a readable file")]
    })
}

impl Config {
    /// The schema that a configuration names, or the built-in one.
    pub fn schema(&self, name: Option<&str>) -> Result<Arc<TableSchema>, Vec<Problem>> {
        let Some(name) = name else { return Ok(TableSchema::builtin()) };
        let path = self.resolve(name);
        compile(&path.display().to_string(), &read(&path)?).map(Arc::new)
    }
}
