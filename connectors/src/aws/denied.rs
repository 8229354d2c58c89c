//! Several calls that need a right each, judged as one: whoever mends a policy wants to hear of everything it lacks at once.

use crate::failure::{Class, Failure};

/// What calls came to, each with the IAM action that it needs. When the first that failed was not allowed, one failure names
/// the actions of all that were not; any other reason (the region, the credentials, the name) is that of all of them.
pub(super) fn judge<const N: usize>(calls: [(&str, Result<(), Failure>); N]) -> Result<(), Failure> {
    let failed: Vec<(&str, Failure)> =
        calls.into_iter().filter_map(|(action, outcome)| Some((action, outcome.err()?))).collect();
    let Some((_, first)) = failed.first() else { return Ok(()) };
    if !is_denied(first) {
        return Err(first.clone());
    }
    let (denied, others): (Vec<_>, Vec<_>) = failed.iter().partition(|(_, failure)| is_denied(failure));
    let actions: Vec<&str> = denied.into_iter().map(|(action, _)| *action).collect();
    let told = first.detail.rsplit_once("; ").map_or(first.detail.as_str(), |(told, _)| told);
    let others: String = others.into_iter().map(|(_, other)| format!(", and {}", other.detail)).collect();
    Err(Failure::unauthorized(format!("{told}{others}; allow {} in the IAM policy", actions.join(", "))))
}

/// Whether a policy is in the way.
fn is_denied(failure: &Failure) -> bool {
    failure.class == Class::Unauthorized
        && ["AccessDenied", "answered 403"].iter().any(|part| failure.detail.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::fault;

    #[test]
    fn all_that_is_denied_is_named_and_nothing_else_is_told_twice() {
        // An answer without a code has no message either.
        let refused = |code: &str| {
            let message = if code.is_empty() { "" } else { "no" };
            Err(fault::classify("listing s3://b/", 403, code, message))
        };
        let denied = || refused("AccessDenied");
        assert_eq!(judge([("a", Ok(())), ("b", Ok(()))]), Ok(()));
        let failure = judge([("s3:A", denied()), ("s3:B", Ok(())), ("s3:C", denied())]).unwrap_err();
        assert_eq!(failure.class, Class::Unauthorized);
        assert_eq!(failure.detail, "listing s3://b/: AccessDenied: no; allow s3:A, s3:C in the IAM policy");
        let failure = judge([("s3:A", Ok(())), ("s3:B", refused(""))]).unwrap_err();
        assert!(failure.detail.ends_with("; allow s3:B in the IAM policy"), "{failure}");
        let other = judge([("s3:A", denied()), ("s3:B", Err(Failure::transient("reset")))]).unwrap_err();
        assert!(other.detail.contains(", and reset; allow s3:A in"), "{other}");
        let failure = judge([("s3:A", refused("ExpiredToken")), ("s3:B", refused("ExpiredToken"))]);
        assert!(failure.unwrap_err().detail.ends_with("; renew the session token"));
    }
}
