//! A batch as an invocation.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::operation::invoke::builders::InvokeFluentBuilder;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use serde_json::{Value, json};

use super::settings::Lambda;
use super::{answer, payload};
use crate::clock::Millis;
use crate::destinations::Batch;
use crate::failure::Failure;

/// What is being done, for whoever reads of its failure.
pub(super) fn doing(settings: &Lambda) -> String {
    format!("invoking `{}` (lambda:InvokeFunction)", settings.function)
}

/// The call.
pub(super) fn invoke(settings: &Lambda, client: &Client, batch: Batch<'_>) -> InvokeFluentBuilder {
    client
        .invoke()
        .function_name(&settings.function)
        .invocation_type(invocation(settings))
        .payload(Blob::new(payload::of(settings, batch)))
}

fn invocation(settings: &Lambda) -> InvocationType {
    if settings.is_queued { InvocationType::Event } else { InvocationType::RequestResponse }
}

/// Whether the function is there and may be invoked: an invocation that runs nothing.
pub(super) async fn probe(settings: &Lambda) -> Result<bool, Failure> {
    let client = settings.aws.client().await?;
    let call = client.invoke().function_name(&settings.function).invocation_type(InvocationType::DryRun);
    match call.send().await {
        Ok(_) => Ok(true),
        Err(error) => Err(answer::refusal(&doing(settings), &error, Millis::now()).failure),
    }
}

/// The invocation, for people.
pub(super) fn preview(settings: &Lambda, batch: Batch<'_>) -> Value {
    let payload = payload::of(settings, batch);
    let shown = serde_json::from_slice(&payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&payload).into_owned()));
    json!({
        "function": settings.function,
        "invocation_type": invocation(settings).as_str(),
        "payload": shown,
    })
}
