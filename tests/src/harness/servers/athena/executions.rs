//! The executions of statements: begun once per token, QUEUED, RUNNING, then ended; their answers page by page.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::engine::{Answer, Column};

/// What AWS answers instead of doing something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: &'static str,
    pub(super) message: String,
    /// `AthenaErrorCode` or `Reason`.
    pub(super) extra: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        let extra = Some(("AthenaErrorCode", "INVALID_INPUT"));
        Refusal { kind: "InvalidRequestException", message: message.into(), extra }
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        let extra = Some(("AthenaErrorCode", "MALFORMED_QUERY"));
        Refusal { kind: "InvalidRequestException", message: message.into(), extra }
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Refusal { kind: "MetadataException", message: message.into(), extra: None }
    }

    pub(super) fn busy() -> Self {
        Refusal {
            kind: "TooManyRequestsException",
            message: "You have exceeded the limit for the number of queries you can run concurrently."
                .to_owned(),
            extra: Some(("Reason", "CONCURRENT_QUERY_LIMIT_EXCEEDED")),
        }
    }
}

/// How far an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Queued => "QUEUED",
            State::Running => "RUNNING",
            State::Succeeded => "SUCCEEDED",
            State::Failed => "FAILED",
            State::Cancelled => "CANCELLED",
        }
    }

    pub(super) fn is_active(self) -> bool {
        matches!(self, State::Queued | State::Running)
    }
}

/// Of what kind a statement is. <https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecution.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ddl,
    Dml,
    Utility,
}

impl Kind {
    pub(super) fn of(first_word: &str) -> Option<Kind> {
        match first_word {
            "CREATE" | "ALTER" | "DROP" => Some(Kind::Ddl),
            "SELECT" | "WITH" | "VALUES" | "TABLE" => Some(Kind::Dml),
            "SHOW" | "DESCRIBE" | "DESC" | "EXPLAIN" => Some(Kind::Utility),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Ddl => "DDL",
            Kind::Dml => "DML",
            Kind::Utility => "UTILITY",
        }
    }
}

/// One execution.
#[derive(Debug, Clone)]
pub(super) struct Execution {
    pub(super) sql: String,
    pub(super) database: String,
    pub(super) workgroup: String,
    pub(super) output: String,
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) reason: Option<(String, i32, bool)>,
    pub(super) answer: Answer,
    submitted: i64,
}

/// All executions by id, and the token each was begun with.
#[derive(Debug, Default)]
pub(super) struct Executions {
    pub(super) all: BTreeMap<String, Execution>,
    tokens: BTreeMap<String, (String, Value)>,
}

impl Executions {
    /// The execution begun with this token, if there is one; a changed parameter is refused.
    pub(super) fn known(&self, token: &str, request: &Value) -> Result<Option<String>, Refusal> {
        match self.tokens.get(token) {
            Some((id, before)) if before == request => Ok(Some(id.clone())),
            Some(_) => Err(Refusal::invalid("Idempotent parameters do not match")),
            None => Ok(None),
        }
    }

    /// Notes a new execution; its id.
    pub(super) fn begin(&mut self, token: &str, request: Value, execution: Execution) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.tokens.insert(token.to_owned(), (id.clone(), request));
        self.all.insert(id.clone(), execution);
        id
    }

    /// Statements of DDL that run or wait. Both count: <https://docs.aws.amazon.com/athena/latest/ug/service-limits.html>
    pub(super) fn active_ddl(&self) -> usize {
        self.all
            .values()
            .filter(|execution| execution.kind != Kind::Dml && execution.state.is_active())
            .count()
    }

    pub(super) fn get(&self, id: &str) -> Result<&Execution, Refusal> {
        self.all.get(id).ok_or_else(|| Refusal::invalid(format!("QueryExecution {id} was not found")))
    }
}

impl Execution {
    pub(super) fn new(sql: &str, kind: Kind, of: (&str, &str, &str)) -> Self {
        let (database, workgroup, output) = of;
        Execution {
            sql: sql.to_owned(),
            database: database.to_owned(),
            workgroup: workgroup.to_owned(),
            output: output.to_owned(),
            kind,
            state: State::Queued,
            reason: None,
            answer: Answer::default(),
            submitted: Millis::now().0 / 1000,
        }
    }

    /// As `GetQueryExecution` shows it.
    pub(super) fn shown(&self, id: &str) -> Value {
        let mut status = json!({"State": self.state.name(), "SubmissionDateTime": self.submitted});
        if let Some((reason, category, again)) = &self.reason {
            status["StateChangeReason"] = json!(reason);
            if self.state == State::Failed {
                status["AthenaError"] =
                    json!({"ErrorCategory": category, "Retryable": again, "ErrorMessage": reason});
            }
        }
        json!({"QueryExecution": {
            "QueryExecutionId": id,
            "Query": self.sql,
            "StatementType": self.kind.name(),
            "ResultConfiguration": {"OutputLocation": format!("{}{id}.{}", self.output, if self.kind == Kind::Dml { "csv" } else { "txt" })},
            "QueryExecutionContext": {"Database": self.database, "Catalog": "AwsDataCatalog"},
            "Status": status,
            "Statistics": {"EngineExecutionTimeInMillis": 1, "DataScannedInBytes": 0},
            "WorkGroup": self.workgroup,
        }})
    }

    /// A page of the answer; that of a SELECT begins with a row of names, on the first page only.
    pub(super) fn page(&self, from: usize, most: usize) -> Result<Value, Refusal> {
        match self.state {
            State::Succeeded => {}
            State::Queued | State::Running => {
                return Err(Refusal::invalid(format!(
                    "Query has not yet finished. Current state: {}",
                    self.state.name()
                )));
            }
            State::Failed | State::Cancelled => {
                let state = self.state.name();
                return Err(Refusal::invalid(format!(
                    "Query did not finish successfully. Final query state: {state}"
                )));
            }
        }
        let names: Vec<Option<String>> =
            self.answer.columns.iter().map(|column| Some(column.name.clone())).collect();
        let header = (self.kind == Kind::Dml).then_some(names);
        let all = header.iter().chain(&self.answer.rows);
        let rows: Vec<Value> = all.skip(from).take(most).map(|row| row_shown(row)).collect();
        let total = self.answer.rows.len() + usize::from(header.is_some());
        let info: Vec<Value> = self.answer.columns.iter().map(column_shown).collect();
        let mut page =
            json!({"UpdateCount": 0, "ResultSet": {"Rows": rows, "ResultSetMetadata": {"ColumnInfo": info}}});
        if from + most < total {
            page["NextToken"] = json!((from + most).to_string());
        }
        Ok(page)
    }
}

fn row_shown(row: &[Option<String>]) -> Value {
    let cell = |value: &Option<String>| {
        value.as_ref().map_or_else(|| json!({}), |text| json!({"VarCharValue": text}))
    };
    json!({"Data": row.iter().map(cell).collect::<Vec<_>>()})
}

fn column_shown(column: &Column) -> Value {
    json!({
        "CatalogName": "hive", "SchemaName": "", "TableName": "", "Name": column.name, "Label": column.name,
        "Type": column.kind, "Precision": column.precision, "Scale": column.scale, "Nullable": "UNKNOWN",
        "CaseSensitive": column.kind == "varchar",
    })
}
