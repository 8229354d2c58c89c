//! The one statement of a query: parsed, and refused when it does anything but read.

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement as Sql;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Tokenizer;

use super::identifiers::Spellings;
use crate::ports::Snapshot;

/// A statement that only reads.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) parsed: Parsed,
    /// Whether it is an `EXPLAIN`.
    pub(super) explains: bool,
}

/// Parses `sql`. The error is one line that says what is wrong.
pub(super) fn parse(sql: &str, lake: &Snapshot) -> Result<Statement, String> {
    let dialect = GenericDialect {};
    let mut tokens =
        Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|e| format!("SQL: {e}"))?;
    Spellings::of(lake, &tokens).apply(&mut tokens);
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut statements = parser.parse_statements().map_err(|e| one_line(&e.to_string(), sql))?;
    match (statements.pop(), statements.is_empty()) {
        (None, _) => Err("there is no statement".to_owned()),
        (Some(statement), true) => only_reading(statement),
        (Some(_), false) => Err("only one statement at a time".to_owned()),
    }
}

fn only_reading(statement: Sql) -> Result<Statement, String> {
    let explains = matches!(statement, Sql::Explain { .. });
    let reads = match &statement {
        Sql::Explain { statement, .. } => matches!(**statement, Sql::Query(_)),
        Sql::Query(_) | Sql::ExplainTable { .. } | Sql::ShowTables { .. } | Sql::ShowColumns { .. } => true,
        _ => false,
    };
    if reads {
        Ok(Statement { parsed: Parsed::Statement(Box::new(statement)), explains })
    } else {
        Err(refusal())
    }
}

fn refusal() -> String {
    "only queries are allowed: SELECT, WITH, EXPLAIN, SHOW TABLES, SHOW COLUMNS and DESCRIBE".to_owned()
}

fn one_line(error: &str, sql: &str) -> String {
    let first = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
    // Statements of other engines (COPY …, CREATE EXTERNAL TABLE …) need not even parse here.
    if ["COPY", "CREATE", "INSERT", "DROP", "ALTER", "SET", "DELETE", "UPDATE", "UNLOAD"]
        .contains(&first.as_str())
    {
        return refusal();
    }
    format!(
        "SQL: {}",
        error.trim_start_matches("sql parser error: ").split_whitespace().collect::<Vec<_>>().join(" ")
    )
}
