//! When a manifest is written. Pure: what it should name, what it names and the clock come in, the decision comes out.

use std::time::Duration;

use crate::state::HourState;

/// What is known when it is decided.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The files it should name, by what is known of the shards.
    pub wanted: &'a [String],
    /// The files it names; `None` when there is none.
    pub there: Option<&'a [String]>,
    /// The shards were read after it: what it names was known when they were.
    pub fresh: bool,
    /// How long ago the same owner wrote it.
    pub age: Option<Duration>,
    /// The shortest time between two writes.
    pub every: Duration,
    /// A generation waits for it: it is not shown anywhere yet.
    pub urgent: bool,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It names what it should.
    Nothing,
    /// Looked at again once the shards have been read anew: what is known may be older than what it names.
    Reading,
    /// Written after this time.
    Later(Duration),
    /// Written now.
    Write,
}

/// What is to be done about a manifest.
pub fn next(facts: Facts<'_>) -> Due {
    let Facts { wanted, there, fresh, age, every, urgent } = facts;
    if there.unwrap_or_default() == wanted {
        return Due::Nothing;
    }
    if !fresh {
        return Due::Reading;
    }
    match age.and_then(|age| every.checked_sub(age)) {
        Some(wait) if !wait.is_zero() && !urgent => Due::Later(wait),
        _ => Due::Write,
    }
}

/// Whether a generation waits for the manifest: its grace must not begin before.
pub fn is_urgent(state: &HourState) -> bool {
    state.generation > 0 && state.catalog.switched_at.is_none()
}

/// Whether the manifest names a file that is about to be deleted.
pub fn names_garbage(there: &[String], state: &HourState) -> bool {
    there.iter().any(|file| state.garbage.contains(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(wanted: &'a [String], there: Option<&'a [String]>) -> Facts<'a> {
        let every = Duration::from_secs(10);
        Facts { wanted, there, fresh: true, age: None, every, urgent: false }
    }

    #[test]
    fn it_is_written_when_it_changes_and_not_too_often() {
        let (old, new) = (["a".to_owned()], ["a".to_owned(), "b".to_owned()]);
        assert_eq!(next(facts(&[], None)), Due::Nothing, "an hour without rows has none");
        assert_eq!(next(facts(&old, None)), Due::Write);
        assert_eq!(next(facts(&old, Some(&old))), Due::Nothing);
        let changed = facts(&new, Some(&old));
        assert_eq!(next(changed), Due::Write, "another has written it before");
        let seconds = Duration::from_secs;
        let after = |age| next(Facts { age: Some(seconds(age)), ..changed });
        assert_eq!((after(4), after(10), after(60)), (Due::Later(seconds(6)), Due::Write, Due::Write));
        let urgent = Facts { age: Some(seconds(4)), urgent: true, ..changed };
        assert_eq!(next(urgent), Due::Write, "a generation waits for it");
    }

    #[test]
    fn what_is_older_than_it_decides_nothing() {
        let (old, new) = (["a".to_owned()], ["a".to_owned(), "b".to_owned()]);
        let stale = Facts { fresh: false, urgent: true, ..facts(&old, Some(&new)) };
        assert_eq!(next(stale), Due::Reading);
        assert_eq!(next(Facts { fresh: false, ..facts(&new, Some(&new)) }), Due::Nothing);
    }
}
