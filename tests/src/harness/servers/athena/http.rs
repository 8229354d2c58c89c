//! JSON 1.1 over HTTP: one path, the action in a header, errors by their `__type`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::executions::Refusal;
use super::{PAGE, Shared, lock};

/// Room for the longest statement, escaped.
const BODY: usize = 4 << 20;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", post(handle))
        .layer(axum::extract::DefaultBodyLimit::max(BODY))
        .with_state(shared)
}

async fn handle(Extracted(shared): Extracted<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let action = target.strip_prefix("AmazonAthena.").unwrap_or_default().to_owned();
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    *lock(&shared.orders).calls.entry(action.clone()).or_default() += 1;
    let outcome = act(&shared, &action, &request);
    if action == "StartQueryExecution" && outcome.is_ok() && is_lost(&shared, &request) {
        return cut_off();
    }
    let (status, body) = match outcome {
        Ok(answer) => (StatusCode::OK, answer),
        Err(refusal) => {
            let mut body = json!({"__type": refusal.kind, "Message": refusal.message});
            if let Some((key, value)) = refusal.extra {
                body[key] = json!(value);
            }
            (StatusCode::BAD_REQUEST, body)
        }
    };
    (status, [("content-type", "application/x-amz-json-1.1")], body.to_string()).into_response()
}

fn act(shared: &Arc<Shared>, action: &str, request: &Value) -> Result<Value, Refusal> {
    let text = |key: &str| request[key].as_str().unwrap_or_default();
    let id = text("QueryExecutionId");
    match action {
        "StartQueryExecution" => shared.start(request),
        "GetQueryExecution" => Ok(lock(&shared.executions).get(id)?.shown(id)),
        "GetQueryResults" => {
            let most = request["MaxResults"].as_u64().map_or(Ok(PAGE), usize::try_from);
            let most = most.ok().filter(|most| (1..=PAGE).contains(most));
            let most =
                most.ok_or_else(|| Refusal::invalid("MaxResults is more than maximum allowed length 1000"))?;
            let from = text("NextToken");
            let from = if from.is_empty() { Ok(0) } else { from.parse() };
            let from = from.map_err(|_| Refusal::invalid("The next token is not valid"))?;
            lock(&shared.executions).get(id)?.page(from, most)
        }
        "StopQueryExecution" => shared.stop(id),
        "GetWorkGroup" => {
            let name = text("WorkGroup");
            let group = shared.group(name)?;
            let result = group.output.map_or_else(|| json!({}), |output| json!({"OutputLocation": output}));
            Ok(json!({"WorkGroup": {
                "Name": name,
                "State": if group.disabled { "DISABLED" } else { "ENABLED" },
                "Configuration": {"ResultConfiguration": result, "EnforceWorkGroupConfiguration": false},
            }}))
        }
        "GetDatabase" => {
            let name = text("DatabaseName");
            match lock(&shared.databases).0.contains_key(name) {
                true => Ok(json!({"Database": {"Name": name}})),
                false => Err(missing(&format!("Database {name} not found."))),
            }
        }
        "GetTableMetadata" => metadata(shared, text("DatabaseName"), text("TableName")),
        _ => Err(Refusal { kind: "UnknownOperationException", message: action.to_owned(), extra: None }),
    }
}

/// <https://docs.aws.amazon.com/athena/latest/APIReference/API_GetTableMetadata.html>
fn metadata(shared: &Shared, database: &str, name: &str) -> Result<Value, Refusal> {
    let databases = lock(&shared.databases);
    let tables =
        databases.0.get(database).ok_or_else(|| missing(&format!("Database {database} not found.")))?;
    let table = tables.get(name).ok_or_else(|| missing(&format!("Table {name} not found.")))?;
    let columns = |pairs: &[(String, String)]| {
        let column = |(name, kind): &(String, String)| json!({"Name": name, "Type": kind});
        pairs.iter().map(column).collect::<Vec<_>>()
    };
    Ok(json!({"TableMetadata": {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "Columns": columns(&table.columns),
        "PartitionKeys": columns(&table.keys),
        "Parameters": {"location": table.location, "classification": "parquet"},
    }}))
}

fn missing(what: &str) -> Refusal {
    let from =
        "(Service: AmazonDataCatalog; Status Code: 400; Error Code: EntityNotFoundException; Proxy: null)";
    Refusal::missing(format!("{what} {from}"))
}

fn is_lost(shared: &Shared, request: &Value) -> bool {
    let sql = request["QueryString"].as_str().unwrap_or_default();
    let mut orders = lock(&shared.orders);
    let index = orders.lose.iter().position(|part| sql.contains(part.as_str()));
    index.and_then(|index| orders.lose.remove(index)).is_some()
}

/// An answer whose body never comes: the connection ends.
fn cut_off() -> Response {
    let lost = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("lost")) });
    Response::new(Body::from_stream(lost))
}
