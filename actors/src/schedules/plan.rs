//! What a schedule decides: when it runs, which files it puts, which it forgets. No I/O.

use shardmill_connectors::batches::Cron;
use shardmill_connectors::clock::Millis;

use crate::state::schedule::{FileRecord, FileState};
use crate::state::{SchedulePage, ScheduleState};

/// How long a file is remembered that no listing shows any more, in milliseconds: 30 days.
pub(super) const REMEMBERED_MS: i64 = 30 * 24 * 3_600_000;

/// Whether a run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Now: a time has come, or came while nobody ran it, or a run was not brought to its end.
    Now,
    /// Then; `None`: beyond the calendar.
    At(Option<Millis>),
}

/// When the next run is due. `now` is this machine's clock; the last run's time may be another's, which moves a run by the
/// difference and loses none.
pub(super) fn due(cron: &Cron, state: &ScheduleState, now: Millis) -> Due {
    // A clock that was ahead must not put the next run off for as long.
    let last = state.last_run.unwrap_or(state.since).min(now);
    match cron.next_after(last) {
        _ if state.running => Due::Now,
        Some(next) if next <= now => Due::Now,
        next => Due::At(next),
    }
}

/// What is known of a listed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is to be put, or to be gone on with.
    Yes,
    /// This version of it is done.
    No,
    /// It was given up: only if its letter was redriven.
    IfRedriven,
}

/// Whether a listed version of a file is to be put.
pub(super) fn wanted(known: Option<&FileRecord>, version: &str) -> Wanted {
    match known {
        Some(record) if record.version == version => match record.state {
            FileState::Open => Wanted::Yes,
            FileState::Put => Wanted::No,
            FileState::GivenUp => Wanted::IfRedriven,
        },
        _ => Wanted::Yes,
    }
}

/// What is known of a file, to begin with: of this version what is known, of another nothing.
pub(super) fn begun(known: Option<FileRecord>, version: &str, now: Millis) -> FileRecord {
    let redrives = match &known {
        Some(record) if record.version == version && record.state == FileState::Open => {
            return FileRecord { gone: None, at: now, ..record.clone() };
        }
        Some(record) if record.version == version => record.redrives.saturating_add(1),
        _ => 0,
    };
    FileRecord {
        version: version.to_owned(),
        state: FileState::Open,
        rows: 0,
        dead_letters: 0,
        at: now,
        gone: None,
        letter: None,
        redrives,
    }
}

/// A page after a whole listing, of which `shown` tells what it showed: what has been gone for long is forgotten.
pub(super) fn swept(page: &SchedulePage, shown: impl Fn(&str) -> bool, now: Millis) -> SchedulePage {
    let mut next = page.clone();
    for (url, record) in &mut next.files {
        record.gone = if shown(url) { None } else { record.gone.or(Some(now)) };
    }
    next.files.retain(|_, record| record.gone.is_none_or(|since| now.since(since) < REMEMBERED_MS));
    next
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(text: &str) -> Millis {
        text.parse().unwrap()
    }

    fn record(version: &str, state: FileState, rows: u64) -> FileRecord {
        FileRecord { state, rows, ..begun(None, version, Millis(0)) }
    }

    #[test]
    fn however_many_runs_were_missed_one_is_due_and_none_before_it_was_first_taken() {
        let cron: Cron = "0 * * * *".parse().unwrap();
        let mut state = ScheduleState { since: at("2026-11-22T10:30:00Z"), ..ScheduleState::default() };
        let now = at("2026-11-22T10:45:00Z");
        assert_eq!(due(&cron, &state, now), Due::At(Some(at("2026-11-22T11:00:00Z"))));
        let later = at("2026-11-24T10:45:00Z");
        assert_eq!(due(&cron, &state, later), Due::Now);
        state.last_run = Some(later);
        assert_eq!(due(&cron, &state, later.plus(1)), Due::At(Some(at("2026-11-24T11:00:00Z"))));
        assert_eq!(due(&cron, &state, at("2026-11-24T11:00:00Z")), Due::Now);
        // A run that nobody brought to its end is gone on with at once.
        state.running = true;
        assert_eq!(due(&cron, &state, later.plus(1)), Due::Now);
        // A clock that was a year ahead.
        let state = ScheduleState { last_run: Some(at("2027-11-24T11:00:00Z")), ..ScheduleState::default() };
        assert_eq!(due(&cron, &state, later), Due::At(Some(at("2026-11-24T11:00:00Z"))));
    }

    #[test]
    fn a_version_is_put_once_and_another_version_is_another_file() {
        assert_eq!(wanted(None, "1"), Wanted::Yes);
        for (state, same) in [
            (FileState::Open, Wanted::Yes),
            (FileState::Put, Wanted::No),
            (FileState::GivenUp, Wanted::IfRedriven),
        ] {
            assert_eq!(wanted(Some(&record("1", state, 7)), "1"), same);
            assert_eq!(wanted(Some(&record("1", state, 7)), "2"), Wanted::Yes);
        }
        let open = begun(Some(record("1", FileState::Open, 7)), "1", Millis(5));
        assert_eq!((open.rows, open.state, open.redrives), (7, FileState::Open, 0), "it goes on");
        let changed = begun(Some(record("1", FileState::Open, 7)), "2", Millis(5));
        assert_eq!((changed.rows, changed.redrives), (0, 0));
        let again = begun(Some(record("1", FileState::GivenUp, 7)), "1", Millis(5));
        assert_eq!((again.rows, again.redrives), (0, 1));
    }

    #[test]
    fn files_are_forgotten_thirty_days_after_they_are_gone() {
        let page = SchedulePage {
            epoch: 1,
            files: BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), record("1", FileState::Put, 1)))),
        };
        let first = swept(&page, |url| url == "a", Millis(1_000));
        assert_eq!((first.files["a"].gone, first.files["b"].gone), (None, Some(Millis(1_000))));
        let back = swept(&first, |_| true, Millis(2_000));
        assert_eq!(back.files["b"].gone, None, "it was not really gone");
        let kept = swept(&first, |url| url == "a", Millis(1_000 + REMEMBERED_MS - 1));
        assert_eq!((kept.files.len(), kept.files["b"].gone), (2, Some(Millis(1_000))));
        let forgotten = swept(&kept, |url| url == "a", Millis(1_000 + REMEMBERED_MS));
        assert_eq!(forgotten.files.keys().collect::<Vec<_>>(), ["a"]);
    }
}
