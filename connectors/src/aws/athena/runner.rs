//! One statement in Athena: started once, looked at until it ends, its answer fetched page by page.

use std::time::Duration;

use aws_sdk_athena::Client;
use aws_sdk_athena::types::{
    QueryExecutionContext, QueryExecutionState, QueryExecutionStatus, ResultConfiguration, ResultSet, Row,
    StatementType,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::options::Options;
use super::reason::{self, Told};
use super::tokens::Tokens;
use super::{CATALOG, ddl};
use crate::aws::fault;
use crate::failure::{Class, Failure};

/// The longest time between two looks at a running statement.
const SELDOM: Duration = Duration::from_secs(1);
/// Looks that may fail one after the other: a look that tells nothing is followed by the next.
const BLIND: u32 = 5;
/// Rows of one page; the most there can be.
const PAGE: i32 = 1000;
/// How much of a statement is shown in messages.
const SHOWN: usize = 120;

/// A statement that has ended well.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its id.
    pub(super) id: String,
    /// Whether it is a SELECT, whose answer begins with a row of names.
    pub(super) selects: bool,
}

/// Runs statements for one catalog.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) client: Client,
    pub(super) options: Options,
    tokens: Tokens,
    places: Semaphore,
}

impl Runner {
    pub(super) fn new(client: Client, options: Options) -> Self {
        let places = Semaphore::new(options.ddl_at_once.max(1));
        Runner { client, options, tokens: Tokens::default(), places }
    }

    /// Changes something: `subject` says what, so that a start without an answer is not made twice. `within` is false for
    /// what is done before there is a database.
    pub(super) async fn change(&self, subject: &str, sql: &str, within: bool) -> Result<(), Failure> {
        let _place = self.place().await?;
        let token = self.tokens.of(subject, sql);
        let started = self.start(sql, &token, within).await;
        if started.as_ref().err().is_none_or(|failure| failure.class != Class::Transient) {
            self.tokens.answered(subject, &token);
        }
        self.wait(&started?, sql, self.options.ddl_time).await.map(drop)
    }

    /// Asks the catalog something; the lines of the answer, cells separated by tabs.
    pub(super) async fn ask(&self, sql: &str) -> Result<Vec<String>, Failure> {
        let _place = self.place().await?;
        // A token of its own each time: an answer of the past is no answer.
        let id = self.start(sql, &Uuid::new_v4().to_string(), true).await?;
        self.wait(&id, sql, self.options.ddl_time).await?;
        let (mut lines, mut next) = (Vec::new(), None);
        loop {
            let (page, more) = self.page(&id, next).await?;
            lines.extend(page.rows().iter().map(|row| {
                let cells: Vec<&str> =
                    row.data().iter().map(|cell| cell.var_char_value().unwrap_or_default()).collect();
                cells.join("\t")
            }));
            match more {
                Some(token) => next = Some(token),
                None => return Ok(lines),
            }
        }
    }

    /// Runs a query to its end.
    pub(super) async fn query(&self, sql: &str) -> Result<Ended, Failure> {
        let id = self.start(sql, &Uuid::new_v4().to_string(), true).await?;
        let kind = self.wait(&id, sql, self.options.query_time).await?;
        Ok(Ended { id, selects: kind == Some(StatementType::Dml) })
    }

    /// One page of an answer, and the token of the next.
    /// <https://docs.aws.amazon.com/athena/latest/APIReference/API_GetQueryResults.html>
    pub(super) async fn page(
        &self,
        id: &str,
        next: Option<String>,
    ) -> Result<(ResultSet, Option<String>), Failure> {
        let call = self.client.get_query_results().query_execution_id(id).max_results(PAGE);
        let answer = call.set_next_token(next).send().await;
        let answer =
            answer.map_err(|error| fault::failure(&format!("reading the answer of query {id}"), &error))?;
        let next = answer.next_token.filter(|token| !token.is_empty());
        let empty = || ResultSet::builder().set_rows(Some(Vec::<Row>::new())).build();
        Ok((answer.result_set.unwrap_or_else(empty), next))
    }

