//! Messages of the dead-letter queue: they hold letters whole, and outlive the files that they were made from.
//!
//! They are judged by what they say and not by what this run has taken out of files: whatever became of a run before, the next one
//! finds them.

use shardmill_connectors::failure::Failure;

use super::whom::Whom;
use super::{Erase, Report};
use crate::dead_letters::recall;

/// Takes the person's messages out of the queue. Those that could not be looked at are told: nobody can say what is in them.
pub(super) async fn erase(with: &Erase<'_>, whom: &Whom, report: &mut Report) -> Result<(), Failure> {
    let recalled = recall(with.ports, &|body: &str| whom.is_line(body.as_bytes())).await?;
    report.messages += recalled.taken;
    if recalled.unseen > 0 {
        report.unread.push(format!(
            "the dead-letter queue: about {} messages could not be looked at: somebody has taken them, as a command that was killed \
             does for five minutes, they are too many, or the files of their letters cannot be read: run the same command again",
            recalled.unseen
        ));
    }
    Ok(())
}
