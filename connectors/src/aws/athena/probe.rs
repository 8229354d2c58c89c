//! Whether Athena can be used as configured, and what to do when it cannot.

use aws_sdk_athena::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_athena::types::{WorkGroup, WorkGroupState};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::reason::{self, Told};
use super::{CATALOG, Options, Runner};
use crate::aws::fault;
use crate::failure::{Class, Failure};

/// Asks for the workgroup.
/// <https://docs.aws.amazon.com/athena/latest/APIReference/API_GetWorkGroup.html>
pub(super) async fn workgroup(Runner { client, options, .. }: &Runner) -> Result<(), Failure> {
    let doing = format!("workgroup {} (athena:GetWorkGroup)", options.workgroup);
    let asked = client.get_work_group().work_group(&options.workgroup).send().await;
    let group = asked.map_err(|error| missing_group(fault::failure(&doing, &error)))?.work_group;
    // Some servers answer nothing for a workgroup they do not have.
    let group = group.ok_or_else(|| missing_group(Failure::rejected(format!("{doing}: there is none"))))?;
    usable(options, &group)
}

/// Asks for the database.
/// <https://docs.aws.amazon.com/athena/latest/APIReference/API_GetDatabase.html>
pub(super) async fn database(Runner { client, options, .. }: &Runner) -> Result<(), Failure> {
    let doing = format!("database {} (athena:GetDatabase, glue:GetDatabase)", options.database);
    let database = client.get_database().catalog_name(CATALOG).database_name(&options.database);
    match database.send().await {
        Ok(_) => Ok(()),
        Err(error) => {
            let failure = metadata_failure(&doing, &error);
            // A database that is missing is made when the first table is.
            if failure.class == Class::Rejected { Ok(()) } else { Err(failure) }
        }
    }
}

fn missing_group(failure: Failure) -> Failure {
    match failure.class {
        Class::Rejected => Failure::unauthorized(format!(
            "{}; create the workgroup, or correct `workgroup` of [athena] or the region",
            failure.detail
        )),
        _ => failure,
    }
}

/// What is wrong with the workgroup, if anything.
fn usable(options: &Options, group: &WorkGroup) -> Result<(), Failure> {
    if group.state() == Some(&WorkGroupState::Disabled) {
        return Err(Failure::unauthorized(format!("workgroup {}: it is disabled; enable it", group.name())));
    }
    let configuration = group.configuration();
    let output = configuration.and_then(|of| of.result_configuration()).and_then(|of| of.output_location());
    let managed = configuration.and_then(|of| of.managed_query_results_configuration());
    let somewhere = output.is_some_and(|output| !output.is_empty()) || managed.is_some_and(|of| of.enabled());
    if options.output.is_none() && !somewhere {
        return Err(Failure::unauthorized(format!(
            "workgroup {}: nobody says where results go; set `output` of [athena] or the workgroup's",
            group.name()
        )));
    }
    Ok(())
}

/// What an error of the calls that read the catalog means: Athena passes on what Glue said, as text.
pub(super) fn metadata_failure<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match (error.code(), error.message()) {
        (Some("MetadataException"), Some(message)) => {
            reason::classify(doing, &Told { reason: message.to_owned(), ..Told::default() })
        }
        _ => fault::failure(doing, error),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_athena::types::{ResultConfiguration, WorkGroupConfiguration};

    use super::*;

    #[test]
    fn a_workgroup_that_cannot_be_used_is_named_with_the_fix() {
        let named = || WorkGroup::builder().name("acme");
        let with = |output: &str| {
            let result = ResultConfiguration::builder().output_location(output).build();
            WorkGroupConfiguration::builder().result_configuration(result).build()
        };
        let bare = Options::new("d", "s3://b/lake");
        let own = Options { output: Some("s3://b/out/".into()), ..bare.clone() };
        let group = |builder: aws_sdk_athena::types::builders::WorkGroupBuilder| builder.build().unwrap();
        let cases = [
            (&bare, group(named()), Some("set `output`")),
            (&bare, group(named().configuration(with(""))), Some("set `output`")),
            (&bare, group(named().configuration(with("s3://b/x/"))), None),
            (&own, group(named()), None),
            (&own, group(named().state(WorkGroupState::Disabled)), Some("enable it")),
        ];
        for (options, group, wanted) in cases {
            match (usable(options, &group), wanted) {
                (Ok(()), None) => {}
                (Err(failure), Some(fix)) => {
                    assert_eq!(failure.class, Class::Unauthorized);
                    assert!(failure.detail.contains(fix), "{failure}");
                }
                (outcome, wanted) => panic!("{outcome:?}, not {wanted:?}"),
            }
        }
    }
}
