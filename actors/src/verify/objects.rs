//! What no document lists: orphans, uploads that are under way, and what nobody knows.

use futures::{StreamExt, TryStreamExt};
use shardmill_connectors::failure::Failure;

use super::Report;
use super::finding::{Action, Finding, Kind};
use crate::shared::Ports;
use crate::sweeper::Survey;

/// Objects looked for at once.
const TOGETHER: usize = 16;

/// Leaves of what no document lists only what is there still: objects are listed before documents are read, and what an hour
/// deletes in between, and then unlists, nobody lists.
pub(super) async fn still_there(ports: &Ports, survey: &mut Survey) -> Result<(), Failure> {
    for keys in [&mut survey.abandoned, &mut survey.in_flight, &mut survey.unknown] {
        let looks = std::mem::take(keys).into_iter().map(|key| async move {
            let found = ports.objects.head(&key).await?;
            Ok::<_, Failure>(found.map(|_| key))
        });
        let found: Vec<Option<String>> =
            futures::stream::iter(looks).buffered(TOGETHER).try_collect().await?;
        keys.extend(found.into_iter().flatten());
    }
    Ok(())
}

/// Accounts for every object. Comes last: whether orphans may be deleted depends on what else was found.
pub(super) fn account(survey: Survey, report: &mut Report) {
    let doubtful = report.findings.iter().any(|finding| finding.kind.is_about_rows());
    report.listed = survey.listed.len() as u64;
    for key in survey.unknown {
        report.findings.push(Finding::by_hand(
            Kind::Unknown,
            key,
            "no document lists this object and its name explains nothing",
            "find out who put it there, and remove it",
        ));
    }
    report.findings.extend(survey.abandoned.iter().map(|key| orphan(key, doubtful)));
    report.abandoned = survey.abandoned;
    report.in_flight = survey.in_flight;
}

fn orphan(key: &str, doubtful: bool) -> Finding {
    let message = "no document lists this object, and nobody can list it any more";
    if doubtful {
        let remedy =
            "mend the rest first: while rows may be missing nothing is deleted, this may be what is missing";
        return Finding::by_hand(Kind::Orphan, key, message, remedy);
    }
    Finding::mended_by(Kind::Orphan, key, message, Action::Delete { key: key.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounted(other: Option<Kind>) -> Report {
        let survey = Survey {
            abandoned: vec!["segments/web/0/1-a.parquet".into()],
            unknown: vec!["segments/x".into()],
            ..Survey::default()
        };
        let mut report = Report::default();
        report.findings.extend(other.map(|kind| Finding::by_hand(kind, "k", "m", "r")));
        account(survey, &mut report);
        report
    }

    #[test]
    fn orphans_are_deleted_unless_rows_may_be_missing() {
        for (other, deleted) in [
            (None, true),
            (Some(Kind::Misplaced), true),
            (Some(Kind::Quarantined), true),
            (Some(Kind::Missing), false),
            (Some(Kind::Unread), false),
            (Some(Kind::RolledBack), false),
        ] {
            let report = accounted(other);
            let orphan = report.findings.iter().find(|finding| finding.kind == Kind::Orphan).unwrap();
            assert_eq!(orphan.repairable, deleted, "{other:?}");
        }
    }

    #[test]
    fn what_nobody_knows_is_not_deleted() {
        let report = accounted(None);
        let unknown = report.findings.iter().find(|finding| finding.kind == Kind::Unknown).unwrap();
        assert!(!unknown.repairable && !unknown.kind.is_harmless());
    }
}