    /// A place among the statements of DDL that may run at once.
    async fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Failure> {
        self.places.acquire().await.map_err(|error| Failure::crashed(error.to_string()))
    }

    async fn start(&self, sql: &str, token: &str, within: bool) -> Result<String, Failure> {
        if sql.len() > ddl::LONGEST {
            return Err(Failure::rejected(format!(
                "{}: the statement has {} bytes, Athena takes {}; shorten it",
                shown(sql),
                sql.len(),
                ddl::LONGEST
            )));
        }
        let context = QueryExecutionContext::builder().catalog(CATALOG);
        let context = if within { context.database(&self.options.database) } else { context };
        let output = self.options.output.as_ref();
        let result = output.map(|output| ResultConfiguration::builder().output_location(output).build());
        let call = self.client.start_query_execution().query_string(sql).client_request_token(token);
        let call = call.work_group(&self.options.workgroup).query_execution_context(context.build());
        let answer = call.set_result_configuration(result).send().await;
        let answer = answer.map_err(|error| fault::failure(&shown(sql), &error))?;
        let nameless = || Failure::transient(format!("{}: Athena gave it no id", shown(sql)));
        answer.query_execution_id.ok_or_else(nameless)
    }

    /// Looks at a statement until it has ended, for `limit` at most; then it is stopped.
    /// <https://docs.aws.amazon.com/athena/latest/APIReference/API_GetQueryExecution.html>
    async fn wait(&self, id: &str, sql: &str, limit: Duration) -> Result<Option<StatementType>, Failure> {
        let until = Instant::now() + limit;
        let (mut pause, mut blind) = (self.options.look, 0);
        loop {
            match self.client.get_query_execution().query_execution_id(id).send().await {
                Ok(answer) => {
                    blind = 0;
                    let execution = answer.query_execution.unwrap_or_else(|| {
                        aws_sdk_athena::types::QueryExecution::builder().query_execution_id(id).build()
                    });
                    if let Some(ended) = execution.status().and_then(|status| verdict(sql, status)) {
                        return ended.map(|()| execution.statement_type);
                    }
                }
                Err(error) => {
                    let failure = fault::failure(&format!("{}: looking at query {id}", shown(sql)), &error);
                    blind += 1;
                    let passing = matches!(failure.class, Class::Transient | Class::Throttled);
                    if !passing || blind > BLIND {
                        self.stop(id).await;
                        return Err(failure);
                    }
                }
            }
            if Instant::now() + pause > until {
                let stopped =
                    if self.stop(id).await { "and was stopped" } else { "and could not be stopped" };
                let detail = format!("{}: not done after {limit:?} {stopped} (query {id})", shown(sql));
                return Err(Failure::transient(detail));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SELDOM);
        }
    }

    /// Asks Athena to end a statement; it may end well all the same.
    async fn stop(&self, id: &str) -> bool {
        self.client.stop_query_execution().query_execution_id(id).send().await.is_ok()
    }
}

/// How a statement ended, if it did.
fn verdict(sql: &str, status: &QueryExecutionStatus) -> Option<Result<(), Failure>> {
    match status.state()? {
        QueryExecutionState::Succeeded => Some(Ok(())),
        QueryExecutionState::Failed => {
            let error = status.athena_error();
            let reason = status.state_change_reason().or(error.and_then(|error| error.error_message()));
            let told = Told {
                reason: reason.unwrap_or_default().to_owned(),
                category: error.and_then(|error| error.error_category()),
                again: error.is_some_and(|error| error.retryable()),
            };
            Some(Err(reason::classify(&shown(sql), &told)))
        }
        QueryExecutionState::Cancelled => {
            let reason = status.state_change_reason().unwrap_or("it was cancelled");
            Some(Err(Failure::transient(format!("{}: {reason}", shown(sql)))))
        }
        _ => None,
    }
}

/// A statement on one short line.
fn shown(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("Athena, {}…", &line[..end]),
        None => format!("Athena, {line}"),
    }
}
