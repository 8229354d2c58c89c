//! What a statement that Athena took and could not finish means.
//!
//! Athena tells it as text (`StateChangeReason`) and, where it can, by a category:
//! <https://docs.aws.amazon.com/athena/latest/ug/error-reference.html>.

use crate::failure::Failure;

/// The category of Athena's own failures.
const SYSTEM: i32 = 1;

/// What Athena said about a statement that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// `StateChangeReason`.
    pub(super) reason: String,
    /// `AthenaError.ErrorCategory`: 1 system, 2 user, 3 other.
    pub(super) category: Option<i32>,
    /// `AthenaError.Retryable`.
    pub(super) again: bool,
}

/// How the statement itself is wrong: the words a reason begins with.
const WRONG: [&str; 21] = [
    "syntax_error",
    "line ",
    "mismatched input",
    "no viable alternative",
    "failed: parseexception",
    "failed: semanticexception",
    "table_not_found",
    "column_not_found",
    "schema_not_found",
    "catalog_not_found",
    "function_not_found",
    "type_mismatch",
    "type_not_found",
    "ambiguous_name",
    "invalid_",
    "not_supported",
    "queries of this type are not supported",
    "division_by_zero",
    "numeric_value_out_of_range",
    "missing_",
    "duplicate_column_name",
];

/// Rights and set-up: part of the reason, and what to do.
const DENIED: [(&str, &str); 9] = [
    ("access denied", "allow Athena's caller s3 and glue on what the message names"),
    ("accessdenied", "allow Athena's caller s3 and glue on what the message names"),
    ("not authorized to perform", "allow the action in the IAM policy"),
    ("insufficient permissions", "allow the action in the IAM policy"),
    ("insufficient lake formation permission", "grant it in Lake Formation"),
    ("permission denied", "allow Athena's caller s3 on what the message names"),
    ("security token included in the request", "renew the credentials"),
    ("unable to verify/create output bucket", "set `output` of [athena] to a bucket that can be written"),
    ("nosuchbucket", "create the bucket, or correct its name"),
];

/// Asked too much.
const THROTTLED: [&str; 7] = [
    "exhausted resources",
    "rate exceeded",
    "slow down",
    "slowdown",
    "throttl",
    "toomanyrequests",
    "exceeded your account's concurrent query limit",
];

/// May go better next time.
const PASSING: [&str; 10] = [
    "internal_error",
    "internal error",
    "internal service",
    "internalservice",
    "try again",
    "service unavailable",
    "serviceunavailable",
    "timed out",
    "concurrentmodification",
    "connection reset",
];

/// The class of what was told; the detail holds Athena's reason.
pub(super) fn classify(doing: &str, told: &Told) -> Failure {
    let reason = if told.reason.is_empty() { "Athena gave no reason" } else { &told.reason };
    let detail = format!("{doing}: {reason}");
    let lower = reason.to_lowercase();
    let within = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if !told.again && WRONG.iter().any(|start| lower.starts_with(start)) {
        return Failure::rejected(detail);
    }
    if let Some((_, fix)) = DENIED.iter().find(|(part, _)| lower.contains(part)) {
        return Failure::unauthorized(format!("{detail}; {fix}"));
    }
    if within(&THROTTLED) {
        return Failure::throttled(detail, None);
    }
    if told.again || told.category == Some(SYSTEM) || within(&PASSING) {
        return Failure::transient(detail);
    }
    Failure::rejected(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    fn told(reason: &str) -> Told {
        Told { reason: reason.to_owned(), ..Told::default() }
    }

    #[test]
    fn reasons_have_classes() {
        let cases = [
            ("SYNTAX_ERROR: line 1:8: Column 'internal_error' cannot be resolved", Class::Rejected),
            ("TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.acme.t' does not exist", Class::Rejected),
            ("FAILED: SemanticException [Error 10001]: Table not found t", Class::Rejected),
            (
                "FAILED: Execution Error, return code 1. AlreadyExistsException(message:Partition already exists.)",
                Class::Rejected,
            ),
            ("Query exhausted resources at this scale factor", Class::Throttled),
            (
                "FAILED: Execution Error: MetaException(message:Rate exceeded (Service: AWSGlue))",
                Class::Throttled,
            ),
            (
                "HIVE_CANNOT_OPEN_SPLIT: Please reduce your request rate. (Service: Amazon S3; Error Code: SlowDown)",
                Class::Throttled,
            ),
            ("GENERIC_INTERNAL_ERROR: null", Class::Transient),
            ("INTERNAL_ERROR_QUERY_ENGINE", Class::Transient),
            (
                "Insufficient permissions to execute the query. User is not authorized to perform: glue:GetTable",
                Class::Unauthorized,
            ),
            ("Access denied when writing output to url: s3://b/x.csv", Class::Unauthorized),
            ("", Class::Rejected),
        ];
        for (reason, class) in cases {
            assert_eq!(classify("doing", &told(reason)).class, class, "{reason}");
        }
    }

    #[test]
    fn categories_decide_where_the_text_does_not() {
        let odd = |category, again| Told { reason: "HIVE_ODDITY".into(), category, again };
        assert_eq!(classify("d", &odd(Some(1), false)).class, Class::Transient);
        assert_eq!(classify("d", &odd(Some(2), false)).class, Class::Rejected);
        assert_eq!(classify("d", &odd(Some(2), true)).class, Class::Transient);
        assert_eq!(classify("d", &odd(None, false)).detail, "d: HIVE_ODDITY");
    }
}
